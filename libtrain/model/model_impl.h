/* A model: its graph, its plan and its state between calls. */
#ifndef TR_MODEL_IMPL_H
#define TR_MODEL_IMPL_H

#include "model/access_impl.h"
#include "model/layer_impl.h"

#include <pthread.h>
#include <stdatomic.h>
#include <train/init.h>

/* One call of tr_model_freeze(). */
typedef struct tr__freeze {
  char pattern[TR__NAME_BYTES];
  bool is_frozen;
} tr__freeze;

/* Workspaces for inference that use a model's parameters, and the lock under
 * which they share a backend whose memory belongs to it alone. */
typedef struct tr__workspaces {
  atomic_int num_workspaces;
  pthread_mutex_t lock;
} tr__workspaces;

/* Where the buckets of this step stand, see sync/overlap.c. */
typedef struct tr__overlap {
  bool is_on;          /* this backward hands them on */
  int num_released;    /* handed on */
  int num_early;       /* of these, before backward had ended */
  int64_t num_started; /* of these, whose transfer had begun by then */
  tr_status status;    /* of what forward has waited for */
  void *staging; /* host memory for all gradients and the tail where the host
                    may not touch the backend's; else NULL */
} tr__overlap;

/* What a step owes to other ranks. model/ knows none: sync/ gives these, and
 * run/create_context.c puts them into the context. One implementation, until a
 * step is a program, in which they are calls like any other. */
typedef struct tr__step_hooks {
  /* create - what transfers of gradients need, at the end of a build; local.
   * release - give it back. */
  tr_status (*create)(tr_model *net);
  void (*release)(tr_model *net);

  /* before_node - the values that a node reads are here; node NULL: all.
   * after_forward - no value is on its way any more. */
  void (*before_node)(tr_model *net, const tr__node *node);
  tr_status (*after_forward)(tr_model *net);

  /* begin_micro_batch - before backward adds to gradients; collective with
   * virtual shards. after_node - backward has passed a node. */
  tr_status (*begin_micro_batch)(tr_model *net);
  void (*after_node)(tr_model *net, int node);
} tr__step_hooks;

struct tr_model {
  tr_context *ctx; /* borrowed */
  uint64_t seed;   /* of what is random in its steps */

  /* The graph, in the order of the builder calls, which is an order in which
   * it can be computed. */
  tr__node *nodes;
  int num_nodes, max_nodes;
  int num_inputs, num_losses;
  int first_loss;  /* its node, where there are losses */
  tr_status error; /* the first of the builder calls, or of the build */
  char error_message[TR__MESSAGE_BYTES];
  tr__freeze *freezes; /* in the order of the calls: the last one wins */
  int num_freezes;

  /* The plan. */
  bool is_begun; /* by a tr_model_build() that may have failed half-way */
  bool is_built;
  bool is_stale;              /* what is frozen has changed since */
  bool wants_input_gradients; /* for tests: backward reaches tr_input() too */
  bool is_inference;          /* planned for forward alone */
  int64_t max_rows;           /* of this rank in one step */
  tr__store store;
  void *activations; /* the arena of outputs, gradients, saved, workspace */
  size_t activation_bytes;
  tr__slot weights; /* of the samples */
  void *sums;       /* tail of the last forward: loss, weight, correct */

  /* The current step. */
  tr__step_state step;
  int64_t rows, global_rows, first_row;
  tr__shards shards;     /* of its rows */
  int64_t backward_rows; /* of this rank in the last backward */
  bool is_evaluating;
  bool has_weights;
  double known[TR__TAIL_COUNT]; /* sums of the last forward or all-reduce */
  tr__overlap overlap;
  tr__buckets buckets;

  tr__workspaces *workspaces; /* owned */
  tr__attachment attachment;
};

/* tr__tail_is_apart - the tail has a transfer of its own.
 *
 * It says how large the batch was and which rank has failed, so it is never
 * rounded, and all ranks need all of it. They also need the gradients in front
 * of it that belong to no parameter, see tr__param's uses_offset. */
static inline bool tr__tail_is_apart(const tr_model *net)
{
  return net->buckets.partition != NULL || net->ctx->wire != 0;
}

/* tr__arena_item - bytes that are needed from step `begin` to step `end`. */
typedef struct tr__arena_item {
  size_t bytes, offset;
  int begin, end;
} tr__arena_item;

/* tr__arena_place - give every item an offset so that no two that are needed
 * at once overlap; *total is the arena's size. Greedy by size. Returns false
 * without memory. */
bool tr__arena_place(tr__arena_item *items, int count, size_t *total);

#define TR__ARENA_ALIGN 256

/* tr__node_options_text - a layer's options, "heads 2, causal". Allocated with
 * malloc; NULL without memory. */
char *tr__node_options_text(const tr__node *node);

/* tr__model_remember - keep this thread's failure as the model's, unless it has
 * one: every later tr_model_build() returns it. */
