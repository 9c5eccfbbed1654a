/* Attention by blocks of queries and keys, one task per sample and head.
 * OpenBLAS computes the scores of a block, so that no T x T tensor is stored.
 *
 * Source: Dao 2023, arXiv:2307.08691 (FlashAttention-2): forward keeps a
 * running maximum and sum, backward recomputes the softmax from log-sum-exp. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu/vector_math_impl.h"
#include "backend/cpu_ref/reference_impl.h"
#include "base/clones_impl.h"

#include <math.h>
#include <string.h>

enum { QUERIES = 64, KEYS = 256, LANES = 16 };

/* One head of one sample. Rows of q, k, v are `stride` floats apart, those of y
 * and dy D floats. 16-bit operands are copied into fp32 matrices of E columns.
 */
typedef struct head {
  const float *q, *k, *v;
  int64_t T, E, stride, D;
  float scale;
  bool is_causal;
} head;

/* Where a head begins in its tensors. */
typedef struct head_place {
  int64_t qkv, y; /* first elements */
  int64_t T, E, D;
} head_place;

static head_place place_of(const tr__tensor *qkv, int64_t heads, int64_t n)
{
  int64_t T = qkv->dims[1], D = qkv->dims[2] / 3, E = D / heads;
  return (head_place){.qkv = n / heads * T * 3 * D + n % heads * E,
                      .y = n / heads * T * D + n % heads * E,
                      .T = T,
                      .E = E,
                      .D = D};
}

/* The rows of a head as a tile of a tensor, `stride` elements apart. */
static tr__cpu_tile
rows_in(const tr__tensor *t, int64_t first, int64_t stride, const head_place *p)
{
  return (tr__cpu_tile){t, first, stride, p->T, p->E};
}

static head
head_of(const tr__tensor *qkv, const head_place *p, bool is_causal, float *wide)
{
  const float *part[3];
  int64_t stride = 0;
  for (int i = 0; i < 3; i++) {
    tr__cpu_tile tile = rows_in(qkv, p->qkv + i * p->D, 3 * p->D, p);
    tr__cpu_matrix m =
        tr__cpu_tile_to_fp32(&tile, 1, tr__cpu_behind(wide, i * p->T * p->E));
    part[i] = m.data;
    stride = m.stride;
  }
  return (head){.q = part[0],
                .k = part[1],
                .v = part[2],
                .T = p->T,
                .E = p->E,
                .stride = stride,
                .D = qkv->dtype == TR_F32 ? p->D : p->E,
                .scale = (float)(1 / sqrt((double)p->E)),
                .is_causal = is_causal};
}

/* A block of scores: queries from i on, keys from j on. */
typedef struct block {
  int64_t i, j, queries, keys;
} block;

/* How many keys of the block its query r sees. */
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

/* Factors of products: a matrix as it is stored, and its transpose. */
static tr__cpu_factor rows(const float *data, int64_t stride)
{
  return (tr__cpu_factor){.data = data, .stride = stride};
}

static tr__cpu_factor turned(const float *data, int64_t stride)
{
  return (tr__cpu_factor){.data = data, .stride = stride, .transposed = true};
}

static void scores(const head *h, const block *b, float *s)
{
  tr__cpu_gemm((tr__cpu_matrix){s, b->keys},
               rows(h->q + b->i * h->stride, h->stride),
               turned(h->k + b->j * h->stride, h->stride),
               (int64_t[3]){b->queries, b->keys, h->E}, 0);
}

/* s <- exp(scale s - shift) for the first `count` of `all` scores, 0 for the
 * rest. Returns the sum, made of a fixed number of partial sums. */
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

/* y <- y factor for one row */
static void scale_row(float *y, int64_t count, float factor)
{
  for (int64_t e = 0; e < count; e++) {
    y[e] *= factor;
  }
}

/* Add one block to the running softmax: update largest and sum, rescale y, then
 * add the product with v. */
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

static void attend(const tr__attention_forward_args *a,
                   const head *h,
                   float *y,
                   float *lse,
                   float *s)
{
  for (int64_t i = 0; i < h->T; i += QUERIES) {
    float largest[QUERIES], sum[QUERIES] = {0};
    block b = block_at(h, i, 0);
    for (int64_t r = 0; r < b.queries; r++) {
      largest[r] = -INFINITY;
    }
    int64_t end = a->is_causal ? i + b.queries : h->T;
    for (int64_t j = 0; j < end; j += KEYS) {
      b = block_at(h, i, j);
      take_block(h, &b, s, y + i * h->D, largest, sum);
    }
    for (int64_t r = 0; r < b.queries; r++) {
      scale_row(y + (i + r) * h->D, h->E, 1 / sum[r]);
      lse[i + r] = largest[r] + logf(sum[r]);
    }
  }
}

