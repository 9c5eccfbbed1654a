/* Cross-entropy with class weights, label smoothing and an ignored class;
 * regression losses and binary cross-entropy. */

/* Returns the logsumexp of a row of K numbers; prob <- its softmax. prob may
 * alias x here, but xent_rule_forward reads x again. */
static double TR_FN(softmax_of)(TR_REAL *prob, const TR_REAL *x, int64_t K)
{
  TR_REAL largest = x[0];
  double sum = 0;
  for (int64_t k = 0; k < K; k++) {
    largest = x[k] > largest ? x[k] : largest;
  }
  for (int64_t k = 0; k < K; k++) {
    prob[k] = (TR_REAL)exp((double)(x[k] - largest));
    sum += prob[k];
  }
  for (int64_t k = 0; k < K; k++) {
    prob[k] = (TR_REAL)(prob[k] / sum);
  }
  return log(sum) + (double)largest;
}

/* 1 if x[t] is the first maximum of its row, else 0. */
static double TR_FN(is_largest)(const TR_REAL *x, int64_t K, int64_t t)
{
  for (int64_t k = 0; k < K; k++) {
    if (!(k < t ? x[k] < x[t] : x[k] <= x[t])) {
      return 0;
    }
  }
  return 1;
}

static bool is_ignored(const tr__xent_rule *rule, int64_t target)
{
  return rule->ignores && target == rule->ignored;
}

/* c nll, but 0 if c is 0, even if nll is NaN or Inf. */
static double TR_FN(times)(double c, double nll)
{
  return c == 0 ? 0 : c * nll;
}

/* numbers <- loss, correct and share of one row that is not ignored. x still
 * holds the logits. */
static void TR_FN(rule_row)(const tr__xent_rule_forward_args *args,
                            const TR_REAL *x,
                            double logsum,
                            int64_t target,
                            double numbers[3])
{
  const TR_REAL *c = args->class_weight.data;
  int64_t K = args->x.dims[1];
  double e = args->rule.smoothing, spread = 0;
  double own = c != NULL ? c[target] : 1;
  for (int64_t k = 0; k < K && e > 0; k++) {
    spread += TR_FN(times)(c != NULL ? c[k] : 1, logsum - x[k]);
  }
  numbers[0] =
      TR_FN(times)((1 - e) * own, logsum - x[target]) + e / (double)K * spread;
  numbers[1] = own * TR_FN(is_largest)(x, K, target);
  numbers[2] = own;
}

void TR_FN(xent_rule_forward)(const tr__xent_rule_forward_args *args)
{
  TR_REAL *loss = args->loss.data, *correct = args->correct.data;
  TR_REAL *share = args->share.data;
  const int32_t *target = args->target.data;
  int64_t K = args->x.dims[1];
  for (int64_t n = 0; n < args->x.dims[0]; n++) {
    const TR_REAL *x = (const TR_REAL *)args->x.data + n * K;
    TR_REAL *prob = (TR_REAL *)args->prob.data + n * K;
    double numbers[3] = {0, 0, 0};
    double logsum = TR_FN(softmax_of)(prob, x, K);
    if (target[n] >= 0 && target[n] < K &&
        !is_ignored(&args->rule, target[n])) {
      TR_FN(rule_row)(args, x, logsum, target[n], numbers);
    } else if (!is_ignored(&args->rule, target[n])) {
      numbers[0] = NAN;
      numbers[2] = 1;
    }
    loss[n] = (TR_REAL)numbers[0];
    correct[n] = (TR_REAL)numbers[1];
    share[n] = (TR_REAL)numbers[2];
  }
}

/* d loss / d x_k = (1 - e) c_t (p_k - [k = t]) + e/K (C p_k - c_k), where C is
 * the sum of all c */
static void TR_FN(rule_gradient)(const tr__xent_rule_backward_args *args,
                                 int64_t n,
                                 double scale,
                                 double total)
{
  const TR_REAL *c = args->class_weight.data;
  int64_t K = args->dx.dims[1], target = ((int32_t *)args->target.data)[n];
  const TR_REAL *prob = (const TR_REAL *)args->prob.data + n * K;
  TR_REAL *dx = (TR_REAL *)args->dx.data + n * K;
  bool counts = target >= 0 && target < K && !is_ignored(&args->rule, target);
  double e = args->rule.smoothing / (double)K;
  double own = counts ? (1 - args->rule.smoothing) : 0;
  own *= counts && c != NULL ? c[target] : 1;
  for (int64_t k = 0; k < K; k++) {
    double p = prob[k], spread = total * p - (c != NULL ? c[k] : 1);
    double value = own * (p - (k == target)) + (counts ? e * spread : 0);
    dx[k] = (TR_REAL)(args->accumulate ? dx[k] + scale * value : scale * value);
  }
}

