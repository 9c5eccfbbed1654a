/* The model: its graph, its memory plan and its state between calls. The
 * functions here are the steps of tr_model_build(), tr_model_forward() and
 * tr_model_backward() that other files of model/, sync/ or the tests call.
 * access_impl.h is the smaller interface for other folders. */
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

/* The inference workspaces (tr_inference) of a model, which read the model's
 * parameters. Workspaces that use the model's backend take turns under the
 * lock. All workspaces take it to refresh the 16-bit copy. */
typedef struct tr__workspaces {
  atomic_int num_workspaces;
  pthread_mutex_t lock;
} tr__workspaces;

/* How far the bucket transfers of this step are, see sync/overlap.c. */
typedef struct tr__overlap {
  bool is_on;          /* backward starts transfers */
  int num_released;    /* transfers given to the work queue */
  int num_early;       /* of these, before backward ended */
  int64_t num_started; /* of these, transfers begun by then */
  tr_status status;    /* first failure of a wait in forward */
  void *staging; /* host memory for all gradients and the tail, where the host
                    cannot access the backend's memory; else NULL */
} tr__overlap;

/* The communication of a step. One implementation: sync/ implements these
 * functions, and run/create_context.c puts them into the context, so that
 * model/ does not depend on sync/. Hooks are needed only until a step is a
 * program, in which transfers are calls like any other. */
typedef struct tr__step_hooks {
  /* create - allocate what transfers of gradients need, at the end of a build;
   * local.
   * release - free it. */
  tr_status (*create)(tr_model *net);
  void (*release)(tr_model *net);

  /* before_node - wait until the parameters that a node reads have arrived from
   * other ranks; node NULL: all parameters.
   * after_forward - wait for all parameters that are still on their way. */
  void (*before_node)(tr_model *net, const tr__node *node);
  tr_status (*after_forward)(tr_model *net);

  /* begin_micro_batch - called before a backward that adds to gradients;
   * collective with virtual shards.
   * after_node - called when backward has passed a node. */
  tr_status (*begin_micro_batch)(tr_model *net);
  void (*after_node)(tr_model *net, int node);
} tr__step_hooks;

struct tr_model {
  tr_context *ctx; /* borrowed */
  uint64_t seed;   /* of the random numbers in its steps */

  /* The graph, in the order of the builder calls. A node's inputs precede it,
   * so this is an order of execution. */
  tr__node *nodes;
  int num_nodes, max_nodes;
  int num_inputs, num_losses;
  int first_loss;  /* index of the first loss node, if there is a loss */
  tr_status error; /* first failure of a builder call or of the build */
  char error_message[TR__MESSAGE_BYTES];
  tr__freeze *freezes; /* in the order of the calls: later ones take
                          precedence */
  int num_freezes;

  /* The plan. */
  bool is_begun; /* tr_model_build() began, and may have failed */
  bool is_built;
  bool is_stale;              /* tr_model_freeze() came after the build */
  bool wants_input_gradients; /* for tests: backward also computes the gradients
                                 of tr_input() */
  bool is_inference;          /* the plan has no backward */
  int64_t max_rows;           /* largest number of rows in one step */
  tr__store store;
  void *activations; /* the arena of outputs, gradients, saved tensors and
                        workspaces */
  size_t activation_bytes;
  tr__slot weights; /* the sample weights of the batch */
  void *sums;       /* tail of the last forward: losses, weight, correct */

  /* The current step. */
  tr__step_state step;
  int64_t rows, global_rows, first_row;
  tr__shards shards;     /* the shards of its rows */
  int64_t backward_rows; /* rows in the last backward */
  bool is_evaluating;
  bool has_weights;
  double known[TR__TAIL_COUNT]; /* tail of the last forward or all-reduce, on
                                   the host */
  tr__overlap overlap;
  tr__buckets buckets;

  tr__workspaces *workspaces; /* owned */
  tr__attachment attachment;
};

/* tr__tail_is_apart - true if the tail has a transfer of its own.
 *
 * The tail says how large the batch was and which rank has failed. So no
 * transfer rounds it to the wire type, and all ranks receive all of it. The
 * same holds for the gradients directly before the tail that belong to no
 * parameter: see uses_offset of tr__param. */
static inline bool tr__tail_is_apart(const tr_model *net)
{
  return net->buckets.partition != NULL || net->ctx->wire != 0;
}

/* tr__arena_item - bytes that are needed from time `begin` to time `end`, both
 * included. */
typedef struct tr__arena_item {
  size_t bytes, offset;
  int begin, end;
} tr__arena_item;

/* tr__arena_place - give every item an offset so that items with overlapping
 * lifetimes do not overlap in memory. Writes the size of the arena to *total.
 * Returns false if it has no memory. */
bool tr__arena_place(tr__arena_item *items, int count, size_t *total);

#define TR__ARENA_ALIGN 256

/* tr__node_options_text - the options of a layer as text, for example "heads 2,
 * causal". Allocated with malloc; NULL without memory. */
char *tr__node_options_text(const tr__node *node);

/* tr__model_remember - keep this thread's failure as the model's, unless the
 * model has one. Every later tr_model_build() returns it. */
void tr__model_remember(tr_model *net, tr_status status);