static void forward_task(void *arg, int64_t n, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__attention_forward_args *a = call->args;
  head_place p = place_of(&a->qkv, a->heads, n);
  float *wide;
  if (!tr__cpu_thread_scratch(call, thread, &wide)) {
    return;
  }
  const tr__cpu_tile out = rows_in(&a->y, p.y, p.D, &p);
  tr__cpu_matrix y = tr__cpu_tile_to_fp32(&out, 0, wide);
  head h =
      head_of(&a->qkv, &p, a->is_causal != 0, tr__cpu_behind(wide, p.T * p.E));
  attend(a, &h, y.data, (float *)a->lse.data + n * h.T,
         tr__cpu_scratch(&a->workspace, scratch_bytes(TR__OP_attention_forward),
                         thread));
  tr__cpu_tile_from_fp32(&out, y);
}

/* fp32 copies of a task: y, q, k and v of a head; in backward also dy and three
 * gradients. */
static int64_t wide_floats(const tr__tensor *qkv, int64_t heads, int64_t parts)
{
  return parts * qkv->dims[1] * qkv->dims[2] / 3 / heads;
}

static void attention_forward(tr__stream *stream,
                              const tr__attention_forward_args *args)
{
  if (args->y.dtype == TR_F64) {
    tr__ref_attention_forward_f64(args);
    return;
  }
  tr__cpu_call call = tr__cpu_call_of(stream, TR__OP_attention_forward, args,
                                      wide_floats(&args->qkv, args->heads, 4));
  tr__threads_run(stream->backend->pool, args->y.dims[0] * args->heads,
                  forward_task, &call);
}

/* ds <- p (dp - inner) scale, written over dp. For keys that are not seen, p
 * and therefore ds are 0. */
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

/* The rows of a head in the gradients, in dy, and in the results of forward. */
typedef struct head_values {
  float *dq, *dk, *dv;
  const float *dy, *y, *lse;
} head_values;

/* Add the gradients of one block: dv += p^T dy, dk += ds^T q, dq += ds k. */
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
  const tr__cpu_call *call = arg;
  const tr__attention_backward_args *a = call->args;
  head_place place = place_of(&a->qkv, a->heads, n);
  int64_t part = place.T * place.E;
  float *wide;
  if (!tr__cpu_thread_scratch(call, thread, &wide)) {
    return;
  }
  head h = head_of(&a->qkv, &place, a->is_causal != 0, wide);
  const tr__cpu_tile y = rows_in(&a->y, place.y, place.D, &place);
  const tr__cpu_tile dy = rows_in(&a->dy, place.y, place.D, &place);
  head_values values = {
      .y = tr__cpu_tile_to_fp32(&y, 1, tr__cpu_behind(wide, 3 * part)).data,
      .dy = tr__cpu_tile_to_fp32(&dy, 1, tr__cpu_behind(wide, 4 * part)).data,
      .lse = (const float *)a->lse.data + n * h.T};
  tr__cpu_tile out[3];
  tr__cpu_matrix grads[3];
  for (int i = 0; i < 3; i++) {
    out[i] = rows_in(&a->dqkv, place.qkv + i * place.D, 3 * place.D, &place);
    grads[i] = tr__cpu_tile_to_fp32(&out[i], a->accumulate,
                                    tr__cpu_behind(wide, (5 + i) * part));
    for (int64_t t = 0; t < h.T && !a->accumulate; t++) {
      memset(grads[i].data + t * grads[i].stride, 0,
             (size_t)h.E * sizeof(float));
    }
  }
  values.dq = grads[0].data;
  values.dk = grads[1].data;
  values.dv = grads[2].data;
  float *p = tr__cpu_scratch(&a->workspace,
                             scratch_bytes(TR__OP_attention_backward), thread);
  for (int64_t i = 0; i < h.T; i += QUERIES) {
    int64_t end = h.is_causal ? tr__min(i + QUERIES, h.T) : h.T;
    for (int64_t j = 0; j < end; j += KEYS) {
      block b = block_at(&h, i, j);
      add_block(&h, &b, &values, p, p + QUERIES * KEYS);
    }
    tr__threads_poll(call->backend->pool, thread);
  }
  for (int i = 0; i < 3; i++) {
    tr__cpu_tile_from_fp32(&out[i], grads[i]);
  }
}

static void attention_backward(tr__stream *stream,
                               const tr__attention_backward_args *args)
{
  if (args->dqkv.dtype == TR_F64) {
    tr__ref_attention_backward_f64(args);
    return;
  }
  tr__cpu_call call = tr__cpu_call_of(stream, TR__OP_attention_backward, args,
                                      wide_floats(&args->qkv, args->heads, 8));
  tr__threads_run(stream->backend->pool, args->y.dims[0] * args->heads,
                  backward_task, &call);
}

size_t tr__cpu_attention_workspace(const tr__threads *pool, tr__op op)
{
  return (size_t)tr__threads_count(pool) * scratch_bytes(op);
}

void tr__cpu_set_attention(tr__ops *ops)
{
  ops->attention_forward = attention_forward;
  ops->attention_backward = attention_backward;
}
