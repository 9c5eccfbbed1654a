/* Embeddings, learned positions and multi-head attention. */

/* y[r,:] <- w[ids[r],:]; an id outside 0..V-1 gives NaN, which the checks of
 * the step find, and reads no memory. */
void TR_FN(embedding_forward)(const tr__embedding_forward_args *args)
{
  int64_t R = args->y.dims[0], D = args->w.dims[1], V = args->w.dims[0];
  const int32_t *ids = args->ids.data;
  const TR_REAL *w = args->w.data;
  for (int64_t r = 0; r < R; r++) {
    TR_REAL *y = (TR_REAL *)args->y.data + r * D;
    bool is_legal = ids[r] >= 0 && ids[r] < V;
    for (int64_t d = 0; d < D; d++) {
      y[d] = is_legal ? w[ids[r] * D + d] : (TR_REAL)NAN;
    }
  }
}

static void TR_FN(embedding_leaf)(
    void *arg, int64_t begin, int64_t end, void *sum, int accumulate)
{
  const tr__embedding_backward_args *args = arg;
  int64_t V = args->dw.dims[0], D = args->dw.dims[1];
  const int32_t *ids = args->ids.data;
  const TR_REAL *dy = args->dy.data;
  if (!accumulate) {
    set_zero(sum, V * D);
  }
  for (int64_t r = begin; r < end; r++) {
    if (ids[r] >= 0 && ids[r] < V) {
      TR_FN(add_numbers)((TR_REAL *)sum + ids[r] * D, dy + r * D, D);
    }
  }
}

static void TR_FN(embedding_add)(void *arg, void *sum, const void *other)
{
  const tr__embedding_backward_args *args = arg;
  TR_FN(add_numbers)(sum, other, tr__tensor_count(&args->dw));
}

/* dw[v,:] <- (dw[v,:] +) sum of dy[r,:] where ids[r] is v */
void TR_FN(embedding_backward)(const tr__embedding_backward_args *args)
{
  tr__embedding_backward_args copy = *args;
  tr__tree tree = {
      .shards = args->shards,
      .bytes = (size_t)tr__tensor_count(&args->dw) * sizeof(TR_REAL),
      .leaf = TR_FN(embedding_leaf),
      .add = TR_FN(embedding_add),
      .arg = &copy,
  };
  tr__tree_sum(&tree, args->dw.data, args->accumulate, args->workspace.data);
}

/* y[n,i] <- x[n,i] + w[i] */
void TR_FN(position_forward)(const tr__position_forward_args *args)
{
  int64_t N = args->y.dims[0], M = args->y.dims[1];
  for (int64_t n = 0; n < N; n++) {
    TR_FN(sum_numbers)
    ((TR_REAL *)args->y.data + n * M, (const TR_REAL *)args->x.data + n * M,
     args->w.data, M);
  }
}

static void TR_FN(position_leaf)(
    void *arg, int64_t begin, int64_t end, void *sum, int accumulate)
{
  const tr__position_backward_args *args = arg;
  int64_t M = args->dw.dims[0];
  if (!accumulate) {
    set_zero(sum, M);
  }
  for (int64_t n = begin; n < end; n++) {
    TR_FN(add_numbers)(sum, (const TR_REAL *)args->dy.data + n * M, M);
  }
}

static void TR_FN(position_add)(void *arg, void *sum, const void *other)
{
  const tr__position_backward_args *args = arg;
  TR_FN(add_numbers)(sum, other, args->dw.dims[0]);
}

/* dw[i] <- (dw[i] +) sum_n dy[n,i] */
void TR_FN(position_backward)(const tr__position_backward_args *args)
{
  tr__position_backward_args copy = *args;
  tr__tree tree = {
      .shards = args->shards,
      .bytes = (size_t)args->dw.dims[0] * sizeof(TR_REAL),
      .leaf = TR_FN(position_leaf),
      .add = TR_FN(position_add),
      .arg = &copy,
  };
  tr__tree_sum(&tree, args->dw.data, args->accumulate, args->workspace.data);
}

/* One head of one sample. Its rows are `stride` elements apart in qkv. */
typedef struct head {
  const TR_REAL *q, *k, *v;
  int64_t T, E, stride;
  double scale;
} head;

static head TR_FN(head_of)(const tr__tensor *qkv, int64_t heads, int64_t n)
{
  int64_t T = qkv->dims[1], D = qkv->dims[2] / 3, E = D / heads;
  const TR_REAL *q = (const TR_REAL *)qkv->data + n / heads * T * 3 * D;
  q += n % heads * E;
  return (head){.q = q,
                .k = q + D,
                .v = q + 2 * D,
                .T = T,
                .E = E,
                .stride = 3 * D,
                .scale = 1 / sqrt((double)E)};
}

