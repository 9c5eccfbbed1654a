/* The interface of a layer: what the plan calls through a node's pointers. */
#ifndef TR_LAYER_IMPL_H
#define TR_LAYER_IMPL_H

#include "base/random_impl.h"
#include "store/store_impl.h"

#define TR__MAX_NODE_INPUTS 8
#define TR__MAX_NODE_PARAMS 8
#define TR__MAX_NODE_SAVED  4

typedef struct tr__node tr__node;

/* What the plan may do with a node's memory; a layer declares it in infer. */
enum {
  TR__USES_INPUT = 1 << 0,   /* backward reads the inputs' values */
  TR__USES_OUTPUT = 1 << 1,  /* backward reads the output's values */
  TR__IN_PLACE = 1 << 2,     /* output may lie where input 0 lies, and input
                                0's gradient where the output's lies */
  TR__IS_VIEW = 1 << 3,      /* output is input 0 under another shape: nothing
                                is computed */
  TR__IS_LOSS = 1 << 4,      /* adds to the loss; its output is one loss value
                                per sample and it seeds backward */
  TR__IS_INPUT = 1 << 5,     /* filled from the batch */
  TR__CAN_ACTIVATE = 1 << 6, /* forward can apply an activation by itself */
  TR__NO_INPUT_GRADIENT = 1 << 7,    /* backward gives none to its inputs */
  TR__IS_IDS = 1 << 8,               /* output is int32, without a gradient */
  TR__ALIASES_ANY_GRADIENT = 1 << 9, /* with IN_PLACE: any one input's gradient
                                       may lie where the output's lies */
  TR__WEIGHS_TARGETS = 1 << 10, /* a loss whose rows weigh what their targets
                                  say: it must be the only one */
  TR__LOCAL_BUFFERS = 1 << 11   /* each rank updates its buffers from its own
                                   samples: rank 0's are the model's */
};

/* Where a tensor of a node lies in the activation arena. */
typedef struct tr__slot {
  tr_dtype dtype;
  tr_shape shape; /* of one row */
  bool is_single; /* one for all rows: the shape is the whole tensor's */
  size_t bytes;   /* for the plan's number of rows; 0: absent */
  size_t offset;
} tr__slot;

typedef struct tr__pass tr__pass;

/* Floating-point operations, a multiply-add being two. */
typedef struct tr__flops {
  double forward, backward;
} tr__flops;

typedef struct tr__layer_type {
  const char *name; /* "linear"; default node names are name + number */
  tr__activation
      activation; /* that a TR__CAN_ACTIVATE producer can take over */
  bool takes_ids; /* its inputs may be int32; others are refused them */

  /* infer - check the inputs' shapes, set the output's, declare parameters,
   * saved tensors, workspace and flags. */
  tr_status (*infer)(tr_model *net, tr__node *node);

  /* forward, backward - call ops; failures are kept by the backend. */
  void (*forward)(const tr__pass *run, const tr__node *node);
  void (*backward)(const tr__pass *run, const tr__node *node);

  /* describe - options that neither shapes nor parameters show, with the
   * helpers of model/node_impl.h: ranks compare them. NULL: there are none. */
  void (*describe)(const tr__node *node, FILE *out);

  /* flops - of one sample in this plan. NULL: a few per value of input and
   * output, which are not counted (see tr_model_print()). */
  tr__flops (*flops)(const tr_model *net, const tr__node *node);

  /* For the generic tests: add this layer with random legal options on inputs
   * of random legal shapes and return its node. Draws from `random`, elements
   * 0, 1, 2, ... */
  tr_node (*random_build)(tr_model *net, const tr__random *random);

  /* Largest relative error of a gradient against central differences in
   * double. */
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
  int ordinal; /* of inputs and losses: which of the batch's arrays */
  int tied_to; /* the node before it whose weight it uses; -1: its own */

  /* Set by infer; what follows is cleared before a graph is planned anew. */
  unsigned flags;
  tr_shape shape; /* of one sample's output */
  int num_params;
  int params[TR__MAX_NODE_PARAMS];   /* indices into store->params */
  bool is_tied[TR__MAX_NODE_PARAMS]; /* it is the weight of node tied_to */
  int num_saved;
  tr__slot saved[TR__MAX_NODE_SAVED];
  size_t forward_bytes, backward_bytes; /* of workspace */
  double loss_weight;                   /* of losses: set by infer */
  int64_t loss_rows; /* of losses: rows that one sample counts; 0: 1 */

  /* Set by the plan. */
  tr__activation activation; /* applied by forward */
  bool is_skipped;           /* forward is done by the producer */
  bool is_kept;              /* readable after forward */
  bool aliases_output;       /* output lies where input 0's lies */
  bool aliases_gradient;     /* an input's gradient lies where the output's */
  bool wants_gradient;       /* backward needs the output's gradient */
  bool input_grad_adds[TR__MAX_NODE_INPUTS]; /* backward adds: another call has
                                                set it; plan/accumulate.c */
  bool param_grad_adds[TR__MAX_NODE_PARAMS];
  int tied_use[TR__MAX_NODE_PARAMS]; /* of is_tied: how many came before */
  tr__slot output, gradient;
  size_t forward_workspace, backward_workspace; /* offsets */
};

/* What a layer sees of one forward or backward. */
struct tr__pass {
  tr_model *net;
  tr__stream *stream;
  const tr__ops *ops;
  tr__shards shards;
  int64_t rows;     /* of this rank in this step */
  bool is_training; /* false: dropout off, running statistics */
  bool is_backward; /* which workspace a node has */
  bool has_weights; /* the batch says what each sample weighs */
};

#endif
