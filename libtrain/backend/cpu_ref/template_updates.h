/* RMSprop, Adagrad, the gradient norm with clipping and loss scaling, and
 * moving averages of parameters. */

/* Factors of one step, rounded once. */
typedef struct rms_numbers {
  TR_REAL scale, decay; /* of the gradient, of p in it */
  TR_REAL alpha, rest;  /* 1 - alpha */
  blend mean;           /* by alpha */
  TR_REAL lr, eps, momentum;
} rms_numbers;

/* g <- grad scale + decay p;  v <- alpha v + (1 - alpha) g^2
 * mean <- mean + (1 - alpha) (g - mean), if present; else it is 0 below
 * m <- momentum m + g / (sqrt(v - mean^2) + eps);  p <- p - lr m */
static TR__CLONES void TR_FN(rmsprop)(TR_REAL *const state[4],
                                      const TR_REAL *restrict grad,
                                      int64_t count,
                                      const rms_numbers *number)
{
  TR_REAL *restrict p = state[0], *restrict v = state[1];
  TR_REAL *restrict m = state[2], *restrict mean = state[3];
  rms_numbers n = *number;
  for (int64_t i = 0; i < count; i++) {
    TR_REAL g = grad[i] * n.scale + n.decay * p[i];
    v[i] = n.alpha * v[i] + n.rest * (g * g);
    TR_REAL spread = v[i];
    if (mean != NULL) {
      mean[i] = TR_FN(blended)(n.mean, mean[i], g);
      spread -= mean[i] * mean[i];
      /* A mean of squares is at least the square of the mean; rounding alone
       * makes this negative. */
      spread = spread > 0 ? spread : 0;
    }
    TR_REAL step = g / (square_root(spread) + n.eps);
    if (m != NULL) {
      m[i] = n.momentum * m[i] + step;
      step = m[i];
    }
    p[i] -= n.lr * step;
  }
}

void TR_FN(rmsprop_update)(const tr__rmsprop_update_args *args)
{
  const tr__step_block *block = args->block.data;
  if (block->skip != 0) {
    return;
  }
  TR_REAL gradient[2];
  TR_FN(gradient_numbers)(gradient, &args->tail, block, args->weight_decay);
  const rms_numbers numbers = {
      .scale = gradient[0],
      .decay = gradient[1],
      .alpha = (TR_REAL)args->alpha,
      .rest = (TR_REAL)(1 - args->alpha),
      .mean = TR_FN(blend_of)(args->alpha),
      .lr = (TR_REAL)(block->lr * args->lr_scale),
      .eps = TR_FN(divisor_eps)(args->eps),
      .momentum = (TR_REAL)args->momentum,
  };
  TR_REAL *state[4] = {args->p.data, args->v.data, args->m.data,
                       args->mean.data};
  TR_FN(rmsprop)(state, args->grad.data, tr__tensor_count(&args->p), &numbers);
}

/* g <- grad scale + decay p;  v <- v + g^2;  p <- p - lr g / (sqrt(v) + eps) */
static TR__CLONES void TR_FN(adagrad)(TR_REAL *const state[2],
                                      const TR_REAL *restrict grad,
                                      int64_t count,
                                      const rms_numbers *number)
{
  TR_REAL *restrict p = state[0], *restrict v = state[1];
  rms_numbers n = *number;
  for (int64_t i = 0; i < count; i++) {
    TR_REAL g = grad[i] * n.scale + n.decay * p[i];
    v[i] += g * g;
    p[i] -= n.lr * (g / (square_root(v[i]) + n.eps));
  }
}

void TR_FN(adagrad_update)(const tr__adagrad_update_args *args)
{
  const tr__step_block *block = args->block.data;
  if (block->skip != 0) {
    return;
  }
  TR_REAL gradient[2];
  TR_FN(gradient_numbers)(gradient, &args->tail, block, args->weight_decay);
  const rms_numbers numbers = {.scale = gradient[0],
                               .decay = gradient[1],
                               .lr = (TR_REAL)(block->lr * args->lr_scale),
                               .eps = TR_FN(divisor_eps)(args->eps)};
  TR_REAL *state[2] = {args->p.data, args->v.data};
  TR_FN(adagrad)(state, args->grad.data, tr__tensor_count(&args->p), &numbers);
}