void tr__model_remember(tr_model *net, tr_status status);

/* tr__node_as_added - a node as its builder call left it: without what infer
 * and the plan have set, but readable after forward where it was. */
tr__node tr__node_as_added(const tr__node *node);

/* tr__model_upload - the batch's arrays into the arena. */
void tr__model_upload(tr_model *net, const tr_batch *batch);

/* tr__model_clean_input, tr__model_clean_targets - what samples of weight 0
 * hold in an input node or a loss, where it could spoil a sum, becomes 0. */
void tr__model_clean_input(tr_model *net,
                           const tr__node *node,
                           const tr_batch *batch);
void tr__model_clean_targets(tr_model *net,
                             const tr__node *node,
                             const tr_batch *batch);

/* tr__model_look_at - after forward: where this rank's loss has no sense,
 * search the batch for numbers that cannot be computed with
 * (core/suspect_impl.h). */
void tr__model_look_at(tr_model *net, const tr_batch *batch);

/* tr__input_slot - where the batch's rows go that an input node takes. */
const tr__slot *tr__input_slot(const tr__node *node);

/* tr__rows_bytes - what tr__read_rows() writes. */
size_t tr__rows_bytes(const tr_model *net, const tr__slot *slot);

/* tr__read_rows, tr__write_rows - this step's rows of a slot, of the context's
 * dtype on the host; reading waits for the device. */
tr_status tr__read_rows(tr_model *net, const tr__slot *slot, void *values);
tr_status
tr__write_rows(tr_model *net, const tr__slot *slot, const void *values);

/* tr__model_shards - the cut of this step's rows. */
tr__shards tr__model_shards(const tr_model *net);

/* tr__model_check_batch - does a batch fit the model? Reads no sample. */
tr_status tr__model_check_batch(const tr_model *net, const tr_batch *batch);

/* tr__model_clear_owners - with virtual shards the layers that share a weight
 * have gradients of their own until tr__store_add_uses() sums them. Before the
 * first backward of a step this sets the gradient of each weight to zero whose
 * own layer has none. */
void tr__model_clear_owners(tr_model *net);

/* tr__model_compute - copy the batch's arrays and run every node's forward on
 * net->rows rows. */
void tr__model_compute(tr_model *net, const tr_batch *batch);

/* tr__model_infer - let every layer infer its shapes and memory. */
tr_status tr__model_infer(tr_model *net);

/* tr__model_plan - fusion, aliases, gradients, lifetimes, offsets. */
tr_status tr__model_plan(tr_model *net);

/* tr__plan_accumulate - which gradients each node of backward sets, and which it
 * adds to. */
tr_status tr__plan_accumulate(tr_model *net);

/* tr__model_lay_out - the order and offsets of the parameters, into the store;
 * tr__model_init_values - their first values, the same on every rank. */
tr_status tr__model_lay_out(tr_model *net);
tr_status tr__model_init_values(tr_model *net);

/* tr__init_fill - the values of an initialiser for a tensor of a shape, as
 * doubles; tr__init_set - those of a parameter, with its init, in `values`
 * (room for all of it) and then in the store. */
tr_status tr__init_fill(const tr__init *init,
                        const tr_shape *shape,
                        const tr__random *random,
                        double *values);
tr_status tr__init_set(tr_model *net, const tr__param *param, double *values);

/* tr__init_of - what options mean for a tensor of a shape; the message begins
 * with the name. */
struct tr_init_opts;
tr_status tr__init_of(const struct tr_init_opts *opts,
                      const char *name,
                      const tr_shape *shape,
                      tr__init *out);

/* tr__model_broadcast_values - rank 0's values to all ranks. */
tr_status tr__model_broadcast_values(tr_model *net);

/* tr__model_release_plan - give back what a build has allocated. */
void tr__model_release_plan(tr_model *net);

/* tr__model_apply_freezes - mark what tr_model_freeze() named, once infer has
 * declared the parameters; tr__model_freeze_text - what is frozen, as lines,
 * allocated with malloc; NULL without memory. */
tr_status tr__model_apply_freezes(tr_model *net);

/* tr__model_freeze_unreached - no parameter is trained that no loss depends on:
 * it would have a gradient of 0, and weight decay would take it there.
 * tr__model_name_unreached - one warning with their names. */
tr_status tr__model_freeze_unreached(tr_model *net);
void tr__model_name_unreached(const tr_model *net);
char *tr__model_freeze_text(const tr_model *net);

/* tr__model_backward_from - for models without a loss: backward from a given
 * gradient of the last node, (rows, shape) in host memory. */
tr_status tr__model_backward_from(tr_model *net, const void *gradient);

/* tr__model_get_node_gradient - a node's gradient; of inputs with
 * wants_input_gradients. */
tr_status tr__model_get_node_gradient(tr_model *net, int node, void *values);

#endif