/* tr__node_as_added - a copy of a node without what infer and the plan have
 * set. is_kept remains. */
tr__node tr__node_as_added(const tr__node *node);

/* tr__model_upload - copy the batch's arrays into the activation arena. */
void tr__model_upload(tr_model *net, const tr_batch *batch);

/* tr__model_clean_input, tr__model_clean_targets - for samples of weight 0,
 * overwrite with 0 those values of an input node or a loss that could spoil a
 * sum (left_out.c). */
void tr__model_clean_input(tr_model *net,
                           const tr__node *node,
                           const tr_batch *batch);
void tr__model_clean_targets(tr_model *net,
                             const tr__node *node,
                             const tr_batch *batch);

/* tr__model_look_at - after forward: where this rank's loss is senseless,
 * search the batch for the sample that spoils it. Otherwise glance at the batch
 * for large numbers (core/suspect_impl.h). */
void tr__model_look_at(tr_model *net, const tr_batch *batch);

/* tr__input_slot - the slot of an input node that receives the batch's rows. */
const tr__slot *tr__input_slot(const tr__node *node);

/* tr__rows_bytes - the bytes that tr__read_rows() writes. */
size_t tr__rows_bytes(const tr_model *net, const tr__slot *slot);

/* tr__read_rows, tr__write_rows - copy this step's rows of a slot to or from
 * host memory. 16-bit values are TR_F32 on the host. Reading waits for the
 * device. */
tr_status tr__read_rows(tr_model *net, const tr__slot *slot, void *values);
tr_status
tr__write_rows(tr_model *net, const tr__slot *slot, const void *values);

/* tr__model_shards - the shards of this step's rows. */
tr__shards tr__model_shards(const tr_model *net);

/* tr__model_check_batch - an error unless a batch fits the model. It reads no
 * sample. */
tr_status tr__model_check_batch(const tr_model *net, const tr_batch *batch);

/* tr__model_clear_owners - with virtual shards, every layer that uses a tied
 * weight has a gradient of its own until tr__store_add_uses() sums them. Before
 * the first backward of a step, this function sets the gradient of each tied
 * weight to zero whose declaring layer computes none. */
void tr__model_clear_owners(tr_model *net);

/* tr__model_compute - copy the batch's arrays into the arena and call forward
 * of every node on net->rows rows. */
void tr__model_compute(tr_model *net, const tr_batch *batch);

/* tr__model_infer - call infer of every layer: shapes, parameters, saved
 * tensors, workspaces. */
tr_status tr__model_infer(tr_model *net);

/* tr__model_plan - plan fusion, aliases, gradients, lifetimes and offsets. */
tr_status tr__model_plan(tr_model *net);

/* tr__plan_accumulate - decide which gradients each node's backward sets, and
 * which it adds to. */
tr_status tr__plan_accumulate(tr_model *net);

/* tr__model_lay_out - write the order and the offsets of the parameters into
 * the store.
 * tr__model_init_values - compute their first values, which are equal on all
 * ranks with the same type of CPU. */
tr_status tr__model_lay_out(tr_model *net);
tr_status tr__model_init_values(tr_model *net);

/* tr__init_fill - the values of an initialiser for a tensor of a shape, as
 * doubles.
 * tr__init_set - compute the values of param->init in `values`, which has room
 * for all of them, and copy them into the store. */
tr_status tr__init_fill(const tr__init *init,
                        const tr_shape *shape,
                        const tr__random *random,
                        double *values);
tr_status tr__init_set(tr_model *net, const tr__param *param, double *values);

/* tr__init_of - resolve options into an initialiser for a tensor of a shape.
 * `name` is the parameter's name in messages. */
struct tr_init_opts;
tr_status tr__init_of(const struct tr_init_opts *opts,
                      const char *name,
                      const tr_shape *shape,
                      tr__init *out);

/* tr__model_broadcast_values - broadcast rank 0's values to all ranks. */
tr_status tr__model_broadcast_values(tr_model *net);

/* tr__model_release_plan - free what a build has allocated, except the nodes.
 */
void tr__model_release_plan(tr_model *net);

/* tr__model_apply_freezes - mark the parameters that tr_model_freeze() named,
 * after infer has declared them. */
tr_status tr__model_apply_freezes(tr_model *net);

/* tr__model_freeze_unreached - freeze every parameter that no loss depends on.
 * Its gradient would be 0, and weight decay would pull it to 0.
 * tr__model_name_unreached - log one warning with the names of these
 * parameters.
 * tr__model_freeze_text - one line per parameter: frozen or trained. Allocated
 * with malloc; NULL without memory. */
tr_status tr__model_freeze_unreached(tr_model *net);
void tr__model_name_unreached(const tr_model *net);
char *tr__model_freeze_text(const tr_model *net);

/* tr__model_backward_from - for models without a loss: backward from a given
 * gradient of the last node, (rows, shape) in host memory. */
tr_status tr__model_backward_from(tr_model *net, const void *gradient);

/* tr__model_get_node_gradient - copy a node's gradient to host memory. Input
 * nodes have one only with wants_input_gradients. */
tr_status tr__model_get_node_gradient(tr_model *net, int node, void *values);

#endif