/* The sum of squares in eight partial sums, so that wide vectors can be used
 * and the order of additions does not depend on their width. */
static TR__CLONES double TR_FN(squares)(const TR_REAL *x, int64_t count)
{
  double lane[8] = {0};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int l = 0; l < 8; l++) {
      lane[l] += (double)x[i + l] * (double)x[i + l];
    }
  }
  for (int l = 0; i < count; i++, l++) {
    lane[l] += (double)x[i] * (double)x[i];
  }
  return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
         ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

void TR_FN(sum_squares)(const tr__sum_squares_args *args)
{
  const TR_REAL *x = args->x.data;
  double *sums = args->sums.data;
  int64_t count = tr__tensor_count(&args->x);
  for (int64_t i = 0; i * TR__SQUARES_BLOCK < count; i++) {
    int64_t begin = i * TR__SQUARES_BLOCK;
    sums[i] =
        TR_FN(squares)(x + begin, tr__min(TR__SQUARES_BLOCK, count - begin));
  }
}

static void TR_FN(move_loss_scale)(tr__step_block *block,
                                   int64_t growth_interval,
                                   bool is_good)
{
  if (!is_good) {
    block->loss_scale = fmax(block->loss_scale / 2, 0.5);
    block->good_steps = 0;
    return;
  }
  block->good_steps += 1;
  if (block->good_steps >= (double)growth_interval) {
    block->loss_scale = fmin(block->loss_scale * 2, 0x1p60);
    block->good_steps = 0;
  }
}

void TR_FN(clip_factor)(const tr__clip_factor_args *args)
{
  tr__step_block *block = args->block.data;
  const double *sums = args->sums.data;
  double tail[TR__TAIL_FAILED];
  for (int i = 0; i < TR__TAIL_FAILED; i++) {
    tail[i] = ((const TR_REAL *)args->tail.data)[i];
  }
  double weight = tail[TR__TAIL_WEIGHT], loss = tr__tail_loss(tail);
  double sum = 0;
  for (int64_t i = 0; i < tr__tensor_count(&args->sums); i++) {
    sum += sums[i];
  }
  double norm = sqrt(sum) * (weight == 0 ? 0 : fabs(block->planned / weight)) /
                block->loss_scale;
  double factor = args->limit > 0 ? args->limit / (norm + 1e-6) : 1;
  bool skips = args->skips != 0 && !(isfinite(norm) && isfinite(loss));
  block->grad_norm = norm;
  block->grad_scale = (factor < 1 ? factor : 1) / block->loss_scale;
  block->skip = skips;
  if (block->num_skipped > 0) {
    double t = block->step - block->num_skipped;
    block->correction1 = 1 - pow(args->beta1, t);
    block->correction2 = 1 - pow(args->beta2, t);
    block->first = t == 1;
  }
  block->num_skipped += skips;
  if (args->growth_interval > 0) {
    TR_FN(move_loss_scale)(block, args->growth_interval, isfinite(norm));
  }
}

void TR_FN(ema_update)(const tr__ema_update_args *args)
{
  TR_REAL *restrict e = args->e.data;
  const TR_REAL *restrict p = args->p.data;
  const blend by_decay = TR_FN(blend_of)(args->decay);
  int64_t count = tr__tensor_count(&args->e);
  for (int64_t i = 0; i < count; i++) {
    e[i] = TR_FN(blended)(by_decay, e[i], p[i]);
  }
}

void TR_FN(swap)(const tr__swap_args *args)
{
  TR_REAL *restrict a = args->a.data, *restrict b = args->b.data;
  int64_t count = tr__tensor_count(&args->a);
  for (int64_t i = 0; i < count; i++) {
    TR_REAL kept = a[i];
    a[i] = b[i];
    b[i] = kept;
  }
}
