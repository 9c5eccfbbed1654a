/* Parameters and gradients: named views into two arenas.
 *
 * Gradients are laid out in the order in which backward finishes them;
 * parameters and optimizer slots lie at the same element offsets, so that an
 * update, a bucket and a shard are slices of the same numbers. Behind the
 * gradients lies the tail (ops_impl.h). Each parameter begins at a multiple of
 * TR__PARAM_ALIGN elements; the padding between is zero, always. */
#ifndef TR_STORE_IMPL_H
#define TR_STORE_IMPL_H

#include "core/context_impl.h"

#include <train/model.h>

#define TR__PARAM_ALIGN 64

typedef enum tr__init_kind {
  TR__INIT_UNIFORM,      /* in [a, b) */
  TR__INIT_NORMAL,       /* mean a, standard deviation b */
  TR__INIT_CONSTANT,     /* a */
  TR__INIT_VALUES,       /* values, which live as long as the model */
  TR__INIT_TRUNC_NORMAL, /* as normal, but within [low, high] */
  TR__INIT_ORTHOGONAL    /* a times a matrix with orthonormal rows or columns:
                            the first axis by all others */
} tr__init_kind;

typedef struct tr__init {
  tr__init_kind kind;
  double a, b;
  double low, high;
  const double *values;
} tr__init;

static inline tr__init tr__init_uniform(double bound)
{
  return (tr__init){.kind = TR__INIT_UNIFORM, .a = -bound, .b = bound};
}

static inline tr__init tr__init_constant(double value)
{
  return (tr__init){.kind = TR__INIT_CONSTANT, .a = value};
}

static inline tr__init tr__init_normal(double std)
{
  return (tr__init){.kind = TR__INIT_NORMAL, .b = std};
}

static inline tr__init tr__init_values(const double *values)
{
  return (tr__init){.kind = TR__INIT_VALUES, .values = values};
}

/* A named tensor of the model: a parameter, or a buffer that a layer updates
 * itself (running statistics). */
typedef struct tr__param {
  char name[TR__NAME_BYTES];
  tr_shape shape;
  int64_t count;       /* elements */
  int64_t offset;      /* element offset in every arena of the store */
  tr__init init;       /* first values */
  int stream;          /* of their random numbers */
  int num_uses;        /* layers that share it; final after the last */
  int64_t uses_offset; /* with virtual shards: where the gradients of the layers
                          lie that are tied to it, until they are summed */
  bool is_buffer;      /* a layer updates it itself: no gradient, no state */
  bool is_frozen;      /* not trained: no gradient, no state */
  bool is_unreached;   /* frozen, since no loss depends on it */
  bool has_own_gradient; /* the layer that declared it takes part in backward */
} tr__param;

/* tr__param_room - elements of an arena that a parameter takes. */
static inline int64_t tr__param_room(const tr__param *param)
{
  return (int64_t)tr__align((size_t)param->count, TR__PARAM_ALIGN);
}

static inline bool tr__param_is_trained(const tr__param *param)
{
  return !param->is_buffer && !param->is_frozen;
}

/* A slice of the arenas whose gradients are summed over the ranks together.
 *
 * All of a model are in arena order and without gaps: the first begins at 0,
 * each where the one before it ends, the last ends at store->count; where
 * nothing is trained it is empty. They begin and end at multiples of
 * TR__PARAM_ALIGN elements, at a parameter's bounds but where one parameter is
 * larger than a bucket may be. They follow from the plan and the communicator,
 * so they are the same on all ranks, and stay until the model is built again,
 * but that an optimizer with shard_state moves their bounds to where it may be
 * cut. */
typedef struct tr__bucket {
  int64_t begin, end; /* elements */
  int node;           /* final once backward has passed this node */
} tr__bucket;

struct tr__partition;

/* How the gradient arena is divided into transfers. */
typedef struct tr__buckets {
  tr__bucket *all;                       /* in arena order; owned */
  int count;                             /* at least 1 */
  const struct tr__partition *partition; /* of the optimizer whose state is
                                            partitioned over the ranks; NULL:
                                            there is none */
} tr__buckets;

