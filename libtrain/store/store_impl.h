/* Parameters and gradients: named views into two arenas.
 *
 * Gradients lie in the order in which backward finishes them. Parameters have
 * the same element offsets, as have optimizer slots without ZeRO, so that one
 * range of elements describes an update, a bucket or a partition. The tail
 * (ops_impl.h) lies behind the gradients. Each parameter begins at a multiple
 * of TR__PARAM_ALIGN elements; the padding between them is always zero. */
#ifndef TR_STORE_IMPL_H
#define TR_STORE_IMPL_H

#include "core/context_impl.h"

#include <train/model.h>

#define TR__PARAM_ALIGN 64

/* How the first values of a parameter are made, from the numbers of its
 * tr__init. */
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

/* A named tensor of the model: a parameter, or a buffer such as running
 * statistics, which a layer updates itself. */
typedef struct tr__param {
  char name[TR__NAME_BYTES];
  tr_shape shape;
  int64_t count;       /* elements */
  int64_t offset;      /* element offset in every arena of the store */
  tr__init init;       /* first values */
  int stream;          /* number of their random stream */
  int num_uses;        /* layers that use it; its gradient is final when
                          backward has passed all of them */
  int64_t uses_offset; /* reproducible mode: element offset of the gradients of
                          the layers tied to it, until they are summed */
  bool is_buffer;      /* a layer updates it: no gradient, no optimizer state */
  bool is_frozen;      /* not trained: no gradient, no optimizer state */
  bool is_unreached;   /* frozen, since no loss depends on it */
  bool has_own_gradient; /* the layer that declared it takes part in backward */
} tr__param;

/* tr__param_room - elements of an arena that a parameter occupies, with its
 * padding. */
static inline int64_t tr__param_room(const tr__param *param)
{
  return (int64_t)tr__align((size_t)param->count, TR__PARAM_ALIGN);
}

static inline bool tr__param_is_trained(const tr__param *param)
{
  return !param->is_buffer && !param->is_frozen;
}

/* A bucket: the slice of the gradient arena that one transfer reduces.
 *
 * The buckets of a model are in arena order and without gaps: the first begins
 * at 0, each other where the one before it ends, and the last ends at
 * store->count. Where nothing is trained the only bucket is empty. Bounds are
 * multiples of TR__PARAM_ALIGN elements, and bounds of parameters except where
 * sync/buckets.c divides a bucket that is too large. They depend on the plan
 * and the communicator alone, so they are equal on all ranks. They stay until
 * the model is built again, except that an optimizer with shard_state moves
 * them to places where its partition may begin a slice. */
typedef struct tr__bucket {
  int64_t begin, end; /* elements */
  int node;           /* its gradients are final once backward has passed this
                         node */
} tr__bucket;

struct tr__partition;

/* All buckets of a model. */
typedef struct tr__buckets {
  tr__bucket *all;                       /* in arena order; owned */
  int count;                             /* at least 1 */
  const struct tr__partition *partition; /* ZeRO: that of the optimizer with
                                            shard_state; NULL: there is none */
} tr__buckets;

/* The parameters of a model and their memory. step_state_impl.h says which call
 * may use the gradients when. */
typedef struct tr__store {
  tr_context *ctx;
  int generation;    /* number of builds of the model; an optimizer is valid
                        for one of them */
  tr__param *params; /* in arena order: the trained ones first */
  int num_params;
  int num_trained;     /* parameters with gradients and optimizer slots */
  int *by_name;        /* indices into params in ascending order of names */
  int64_t count;       /* elements of gradients and slots, without the tail */
  int64_t value_count; /* elements of values; untrained ones lie behind count */
  void *values;        /* backend memory: value_count elements of ctx->dtype */
  void *values16;      /* mixed precision: the 16-bit copy of values, of type
                          ctx->compute, for products; else NULL */
  void *grads;         /* count + TR__TAIL_COUNT elements */
  void *micro_batch_sums;   /* reproducible mode: gradients of this step's
                             earlier micro-batches, summed over the ranks; NULL
                             until a step has several micro-batches */
  void *block;              /* one tr__step_block */
  bool values16_are_stale;  /* values have changed since the last copy */
  bool values_are_shared;   /* comm->type->alloc allocated values */
  bool grads_are_shared;    /* the same for grads */
  size_t state_bytes;       /* bytes of optimizer state on this rank */
  size_t whole_state_bytes; /* the same without partition */
} tr__store;

/* tr__store_param - a parameter by name, or NULL. */
tr__param *tr__store_param(const tr__store *store, const char *name);

/* tr__store_names - write the names of all parameters as " a b c", as many as
 * fit into `bytes`; returns out. */
const char *tr__store_names(const tr__store *store, size_t bytes, char *out);

/* tr__store_tensor - a parameter's view of an arena of the store. */
tr__tensor
tr__store_tensor(const tr__store *store, void *arena, const tr__param *param);

/* tr__store_arena_params - the number of parameters in an arena: values hold
 * all, gradients and slots the trained ones. tr__store_arena_count - the number
 * of elements. */
static inline int tr__store_arena_params(const tr__store *store, bool is_values)
{
  return is_values ? store->num_params : store->num_trained;
}

static inline int64_t tr__store_arena_count(const tr__store *store,
                                            bool is_values)
{
  return is_values ? store->value_count : store->count;
}

/* tr__first_loss_scale - the loss scale of the first step. Without a scale,
 * most gradients are too small for float16. Source: torch.amp.GradScaler */
static inline double tr__first_loss_scale(const tr_context *ctx)
{
  return ctx->compute == TR_F16 ? 65536 : 1;
}

/* tr__store_values16_bytes - bytes of the 16-bit copy. */
static inline size_t tr__store_values16_bytes(const tr__store *store)
{
  return (size_t)store->value_count * sizeof(uint16_t);
}

/* tr__store_changed - every write to values must be followed by this call. It
 * marks the 16-bit copy as stale. tr__store_refresh - renew a stale copy,
 * before ops read it. */
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

/* tr__store_use_grad - reproducible mode: the gradient of one of the layers
 * that are tied to a weight; `use` is its number among these, from 0. */
tr__tensor
tr__store_use_grad(const tr__store *store, const tr__param *param, int use);

/* tr__store_tail - the tail behind the gradients. */
tr__tensor tr__store_tail(const tr__store *store);

/* tr__store_block - the step block as a tensor for ops. */
tr__tensor tr__store_block(const tr__store *store);

/* tr__store_alloc - allocate the arenas of a store that is laid out, except
 * gradients. tr__store_alloc_grads - allocate the gradients, in a segment where
 * the communicator can reduce them in place. Collective.
 * tr__store_release - free all memory of the store. */
tr_status tr__store_alloc(tr__store *store);
tr_status tr__store_alloc_grads(tr__store *store);
size_t tr__store_grad_bytes(const tr__store *store); /* with the tail */
void tr__store_release(tr__store *store);

/* tr__store_use_shared_memory - move the values to a segment of the node, where
 * the communicator has one and `can` is true on all ranks. Collective. */
tr_status tr__store_use_shared_memory(tr__store *store, bool can);

/* tr__store_hash - XXH3-64 of names, shapes and values, with or without
 * buffers: see tr_model_params_hash(). */
tr_status
tr__store_hash(const tr__store *store, bool has_buffers, uint64_t *hash);

#endif
