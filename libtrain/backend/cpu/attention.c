/* Attention by blocks of queries and keys, one task per sample and head: the
 * scores of a block are products of OpenBLAS, so that no T x T tensor is held.
 *
 * Source: Dao 2023, arXiv:2307.08691 (FlashAttention-2): the running maximum
 * and sum of forward, and scores from log-sum-exp in backward. */
#include "backend/clones_impl.h"
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu/vector_math_impl.h"
#include "backend/cpu_ref/reference_impl.h"

#include <math.h>
#include <string.h>

enum { QUERIES = 64, KEYS = 256, LANES = 16 };

/* One head of one sample: rows of qkv are `stride` floats apart. */
typedef struct head {
  const float *q, *k, *v;
  int64_t T, E, stride, D;
  float scale;
  bool is_causal;
} head;

static head head_of(const tr__tensor *qkv, int64_t heads, int64_t n)
{
  int64_t T = qkv->dims[1], D = qkv->dims[2] / 3, E = D / heads;
  const float *q =
      (const float *)qkv->data + n / heads * T * 3 * D + n % heads * E;
  return (head){.q = q,
                .k = q + D,
                .v = q + 2 * D,
                .T = T,
                .E = E,
                .stride = 3 * D,
                .D = D,
                .scale = (float)(1 / sqrt((double)E))};
}

/* A block of scores: queries from i, keys from j. */
typedef struct block {
  int64_t i, j, queries, keys;
} block;

/* The keys of the block that query row r sees. */
static inline int64_t seen(const head *h, const block *b, int64_t r)
{
  int64_t keys = h->is_causal ? b->i + r + 1 - b->j : b->keys;
  return tr__max(0, tr__min(keys, b->keys));
}

static block block_at(const head *h, int64_t i, int64_t j)
{
  block b = {.i = i, .j = j, .queries = tr__min(QUERIES, h->T - i)};
  int64_t end = h->is_causal ? i + b.queries : h->T;
  b.keys = tr__min(KEYS, tr__min(end, h->T) - j);
  return b;
}

/* c <- (c +) a b^T or the like, of rows that belong to the head */
static tr__cpu_factor rows(const float *data, int64_t stride)
{
  return (tr__cpu_factor){data, stride, false};
}

static tr__cpu_factor turned(const float *data, int64_t stride)
{
  return (tr__cpu_factor){data, stride, true};
}

static void scores(const head *h, const block *b, float *s)
{
  tr__cpu_gemm((tr__cpu_matrix){s, b->keys},
               rows(h->q + b->i * h->stride, h->stride),
               turned(h->k + b->j * h->stride, h->stride),
               (int64_t[3]){b->queries, b->keys, h->E}, 0);
}

/* s <- exp(scale s - shift), the sum of which it returns: a fixed number of
 * partial sums. What lies behind `count` becomes 0. */
static TR__CLONES float
attention_exp(float *s, int64_t count, int64_t all, float scale, float shift)
{
  float lane[LANES] = {0}, sum = 0;
  int64_t j = 0;
  for (; j + LANES <= count; j += LANES) {
    for (int l = 0; l < LANES; l++) {
      s[j + l] = tr__expf(s[j + l] * scale - shift);
      lane[l] += s[j + l];
    }
  }
  for (; j < count; j++) {
    s[j] = tr__expf(s[j] * scale - shift);
    sum += s[j];
  }
  for (; j < all; j++) {
    s[j] = 0;
  }
  for (int l = 0; l < LANES; l++) {
    sum += lane[l];
  }
  return sum;
}

static TR__CLONES float attention_max(const float *s, int64_t count)
{
  float lane[LANES], largest = -INFINITY;
  for (int l = 0; l < LANES; l++) {
    lane[l] = -INFINITY;
  }
  int64_t j = 0;
  for (; j + LANES <= count; j += LANES) {
    for (int l = 0; l < LANES; l++) {
      lane[l] = s[j + l] > lane[l] ? s[j + l] : lane[l];
    }
  }
  for (; j < count; j++) {
    largest = s[j] > largest ? s[j] : largest;
  }
  for (int l = 0; l < LANES; l++) {
    largest = lane[l] > largest ? lane[l] : largest;
  }
  return largest;
}

