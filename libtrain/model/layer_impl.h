/* The interface of a layer: the function pointers of its type, the flags that
 * it declares, and the node that the plan and the passes over the graph work
 * on. */
#ifndef TR_LAYER_IMPL_H
#define TR_LAYER_IMPL_H

#include "base/random_impl.h"
#include "store/store_impl.h"

#define TR__MAX_NODE_INPUTS 8
#define TR__MAX_NODE_PARAMS 8
#define TR__MAX_NODE_SAVED  4

typedef struct tr__node tr__node;

/* Flags that a layer sets in infer. They say what its backward reads, and what
 * the plan may do with its memory. */
enum {
  TR__USES_INPUT = 1 << 0,   /* backward reads the inputs' values */
  TR__USES_OUTPUT = 1 << 1,  /* backward reads the output's values */
  TR__IN_PLACE = 1 << 2,     /* output may alias input 0, and input 0's gradient
                                may alias the output's */
  TR__IS_VIEW = 1 << 3,      /* output is input 0 with another shape: forward
                                computes nothing */
  TR__IS_LOSS = 1 << 4,      /* adds to the loss; its output is one loss value
                                per sample; backward begins here */
  TR__IS_INPUT = 1 << 5,     /* filled from the batch */
  TR__CAN_ACTIVATE = 1 << 6, /* forward can apply an activation by itself */
  TR__IS_IDS = 1 << 8,       /* output is int32, without a gradient */
  TR__ALIASES_ANY_GRADIENT = 1 << 9, /* with IN_PLACE: the gradient of any one
                                        input may alias the output's */
  TR__WEIGHS_TARGETS = 1 << 10, /* a loss whose targets decide the weight of its
                                   rows: it must be the only loss */
  TR__LOCAL_BUFFERS = 1 << 11   /* each rank updates its buffers from its own
                                   samples; rank 0's are the model's */
};

/* Where a tensor of a node lies in the activation arena. */
typedef struct tr__slot {
  tr_dtype dtype;
  tr_shape shape; /* of one row */
  bool is_single; /* one tensor for all rows; shape is the whole tensor's */
  size_t bytes;   /* for net->max_rows rows; 0: absent */
  size_t offset;
} tr__slot;

typedef struct tr__pass tr__pass;

/* Floating-point operations. A multiply-add counts as two. */
typedef struct tr__flops {
  double forward, backward;
} tr__flops;

typedef struct tr__layer_type {
  const char *name; /* such as "linear"; default node names are name_number */
  tr__activation
      activation; /* that a producer with TR__CAN_ACTIVATE can apply instead */
  bool takes_ids; /* its inputs may be int32; other layers refuse them */

  /* infer - check the inputs' shapes and set the output's. Declare parameters,
   * saved tensors, workspace and flags. */
  tr_status (*infer)(tr_model *net, tr__node *node);

  /* forward, backward - call ops. The backend keeps failures. */
  void (*forward)(const tr__pass *run, const tr__node *node);
  void (*backward)(const tr__pass *run, const tr__node *node);

  /* describe - write the options that neither shapes nor parameters show, with
   * the helpers of node_impl.h. Ranks compare them. NULL: there are none. */
  void (*describe)(const tr__node *node, FILE *out);

  /* flops - FLOPs of one sample in this plan. NULL: the layer takes only a few
   * operations per value, which tr_model_print() does not count. */
  tr__flops (*flops)(const tr_model *net, const tr__node *node);

  /* random_build - for the generic tests: add this layer with random legal
   * options to inputs of random legal shapes and return its node. It draws
   * elements 0, 1, 2, ... of `random`. */
  tr_node (*random_build)(tr_model *net, const tr__random *random);

  /* tolerance - largest relative error of a gradient, compared with central
   * differences in double. */
  double tolerance;
} tr__layer_type;

/* One layer in a model's graph. */
struct tr__node {
  const tr__layer_type *type;
  char name[TR__NAME_BYTES];
  int index;
  int num_inputs;
  int inputs[TR__MAX_NODE_INPUTS]; /* node indices */
  void *opts;                      /* copy of the layer's options; owned */
  size_t opts_bytes;
  int ordinal; /* of inputs and losses: index into the batch's arrays */
  int tied_to; /* index of an earlier node whose weight it uses; -1: none */

  /* Set by infer. tr__node_as_added() clears everything from here to the end.
   */
  unsigned flags;
  tr_shape shape; /* of one sample's output */
  int num_params;
  int params[TR__MAX_NODE_PARAMS];   /* indices into store->params */
  bool is_tied[TR__MAX_NODE_PARAMS]; /* the parameter belongs to node tied_to */
  int num_saved;
  tr__slot saved[TR__MAX_NODE_SAVED];
  size_t forward_bytes, backward_bytes; /* of workspace */
  double loss_weight;                   /* of losses: set by infer */
  int64_t loss_rows; /* of losses: rows (such as tokens) per sample; 0: 1 */

  /* Set by the plan. */
  tr__activation activation; /* forward applies it to the output */
  bool is_skipped;           /* the producer applies it: no forward */
  bool is_kept;              /* readable after forward */
  bool aliases_output;       /* output aliases input 0 */
  bool aliases_gradient;     /* an input's gradient aliases the output's */
  bool wants_gradient;       /* backward needs the output's gradient */
  bool input_grad_adds[TR__MAX_NODE_INPUTS]; /* backward adds to it: an earlier
                                                call set it; see
                                                plan/accumulate.c */
  bool param_grad_adds[TR__MAX_NODE_PARAMS];
  int tied_use[TR__MAX_NODE_PARAMS]; /* of is_tied: number of earlier tied
                                        layers */
  tr__slot output, gradient;
  size_t forward_workspace, backward_workspace; /* offsets */
};

/* One pass, forward or backward, over the graph, as a layer sees it. */
struct tr__pass {
  tr_model *net;
  tr__stream *stream;
  const tr__ops *ops;
  tr__shards shards;
  int64_t rows;     /* of this rank in this step */
  bool is_training; /* false: no dropout; batchnorm reads running statistics */
  bool is_backward; /* selects the node's workspace */
  bool has_weights; /* the batch has sample weights */
};

#endif
