/* Fully connected layers: forward, and gradients of input, weight and bias. */

/* y[n,k] <- activation(b[k] + sum_d x[n,d] w[k,d]) */
void TR_FN(linear_forward)(const tr__linear_forward_args *args)
{
  int64_t N = args->x.dims[0], D = tr__tensor_row(&args->x);
  int64_t K = args->w.dims[0];
  TR_REAL *y = args->y.data;
  const TR_REAL *b = args->b.data;
  for (int64_t i = 0; i < N * K; i++) {
    y[i] = b != NULL ? b[i % K] : 0;
  }
  TR_FN(add_product_transposed)
  (y, (matrix){args->x.data, D, 1}, (matrix){args->w.data, D, 1},
   (int64_t[3]){N, K, D});
  for (int64_t i = 0; args->activation == TR__ACTIVATION_RELU && i < N * K;
       i++) {
    y[i] = y[i] < 0 ? 0 : y[i];
  }
}

/* dx[n,d] <- (dx[n,d] +) sum_k dy[n,k] w[k,d] */
void TR_FN(linear_backward_input)(const tr__linear_backward_input_args *args)
{
  int64_t N = args->dx.dims[0], D = tr__tensor_row(&args->dx);
  int64_t K = args->w.dims[0];
  if (!args->accumulate) {
    set_zero(args->dx.data, N * D);
  }
  TR_FN(add_product)
  (args->dx.data, (matrix){args->dy.data, K, 1}, (matrix){args->w.data, D, 1},
   (int64_t[3]){N, D, K});
}

/* dw[k,d] <- (dw[k,d] +) sum_n dy[n,k] x[n,d], over rows begin..end-1 */
static void TR_FN(linear_weight_leaf)(
    void *arg, int64_t begin, int64_t end, void *dw, int accumulate)
{
  const tr__linear_backward_weight_args *args = arg;
  int64_t K = args->dw.dims[0], D = tr__tensor_row(&args->x);
  const TR_REAL *x = args->x.data, *dy = args->dy.data;
  if (!accumulate) {
    set_zero(dw, K * D);
  }
  TR_FN(add_product)
  (dw, (matrix){dy + begin * K, 1, K}, (matrix){x + begin * D, D, 1},
   (int64_t[3]){K, D, end - begin});
}

static void TR_FN(linear_weight_add)(void *arg, void *sum, const void *other)
{
  const tr__linear_backward_weight_args *args = arg;
  TR_FN(add_numbers)(sum, other, tr__tensor_count(&args->dw));
}

/* db[k] <- (db[k] +) sum_n dy[n,k], over rows begin..end-1 */
static void TR_FN(linear_bias_leaf)(
    void *arg, int64_t begin, int64_t end, void *db, int accumulate)
{
  const tr__linear_backward_weight_args *args = arg;
  int64_t K = args->dw.dims[0];
  const TR_REAL *dy = args->dy.data;
  if (!accumulate) {
    set_zero(db, K);
  }
  for (int64_t n = begin; n < end; n++) {
    TR_FN(add_numbers)(db, dy + n * K, K);
  }
}

static void TR_FN(linear_bias_add)(void *arg, void *sum, const void *other)
{
  const tr__linear_backward_weight_args *args = arg;
  TR_FN(add_numbers)(sum, other, tr__tensor_count(&args->db));
}

void TR_FN(linear_backward_weight)(const tr__linear_backward_weight_args *args)
{
  tr__linear_backward_weight_args copy = *args;
  tr__tree tree = {
      .shards = args->shards,
      .bytes = (size_t)tr__tensor_count(&args->dw) * sizeof(TR_REAL),
      .leaf = TR_FN(linear_weight_leaf),
      .add = TR_FN(linear_weight_add),
      .arg = &copy,
  };
  if (args->dw.data != NULL) {
    tr__tree_sum(&tree, args->dw.data, args->accumulate, args->workspace.data);
  }
  if (args->db.data == NULL) {
    return;
  }
  tree.bytes = (size_t)tr__tensor_count(&args->db) * sizeof(TR_REAL);
  tree.leaf = TR_FN(linear_bias_leaf);
  tree.add = TR_FN(linear_bias_add);
  tr__tree_sum(&tree, args->db.data, args->accumulate, args->workspace.data);
}
