/* Softmax with cross-entropy, and sums of losses over the batch. */

/* One row of K classes. A target outside 0..K-1 gives a loss of NaN, which the
 * checks of the step find, and reads no memory outside the row. */
static void TR_FN(softmax_row)(const tr__softmax_xent_forward_args *args,
                               int64_t n)
{
  int64_t K = args->x.dims[1], target = ((int32_t *)args->target.data)[n];
  const TR_REAL *x = (const TR_REAL *)args->x.data + n * K;
  TR_REAL *prob = (TR_REAL *)args->prob.data + n * K;
  bool is_legal = target >= 0 && target < K;
  /* Read x before writing prob, because prob may alias x. */
  TR_REAL wanted = is_legal ? x[target] : (TR_REAL)NAN, largest = x[0];
  bool correct = is_legal;
  for (int64_t k = 0; k < K; k++) {
    largest = x[k] > largest ? x[k] : largest;
    correct = correct && (k < target ? x[k] < wanted : x[k] <= wanted);
  }
  double sum = 0;
  for (int64_t k = 0; k < K; k++) {
    prob[k] = (TR_REAL)exp((double)(x[k] - largest));
    sum += prob[k];
  }
  for (int64_t k = 0; k < K; k++) {
    prob[k] = (TR_REAL)(prob[k] / sum);
  }
  ((TR_REAL *)args->loss.data)[n] =
      (TR_REAL)(log(sum) + ((double)largest - (double)wanted));
  ((TR_REAL *)args->correct.data)[n] = correct;
}

/* loss[n] <- log sum_k exp x[n,k] - x[n,t_n];  prob <- softmax of each row */
void TR_FN(softmax_xent_forward)(const tr__softmax_xent_forward_args *args)
{
  for (int64_t n = 0; n < args->x.dims[0]; n++) {
    TR_FN(softmax_row)(args, n);
  }
}

/* A row of weight 0 contributes 0, even if its gradient is NaN or Inf. */
static void TR_FN(add_nothing)(TR_REAL *dx, int64_t count, int accumulate)
{
  for (int64_t i = 0; i < count && !accumulate; i++) {
    dx[i] = 0;
  }
}

/* dx[n,k] <- (dx[n,k] +) scale weight_n (prob[n,k] - (1 where k is t_n)) */
void TR_FN(softmax_xent_backward)(const tr__softmax_xent_backward_args *args)
{
  const tr__step_block *block = args->block.data;
  const TR_REAL *prob = args->prob.data, *weight = args->weight.data;
  const int32_t *target = args->target.data;
  TR_REAL *dx = args->dx.data;
  int64_t N = args->dx.dims[0], K = args->dx.dims[1];
  int64_t times = weight != NULL && N > 0 ? N / args->weight.dims[0] : 1;
  for (int64_t n = 0; n < N; n++) {
    TR_REAL scale = (TR_REAL)(block->seed_scale * block->loss_scale *
                              (weight != NULL ? weight[n / times] : 1));
    if (scale == 0) {
      TR_FN(add_nothing)(dx + n * K, K, args->accumulate);
      continue;
    }
    for (int64_t k = 0; k < K; k++) {
      int64_t i = n * K + k;
      TR_REAL value = scale * (prob[i] - (TR_REAL)(k == target[n]));
      dx[i] = args->accumulate ? dx[i] + value : value;
    }
  }
}

/* tail[LOSS + number, WEIGHT, CORRECT] <- (tail +) sums over rows begin..end-1
 * of scale w l, w share, w c, the last two for loss number 0 only. Rows of
 * weight 0 are skipped, whatever their l is. */
static void TR_FN(loss_leaf)(
    void *arg, int64_t begin, int64_t end, void *out, int accumulate)
{
  const tr__loss_sum_args *args = arg;
  const TR_REAL *loss = args->loss.data, *correct = args->correct.data;
  const TR_REAL *weight = args->weight.data, *share = args->share.data;
  TR_REAL *tail = out;
  double sum = 0, weights = 0, right = 0;
  int64_t times = tr__max(args->shards.times, 1);
  for (int64_t n = begin; n < end; n++) {
    double w = weight != NULL ? weight[n / times] : 1;
    if (w == 0) {
      continue;
    }
    sum += w * loss[n];
    weights += share != NULL ? w * share[n] : w;
    right += correct != NULL ? w * correct[n] : 0;
  }
  double sums[TR__TAIL_FAILED] = {0};
  sums[TR__TAIL_LOSS + args->number] = args->scale == 0 ? 0 : sum * args->scale;
  if (args->number == 0) {
    sums[TR__TAIL_WEIGHT] = weights;
    sums[TR__TAIL_CORRECT] = right;
  }
  for (int i = 0; i < TR__TAIL_FAILED; i++) {
    tail[i] = (TR_REAL)(accumulate ? tail[i] + sums[i] : sums[i]);
  }
}

static void TR_FN(loss_add)(void *arg, void *sum, const void *other)
{
  (void)arg;
  TR_FN(add_numbers)(sum, other, TR__TAIL_FAILED);
}

void TR_FN(loss_sum)(const tr__loss_sum_args *args)
{
  /* Room for the partial sums of any number of shards: so few numbers need no
   * workspace. */
  char scratch[64 * 64];
  size_t bytes = TR__TAIL_FAILED * sizeof(TR_REAL);
  TR_ASSERT(tr__tree_bytes(&args->shards, bytes) <= sizeof scratch);
  tr__loss_sum_args copy = *args;
  tr__tree tree = {
      .shards = args->shards,
      .bytes = bytes,
      .leaf = TR_FN(loss_leaf),
      .add = TR_FN(loss_add),
      .arg = &copy,
  };
  tr__tree_sum(&tree, args->tail.data, args->accumulate, scratch);
}
