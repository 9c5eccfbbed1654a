/* The tensor descriptor that ops take instead of a bare pointer, the shards
 * over which ops reduce, and the activations. */
#ifndef TR_TENSOR_IMPL_H
#define TR_TENSOR_IMPL_H

#include "base/base_impl.h"

/* How the elements of a tensor lie in memory. */
typedef enum tr__layout {
  TR__ROW_MAJOR = 0 /* last axis fastest; images are N, C, H, W */
} tr__layout;

/* dims[0] of an activation is this step's number of rows: 0 up to the
 * plan's. */
typedef struct tr__tensor {
  void *data; /* backend memory; NULL: the operand is absent */
  tr_dtype dtype;
  tr__layout layout;
  int ndim;
  int64_t dims[TR_MAX_DIMS];
} tr__tensor;

/* The shards of a batch, for ops that reduce over samples. Shard s of `total`
 * is the rows [tr__even_split(rows, s, total), tr__even_split(rows, s + 1,
 * total)) of the global batch, and this rank holds the shards
 * first..first+count-1. The op sums each shard on its own and combines the sums
 * along the fixed binary tree over 0..total-1. Outside reproducible mode the
 * whole local batch is one shard. */
typedef struct tr__shards {
  int64_t rows;  /* rows of the global batch; outside reproducible mode of this
                    rank */
  int64_t total; /* 1 outside reproducible mode */
  int64_t first;
  int64_t count;
  int64_t times; /* rows of the op per sample, such as its tokens; 0: 1 */
} tr__shards;

/* Element-wise functions. A layer with TR__CAN_ACTIVATE can fuse those up to
 * RELU; the others are ops of their own. */
typedef enum tr__activation {
  TR__ACTIVATION_NONE = 0,
  TR__ACTIVATION_RELU = 1,
  TR__ACTIVATION_LEAKY_RELU, /* x where x >= 0, else slope x */
  TR__ACTIVATION_GELU,       /* x Phi(x), Phi the normal distribution */
  TR__ACTIVATION_GELU_TANH,  /* its approximation by tanh */
  TR__ACTIVATION_SILU,       /* x / (1 + exp(-x)) */
  TR__ACTIVATION_SIGMOID,    /* 1 / (1 + exp(-x)) */
  TR__ACTIVATION_TANH
} tr__activation;

static inline tr__shards tr__one_shard(int64_t rows)
{
  return (tr__shards){.rows = rows, .total = 1, .first = 0, .count = 1};
}

/* tr__shard_begin - the first local row of local shard i; i = count gives the
 * end. */
static inline int64_t tr__shard_begin(const tr__shards *shards, int64_t i)
{
  int64_t samples =
      tr__even_split(shards->rows, shards->first + i, shards->total) -
      tr__even_split(shards->rows, shards->first, shards->total);
  return samples * tr__max(shards->times, 1);
}

/* tr__shards_of - the same shards for an op with `times` rows per sample. */
static inline tr__shards tr__shards_of(tr__shards shards, int64_t times)
{
  shards.times = times;
  return shards;
}

/* tr__tensor_of - a row-major tensor over backend memory. */
static inline tr__tensor
tr__tensor_of(void *data, tr_dtype dtype, int ndim, const int64_t *dims)
{
  tr__tensor t = {.data = data, .dtype = dtype, .ndim = ndim};
  for (int i = 0; i < ndim; i++) {
    t.dims[i] = dims[i];
  }
  return t;
}

/* tr__tensor_count - the number of elements. */
static inline int64_t tr__tensor_count(const tr__tensor *t)
{
  int64_t count = 1;
  for (int i = 0; i < t->ndim; i++) {
    count *= t->dims[i];
  }
  return count;
}

/* tr__tensor_row - the elements of one row: the product of all extents but
 * dims[0]. */
static inline int64_t tr__tensor_row(const tr__tensor *t)
{
  int64_t count = 1;
  for (int i = 1; i < t->ndim; i++) {
    count *= t->dims[i];
  }
  return count;
}

/* tr__tensor_as_rows - the same elements as a matrix with rows of `width`
 * elements. An absent tensor stays absent. */
static inline tr__tensor tr__tensor_as_rows(tr__tensor t, int64_t width)
{
  t.dims[0] = tr__tensor_count(&t) / width;
  t.dims[1] = width;
  t.ndim = 2;
  return t;
}

#endif