/* Names and memory. Which call may use what when is step_state_impl.h. */
typedef struct tr__store {
  tr_context *ctx;
  int generation;    /* builds of the model: an optimizer belongs to one */
  tr__param *params; /* in arena order: the trained ones first */
  int num_params;
  int num_trained;     /* that have gradients and optimizer slots */
  int *by_name;        /* indices into params in ascending order of names */
  int64_t count;       /* elements of gradients and slots, without the tail */
  int64_t value_count; /* of values: what is not trained lies behind */
  void *values;        /* backend memory: value_count elements of ctx->dtype */
  void *values16;      /* in mixed precision the values once more, as
                          ctx->compute, for products; else NULL */
  void *grads;         /* count + TR__TAIL_COUNT elements */
  void *micro_batch_sums;  /* with virtual shards: gradients of this step's
                             earlier micro-batches, summed over the ranks; NULL
                             until a step has several */
  void *block;             /* one tr__step_block */
  bool values16_are_stale; /* the values have changed since */
  bool values_are_shared;  /* they are the communicator's memory */
  bool grads_are_shared;
  size_t state_bytes;       /* of optimizers on this rank */
  size_t whole_state_bytes; /* what that would be, were nothing partitioned */
} tr__store;

/* tr__store_param - a parameter by name, or NULL. */
tr__param *tr__store_param(const tr__store *store, const char *name);

/* tr__store_names - " a b c", as many names as fit; returns out. */
const char *tr__store_names(const tr__store *store, size_t bytes, char *out);

/* tr__store_tensor - a parameter's view of an arena of the store. */
tr__tensor
tr__store_tensor(const tr__store *store, void *arena, const tr__param *param);

/* tr__store_arena_params - parameters that an arena holds: all in the values,
 * the trained ones in gradients and slots; tr__store_arena_count - elements. */
static inline int tr__store_arena_params(const tr__store *store, bool is_values)
{
  return is_values ? store->num_params : store->num_trained;
}

static inline int64_t tr__store_arena_count(const tr__store *store,
                                            bool is_values)
{
  return is_values ? store->value_count : store->count;
}

/* tr__first_loss_scale - gradients of float16 are mostly so small that they
 * would be lost. Source: torch.amp.GradScaler */
static inline double tr__first_loss_scale(const tr_context *ctx)
{
  return ctx->compute == TR_F16 ? 65536 : 1;
}

/* tr__store_values16_bytes - of halves. */
static inline size_t tr__store_values16_bytes(const tr__store *store)
{
  return (size_t)store->value_count * sizeof(uint16_t);
}

/* tr__store_changed - what has written the values says so;
 * tr__store_refresh - before they are computed with. */
static inline void tr__store_changed(tr__store *store)
{
  store->values16_are_stale = true;
}

void tr__store_refresh(tr__store *store, tr__stream *stream);

/* tr__store_flat - a slice of an arena as a one-dimensional tensor. */
tr__tensor tr__store_flat(const tr__store *store,
                          void *arena,
                          int64_t offset,
                          int64_t count);

/* tr__store_use_grad - with virtual shards, the gradient of layer number `use`,
 * from 0, of those that are tied to a weight. */
tr__tensor
tr__store_use_grad(const tr__store *store, const tr__param *param, int use);

/* tr__store_tail - the tail behind the gradients. */
tr__tensor tr__store_tail(const tr__store *store);

/* tr__store_block - the step block as a tensor for ops. */
tr__tensor tr__store_block(const tr__store *store);

/* tr__store_alloc - the arenas of a store that is laid out, but that of the
 * gradients; tr__store_alloc_grads - collective: where the communicator has
 * memory that is summed in place, they lie there. */
tr_status tr__store_alloc(tr__store *store);
tr_status tr__store_alloc_grads(tr__store *store);
size_t tr__store_grad_bytes(const tr__store *store); /* with the tail */
void tr__store_release(tr__store *store);

/* tr__store_use_shared_memory - move the values to memory that the ranks of a
 * node share, where there is any and all of them `can`. Collective. */
tr_status tr__store_use_shared_memory(tr__store *store, bool can);

/* tr__store_hash - XXH3-64 of the values, with or without buffers: see
 * tr_model_params_hash(). */
tr_status
tr__store_hash(const tr__store *store, bool has_buffers, uint64_t *hash);

#endif
