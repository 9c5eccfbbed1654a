#include "backend_cases_sequence.h"
#include "backend/cpu_ref/reference_impl.h"

#define REAL(...)                                                              \
  tr__tensor_of(NULL, TR_F32,                                                  \
                (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),     \
                (int64_t[]){__VA_ARGS__})

static const tr__tensor absent = {.ndim = -1};

static int64_t extent(draws *d, bool large)
{
  return 1 + draw(d, large ? 150 : 9);
}

static int64_t rows(draws *d, bool large)
{
  return draw(d, 8) == 0 ? 0 : extent(d, large);
}

/* Mostly legal: one in ten is one below or above what is there. */
static void set_ids(op_case *c, draws *d, int operand, int64_t limit)
{
  int64_t count = tr__tensor_count(&c->args.tensors[operand]);
  c->args.tensors[operand].dtype = TR_I32;
  c->values[operand] = malloc((size_t)(count + 1) * sizeof(double));
  for (int64_t i = 0; i < count; i++) {
    bool is_legal = draw(d, 10) > 0;
    int64_t wild = draw(d, 2) == 0 ? -1 : limit;
    c->values[operand][i] = (double)(is_legal ? draw(d, limit) : wild);
  }
}

static tr__shards tokens_of(draws *d, int64_t batch, int64_t *local)
{
  tr__shards shards = tr__one_shard(batch);
  shards.times = draw(d, 4);
  if (draw(d, 2) == 0) {
    shards.total = 1 + draw(d, 9);
    shards.first = draw(d, shards.total);
    shards.count = 1 + draw(d, shards.total - shards.first);
  }
  *local = tr__shard_begin(&shards, shards.count);
  return shards;
}

void make_embedding_forward(op_case *c, draws *d, bool large)
{
  int64_t R = rows(d, large), V = extent(d, large), D = extent(d, large);
  c->args.embedding_forward = (tr__embedding_forward_args){
      .y = REAL(R, D), .w = REAL(V, D), .ids = REAL(R)};
  set_ids(c, d, 2, V);
}

void make_embedding_backward(op_case *c, draws *d, bool large)
{
  int64_t R, V = extent(d, large), D = extent(d, large);
  tr__shards shards = tokens_of(d, rows(d, large), &R);
  c->args.embedding_backward =
      (tr__embedding_backward_args){.dw = REAL(V, D),
                                    .dy = REAL(R, D),
                                    .ids = REAL(R),
                                    .workspace = absent,
                                    .shards = shards,
                                    .accumulate = (int)draw(d, 2)};
  set_ids(c, d, 2, V);
}

void make_position_forward(op_case *c, draws *d, bool large)
{
  tr__tensor y = REAL(rows(d, large), extent(d, large) * extent(d, large));
  c->alias[1] = draw(d, 2) ? 0 : -1;
  c->args.position_forward =
      (tr__position_forward_args){.y = y, .x = y, .w = REAL(y.dims[1])};
}

void make_position_backward(op_case *c, draws *d, bool large)
{
  int64_t N, M = extent(d, large) * extent(d, large);
  tr__shards shards = tokens_of(d, rows(d, large), &N);
  c->args.position_backward =
      (tr__position_backward_args){.dw = REAL(M),
                                   .dy = REAL(N, M),
                                   .workspace = absent,
                                   .shards = shards,
                                   .accumulate = (int)draw(d, 2)};
}

/* Large ones have several blocks of queries, some of keys too. */
static int64_t context(draws *d, bool large)
{
  static const int64_t lengths[] = {64, 65, 127, 200, 256, 257, 300, 330};
  return large ? lengths[draw(d, 8)] : extent(d, false);
}

static void set_values(op_case *c, draws *d, int operand, double scale)
{
  int64_t count = tr__tensor_count(&c->args.tensors[operand]);
  c->values[operand] = malloc((size_t)(count + 1) * sizeof(double));
  for (int64_t i = 0; i < count; i++) {
    c->values[operand][i] = scale * (double)(draw(d, 2049) - 1024) / 1024;
  }
}

void make_attention_forward(op_case *c, draws *d, bool large)
{
  int64_t N = draw(d, 4), T = context(d, large), heads = 1 + draw(d, 3);
  int64_t D = heads * (1 + draw(d, large ? 40 : 6));
  c->args.attention_forward =
      (tr__attention_forward_args){.y = REAL(N, T, D),
                                   .lse = REAL(N, heads, T),
                                   .qkv = REAL(N, T, 3 * D),
                                   .workspace = absent,
                                   .heads = heads,
                                   .is_causal = (int)draw(d, 2)};
  set_values(c, d, 2, draw(d, 4) == 0 ? 8 : 2);
}

/* y and lse are those of forward, in exact arithmetic. */
static void set_forward(op_case *c)
{
  tr__attention_backward_args *a = &c->args.attention_backward;
  int64_t heads = a->heads, T = a->qkv.dims[1];
  double *qkv = c->values[4], *s = malloc((size_t)T * sizeof *s);
  double *y = malloc((size_t)tr__tensor_count(&a->y) * sizeof *y + 1);
  double *lse = malloc((size_t)tr__tensor_count(&a->lse) * sizeof *lse + 1);
  tr__tensor workspace = tr__tensor_of(s, TR_U8, 1, &T);
  tr__attention_forward_args args = {.y = a->y,
                                     .lse = a->lse,
                                     .qkv = a->qkv,
                                     .workspace = workspace,
                                     .heads = heads,
                                     .is_causal = a->is_causal};
  args.y.data = y;
  args.lse.data = lse;
  args.qkv.data = qkv;
  args.y.dtype = args.lse.dtype = args.qkv.dtype = TR_F64;
  tr__ref_attention_forward_f64(&args);
  free(s);
  c->values[2] = y;
  c->values[3] = lse;
}

void make_attention_backward(op_case *c, draws *d, bool large)
{
  int64_t N = draw(d, 4), T = context(d, large), heads = 1 + draw(d, 3);
  int64_t D = heads * (1 + draw(d, large ? 40 : 6));
  c->args.attention_backward =
      (tr__attention_backward_args){.dqkv = REAL(N, T, 3 * D),
                                    .dy = REAL(N, T, D),
                                    .y = REAL(N, T, D),
                                    .lse = REAL(N, heads, T),
                                    .qkv = REAL(N, T, 3 * D),
                                    .workspace = absent,
                                    .heads = heads,
                                    .is_causal = (int)draw(d, 2),
                                    .accumulate = (int)draw(d, 2)};
  set_values(c, d, 4, draw(d, 4) == 0 ? 8 : 2);
  set_values(c, d, 1, 1);
  set_forward(c);
}