/* y <- y factor over rows that are D apart */
static void scale_row(float *y, int64_t count, float factor)
{
  for (int64_t e = 0; e < count; e++) {
    y[e] *= factor;
  }
}

/* The block's part of the running softmax of its rows. */
static void take_block(const head *h,
                       const block *b,
                       float *s,
                       float *y,
                       float largest[QUERIES],
                       float sum[QUERIES])
{
  scores(h, b, s);
  for (int64_t r = 0; r < b->queries; r++) {
    float *row = s + r * b->keys;
    int64_t count = seen(h, b, r);
    float old = largest[r], top = attention_max(row, count) * h->scale;
    largest[r] = top > old ? top : old;
    float factor = b->j == 0 ? 0 : tr__expf(old - largest[r]);
    sum[r] = sum[r] * factor +
             attention_exp(row, count, b->keys, h->scale, largest[r]);
    if (b->j > 0 && factor != 1) {
      scale_row(y + r * h->D, h->E, factor);
    }
  }
  tr__cpu_gemm((tr__cpu_matrix){y, h->D}, rows(s, b->keys),
               rows(h->v + b->j * h->stride, h->stride),
               (int64_t[3]){b->queries, h->E, b->keys}, b->j > 0);
}

static size_t scratch_bytes(tr__op op)
{
  size_t bytes = QUERIES * KEYS * sizeof(float);
  return op == TR__OP_attention_backward ? 2 * bytes : bytes;
}

static void forward_task(void *arg, int64_t n, int thread)
{
  const tr__attention_forward_args *a = arg;
  head h = head_of(&a->qkv, a->heads, n);
  h.is_causal = a->is_causal != 0;
  float *s = tr__cpu_scratch(&a->workspace,
                             scratch_bytes(TR__OP_attention_forward), thread);
  float *y = (float *)a->y.data + n / a->heads * h.T * h.D + n % a->heads * h.E;
  for (int64_t i = 0; i < h.T; i += QUERIES) {
    float largest[QUERIES], sum[QUERIES] = {0};
    block b = block_at(&h, i, 0);
    for (int64_t r = 0; r < b.queries; r++) {
      largest[r] = -INFINITY;
    }
    int64_t end = h.is_causal ? i + b.queries : h.T;
    for (int64_t j = 0; j < end; j += KEYS) {
      b = block_at(&h, i, j);
      take_block(&h, &b, s, y + i * h.D, largest, sum);
    }
    for (int64_t r = 0; r < b.queries; r++) {
      scale_row(y + (i + r) * h.D, h.E, 1 / sum[r]);
      ((float *)a->lse.data)[n * h.T + i + r] = largest[r] + logf(sum[r]);
    }
  }
}

static void attention_forward(tr__stream *stream,
                              const tr__attention_forward_args *args)
{
  if (args->y.dtype != TR_F32) {
    tr__ref_attention_forward_f64(args);
    return;
  }
  tr__attention_forward_args copy = *args;
  tr__pool_run(stream->backend->pool, args->y.dims[0] * args->heads,
               forward_task, &copy);
}

/* ds <- p (dp - inner) scale, where dp is; the part that is not seen is 0 as p
 * is. */
static TR__CLONES void
attention_ds(float *dp, const float *p, int64_t count, float inner, float scale)
{
  for (int64_t j = 0; j < count; j++) {
    dp[j] = p[j] * (dp[j] - inner) * scale;
  }
}

static float inner_product(const float *a, const float *b, int64_t count)
{
  float sum = 0;
  for (int64_t e = 0; e < count; e++) {
    sum += a[e] * b[e];
  }
  return sum;
}