static double TR_FN(dot)(const TR_REAL *a, const TR_REAL *b, int64_t count)
{
  double sum = 0;
  for (int64_t i = 0; i < count; i++) {
    sum += (double)a[i] * b[i];
  }
  return sum;
}

/* s[j] <- q[i,:] k[j,:] scale for j < keys; returns their log-sum-exp. */
static double TR_FN(scores)(const head *h, int64_t i, int64_t keys, double *s)
{
  double largest = -INFINITY, sum = 0;
  for (int64_t j = 0; j < keys; j++) {
    s[j] =
        h->scale * TR_FN(dot)(h->q + i * h->stride, h->k + j * h->stride, h->E);
    largest = s[j] > largest ? s[j] : largest;
  }
  for (int64_t j = 0; j < keys; j++) {
    sum += exp(s[j] - largest);
  }
  return largest + log(sum);
}

/* y[i,:] <- sum_j exp(s[i,j] - lse[i]) v[j,:]; the workspace holds one row of s
 */
void TR_FN(attention_forward)(const tr__attention_forward_args *args)
{
  int64_t D = args->y.dims[2];
  double *s = args->workspace.data;
  for (int64_t n = 0; n < args->y.dims[0] * args->heads; n++) {
    head h = TR_FN(head_of)(&args->qkv, args->heads, n);
    TR_REAL *y = (TR_REAL *)args->y.data + n / args->heads * h.T * D;
    y += n % args->heads * h.E;
    for (int64_t i = 0; i < h.T; i++) {
      int64_t keys = args->is_causal ? i + 1 : h.T;
      double lse = TR_FN(scores)(&h, i, keys, s);
      ((TR_REAL *)args->lse.data)[n * h.T + i] = (TR_REAL)lse;
      for (int64_t e = 0; e < h.E; e++) {
        double sum = 0;
        for (int64_t j = 0; j < keys; j++) {
          sum += exp(s[j] - lse) * h.v[j * h.stride + e];
        }
        y[i * D + e] = (TR_REAL)sum;
      }
    }
  }
}

/* Add what query i contributes to the gradients of one head, p = exp(s - lse):
 *
 *   dv[j] += p[j] dy,  ds[j] = p[j] (dy v[j] - dy y) scale,
 *   dq += ds[j] k[j],  dk[j] += ds[j] q */
static void TR_FN(attention_row)(const head *h,
                                 int64_t i,
                                 int64_t keys,
                                 const TR_REAL *const values[2],
                                 double lse,
                                 TR_REAL *dq)
{
  const TR_REAL *dy = values[0], *y = values[1];
  int64_t D = h->stride / 3;
  const TR_REAL *q = h->q + i * h->stride;
  double inner = TR_FN(dot)(dy, y, h->E);
  for (int64_t j = 0; j < keys; j++) {
    const TR_REAL *k = h->k + j * h->stride, *v = h->v + j * h->stride;
    double p = exp(h->scale * TR_FN(dot)(q, k, h->E) - lse);
    double ds = p * (TR_FN(dot)(dy, v, h->E) - inner) * h->scale;
    TR_REAL *dk = dq + j * h->stride + D, *dv = dk + D;
    for (int64_t e = 0; e < h->E; e++) {
      dq[i * h->stride + e] += (TR_REAL)(ds * k[e]);
      dk[e] += (TR_REAL)(ds * q[e]);
      dv[e] += (TR_REAL)(p * dy[e]);
    }
  }
}

void TR_FN(attention_backward)(const tr__attention_backward_args *args)
{
  int64_t D = args->y.dims[2];
  if (!args->accumulate) {
    set_zero(args->dqkv.data, tr__tensor_count(&args->dqkv));
  }
  for (int64_t n = 0; n < args->y.dims[0] * args->heads; n++) {
    head h = TR_FN(head_of)(&args->qkv, args->heads, n);
    int64_t first = n / args->heads * h.T * D + n % args->heads * h.E;
    const TR_REAL *dy = (const TR_REAL *)args->dy.data + first;
    const TR_REAL *y = (const TR_REAL *)args->y.data + first;
    TR_REAL *dq =
        (TR_REAL *)args->dqkv.data + (h.q - (const TR_REAL *)args->qkv.data);
    for (int64_t i = 0; i < h.T; i++) {
      const TR_REAL *values[2] = {dy + i * D, y + i * D};
      TR_FN(attention_row)
      (&h, i, args->is_causal ? i + 1 : h.T, values,
       ((const TR_REAL *)args->lse.data)[n * h.T + i], dq);
    }
  }
}