void TR_FN(xent_rule_backward)(const tr__xent_rule_backward_args *args)
{
  const tr__step_block *block = args->block.data;
  const TR_REAL *weight = args->weight.data, *c = args->class_weight.data;
  int64_t N = args->dx.dims[0], K = args->dx.dims[1];
  int64_t times = weight != NULL && N > 0 ? N / args->weight.dims[0] : 1;
  double total = c != NULL ? 0 : (double)K;
  for (int64_t k = 0; k < K && c != NULL; k++) {
    total += c[k];
  }
  for (int64_t n = 0; n < N; n++) {
    double w = weight != NULL ? weight[n / times] : 1;
    double scale = args->scale * block->seed_scale * block->loss_scale * w;
    if (scale == 0) {
      TR_FN(add_nothing)
      ((TR_REAL *)args->dx.data + n * K, K, args->accumulate);
      continue;
    }
    TR_FN(rule_gradient)(args, n, scale, total);
  }
}

typedef struct regression_rule {
  tr__regression kind;
  double delta;
} regression_rule;

/* l(x, t); q is the pos_weight of binary cross-entropy. */
static double
TR_FN(regression_value)(regression_rule rule, double x, double t, double q)
{
  double e = x - t, size = fabs(e);
  switch (rule.kind) {
  case TR__REGRESSION_MSE:
    return e * e;
  case TR__REGRESSION_MAE:
    return size;
  case TR__REGRESSION_HUBER:
    return size <= rule.delta ? 0.5 * e * e
                              : rule.delta * (size - 0.5 * rule.delta);
  case TR__REGRESSION_BCE:
    break;
  }
  /* log(1 + exp(-x)) without overflow. */
  double tail = log1p(exp(-fabs(x))) + fmax(-x, 0);
  return (1 - t) * x + (1 + (q - 1) * t) * tail;
}

static double
TR_FN(regression_slope)(regression_rule rule, double x, double t, double q)
{
  double e = x - t;
  switch (rule.kind) {
  case TR__REGRESSION_MSE:
    return 2 * e;
  case TR__REGRESSION_MAE:
    return (e > 0) - (e < 0);
  case TR__REGRESSION_HUBER:
    return fabs(e) > rule.delta ? copysign(rule.delta, e) : e;
  case TR__REGRESSION_BCE:
    break;
  }
  /* 1 / (1 + exp(x)) without overflow. */
  double tail = exp(-fabs(x)), share = (x > 0 ? tail : 1) / (1 + tail);
  return (1 - t) - (1 + (q - 1) * t) * share;
}

void TR_FN(regression_forward)(const tr__regression_forward_args *args)
{
  const TR_REAL *x = args->x.data, *t = args->target.data;
  const TR_REAL *q = args->pos_weight.data;
  int64_t D = tr__tensor_row(&args->x);
  int64_t places = q != NULL ? tr__tensor_count(&args->pos_weight) : 1;
  const regression_rule rule = {args->kind, args->delta};
  for (int64_t n = 0; n < args->x.dims[0]; n++) {
    double sum = 0;
    for (int64_t i = 0; i < D; i++) {
      sum += TR_FN(regression_value)(rule, x[n * D + i], t[n * D + i],
                                     q != NULL ? q[i % places] : 1);
    }
    ((TR_REAL *)args->loss.data)[n] = (TR_REAL)(sum / (double)D);
  }
}

void TR_FN(regression_backward)(const tr__regression_backward_args *args)
{
  const tr__step_block *block = args->block.data;
  const TR_REAL *x = args->x.data, *t = args->target.data;
  const TR_REAL *q = args->pos_weight.data, *weight = args->weight.data;
  TR_REAL *dx = args->dx.data;
  int64_t D = tr__tensor_row(&args->x);
  int64_t places = q != NULL ? tr__tensor_count(&args->pos_weight) : 1;
  const regression_rule rule = {args->kind, args->delta};
  for (int64_t n = 0; n < args->x.dims[0]; n++) {
    double w = weight != NULL ? weight[n] : 1;
    double scale =
        args->scale * block->seed_scale * block->loss_scale * w / (double)D;
    if (scale == 0) {
      TR_FN(add_nothing)(dx + n * D, D, args->accumulate);
      continue;
    }
    for (int64_t i = n * D; i < (n + 1) * D; i++) {
      double slope = TR_FN(regression_slope)(
          rule, x[i], t[i], q != NULL ? q[(i - n * D) % places] : 1);
      dx[i] =
          (TR_REAL)(args->accumulate ? dx[i] + scale * slope : scale * slope);
    }
  }
}