/* The head's rows of gradients and of what forward left. */
typedef struct head_values {
  float *dq, *dk, *dv;
  const float *dy, *y, *lse;
} head_values;

static void add_block(
    const head *h, const block *b, const head_values *v, float *p, float *dp)
{
  const float *dy = v->dy + b->i * h->D;
  scores(h, b, p);
  tr__cpu_gemm((tr__cpu_matrix){dp, b->keys}, rows(dy, h->D),
               turned(h->v + b->j * h->stride, h->stride),
               (int64_t[3]){b->queries, b->keys, h->E}, 0);
  for (int64_t r = 0; r < b->queries; r++) {
    float *row = p + r * b->keys;
    attention_exp(row, seen(h, b, r), b->keys, h->scale, v->lse[b->i + r]);
    float inner = inner_product(dy + r * h->D, v->y + (b->i + r) * h->D, h->E);
    attention_ds(dp + r * b->keys, row, b->keys, inner, h->scale);
  }
  const int64_t by_key[3] = {b->keys, h->E, b->queries};
  tr__cpu_gemm((tr__cpu_matrix){v->dv + b->j * h->stride, h->stride},
               turned(p, b->keys), rows(dy, h->D), by_key, 1);
  tr__cpu_gemm((tr__cpu_matrix){v->dk + b->j * h->stride, h->stride},
               turned(dp, b->keys), rows(h->q + b->i * h->stride, h->stride),
               by_key, 1);
  tr__cpu_gemm((tr__cpu_matrix){v->dq + b->i * h->stride, h->stride},
               rows(dp, b->keys), rows(h->k + b->j * h->stride, h->stride),
               (int64_t[3]){b->queries, h->E, b->keys}, 1);
}

static void backward_task(void *arg, int64_t n, int thread)
{
  const tr__attention_backward_args *a = arg;
  head h = head_of(&a->qkv, a->heads, n);
  h.is_causal = a->is_causal != 0;
  size_t bytes = scratch_bytes(TR__OP_attention_backward);
  float *p = tr__cpu_scratch(&a->workspace, bytes, thread);
  int64_t first = n / a->heads * h.T * h.D + n % a->heads * h.E;
  float *dq = (float *)a->dqkv.data + (h.q - (const float *)a->qkv.data);
  const head_values values = {.dq = dq,
                              .dk = dq + h.D,
                              .dv = dq + 2 * h.D,
                              .dy = (const float *)a->dy.data + first,
                              .y = (const float *)a->y.data + first,
                              .lse = (const float *)a->lse.data + n * h.T};
  for (int64_t t = 0; t < 3 * h.T && !a->accumulate; t++) {
    memset(dq + t * h.D, 0, (size_t)h.E * sizeof *dq);
  }
  for (int64_t i = 0; i < h.T; i += QUERIES) {
    int64_t end = h.is_causal ? tr__min(i + QUERIES, h.T) : h.T;
    for (int64_t j = 0; j < end; j += KEYS) {
      block b = block_at(&h, i, j);
      add_block(&h, &b, &values, p, p + QUERIES * KEYS);
    }
  }
}

static void attention_backward(tr__stream *stream,
                               const tr__attention_backward_args *args)
{
  if (args->dqkv.dtype != TR_F32) {
    tr__ref_attention_backward_f64(args);
    return;
  }
  tr__attention_backward_args copy = *args;
  tr__pool_run(stream->backend->pool, args->y.dims[0] * args->heads,
               backward_task, &copy);
}

size_t tr__cpu_attention_workspace(const tr__pool *pool, tr__op op)
{
  return (size_t)tr__pool_num_threads(pool) * scratch_bytes(op);
}

void tr__cpu_set_attention(tr__ops *ops)
{
  ops->attention_forward = attention_forward;
  ops->attention_backward = attention_backward;
}
