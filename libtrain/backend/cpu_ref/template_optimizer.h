/* SGD with momentum, Adam and AdamW, on a slice of the arenas. */

static inline TR_REAL square_root(TR_REAL x)
{
  return sizeof(TR_REAL) == sizeof(float) ? (TR_REAL)sqrtf((float)x)
                                          : (TR_REAL)sqrt((double)x);
}

/* eps as the updates add it to a root that divides: at least the smallest
 * normal number, which changes no root but 0. Elements that never had a
 * gradient, such as the padding between parameters, then stay instead of
 * becoming 0/0. */
static inline TR_REAL TR_FN(divisor_eps)(double eps)
{
  const double smallest = sizeof(TR_REAL) == sizeof(float) ? FLT_MIN : DBL_MIN;
  return (TR_REAL)(eps > smallest ? eps : smallest);
}

/* numbers <- the factor of the gradient, planned / true weight times clipping,
 * and the weight decay added to it. Both are 0 if all samples have weight 0. */
static void TR_FN(gradient_numbers)(TR_REAL numbers[2],
                                    const tr__tensor *tail,
                                    const tr__step_block *block,
                                    double decay)
{
  double weight = ((const TR_REAL *)tail->data)[TR__TAIL_WEIGHT];
  numbers[0] =
      (TR_REAL)(weight == 0 ? 0 : block->planned / weight * block->grad_scale);
  numbers[1] = (TR_REAL)(weight == 0 ? 0 : decay);
}

/* Factors of one SGD step, rounded once. */
typedef struct sgd_numbers {
  TR_REAL scale, decay, lr; /* of the gradient, of p in it, of the step */
  TR_REAL momentum, rest;   /* rest: of g in m */
} sgd_numbers;

/* g <- grad scale + decay p;  m <- momentum m + rest g;  p <- p - lr m */
static TR__CLONES void TR_FN(sgd_momentum)(TR_REAL *restrict p,
                                           const TR_REAL *restrict grad,
                                           TR_REAL *restrict m,
                                           int64_t count,
                                           const sgd_numbers *number)
{
  sgd_numbers n = *number;
  for (int64_t i = 0; i < count; i++) {
    TR_REAL g = grad[i] * n.scale + n.decay * p[i];
    m[i] = n.momentum * m[i] + n.rest * g;
    p[i] -= n.lr * m[i];
  }
}

/* The same, but p <- p - lr (g + momentum m). */
static TR__CLONES void TR_FN(sgd_nesterov)(TR_REAL *restrict p,
                                           const TR_REAL *restrict grad,
                                           TR_REAL *restrict m,
                                           int64_t count,
                                           const sgd_numbers *number)
{
  sgd_numbers n = *number;
  for (int64_t i = 0; i < count; i++) {
    TR_REAL g = grad[i] * n.scale + n.decay * p[i];
    m[i] = n.momentum * m[i] + n.rest * g;
    p[i] -= n.lr * (g + n.momentum * m[i]);
  }
}

static TR__CLONES void TR_FN(sgd_plain)(TR_REAL *restrict p,
                                        const TR_REAL *restrict grad,
                                        int64_t count,
                                        const sgd_numbers *number)
{
  sgd_numbers n = *number;
  for (int64_t i = 0; i < count; i++) {
    p[i] -= n.lr * (grad[i] * n.scale + n.decay * p[i]);
  }
}

void TR_FN(sgd_update)(const tr__sgd_update_args *args)
{
  const tr__step_block *block = args->block.data;
  int64_t count = tr__tensor_count(&args->p);
  if (block->skip != 0) {
    return;
  }
  TR_REAL gradient[2];
  TR_FN(gradient_numbers)(gradient, &args->tail, block, args->weight_decay);
  bool is_first = block->first != 0;
  const sgd_numbers numbers = {
      .scale = gradient[0],
      .decay = gradient[1],
      .lr = (TR_REAL)(block->lr * args->lr_scale),
      .momentum = (TR_REAL)args->momentum,
      .rest = (TR_REAL)(is_first ? 1 : 1 - args->dampening),
  };
  if (args->m.data == NULL) {
    TR_FN(sgd_plain)(args->p.data, args->grad.data, count, &numbers);
    return;
  }
  if (is_first) {
    /* The first step begins with m = 0, whatever the memory holds. */
    set_zero(args->m.data, count);
  }
  if (args->nesterov) {
    TR_FN(sgd_nesterov)
    (args->p.data, args->grad.data, args->m.data, count, &numbers);
    return;
  }
  TR_FN(sgd_momentum)
  (args->p.data, args->grad.data, args->m.data, count, &numbers);
}

/* mean <- decay mean + (1 - decay) x, computed from whichever of both has the
 * larger factor, so that a decay of 0 gives exactly x and a decay of 1 exactly
 * the mean. Source: torch.lerp */
typedef struct blend {
  TR_REAL part;      /* of x - mean */
  bool is_from_mean; /* added to the mean, else to x */
} blend;

static inline blend TR_FN(blend_of)(double decay)
{
  return decay < 0.5 ? (blend){(TR_REAL)-decay, false}
                     : (blend){(TR_REAL)(1 - decay), true};
}

static inline TR_REAL TR_FN(blended)(blend b, TR_REAL mean, TR_REAL x)
{
  TR_REAL from = b.is_from_mean ? mean : x;
  return from + b.part * (x - mean);
}

/* Factors of one Adam step, rounded once. */
typedef struct adam_numbers {
  TR_REAL scale, decay, shrink; /* of the gradient, of p in it, of p */
  blend moment1;                /* by beta1 */
  TR_REAL beta2, rest2;         /* 1 - beta2 */
  TR_REAL step, root, eps;      /* lr / correction1, sqrt(correction2) */
} adam_numbers;

/* g <- grad scale + decay p;  p <- p shrink
 * m <- m + (1 - beta1) (g - m);  v <- beta2 v + (1 - beta2) g^2
 * p <- p - lr / correction1 * m / (sqrt(v) / sqrt(correction2) + eps) */
static TR__CLONES void TR_FN(adam)(TR_REAL *const state[3],
                                   const TR_REAL *restrict grad,
                                   int64_t count,
                                   const adam_numbers *number)
{
  TR_REAL *restrict p = state[0], *restrict m = state[1];
  TR_REAL *restrict v = state[2];
  adam_numbers n = *number;
  for (int64_t i = 0; i < count; i++) {
    TR_REAL g = grad[i] * n.scale + n.decay * p[i];
    m[i] = TR_FN(blended)(n.moment1, m[i], g);
    v[i] = n.beta2 * v[i] + n.rest2 * (g * g);
    TR_REAL root = square_root(v[i]);
    p[i] = p[i] * n.shrink - n.step * (m[i] / (root / n.root + n.eps));
  }
}

void TR_FN(adam_update)(const tr__adam_update_args *args)
{
  const tr__step_block *block = args->block.data;
  double decay = args->weight_decay, lr = block->lr * args->lr_scale;
  if (block->skip != 0) {
    return;
  }
  TR_REAL gradient[2];
  TR_FN(gradient_numbers)
  (gradient, &args->tail, block, args->decoupled ? 0 : decay);
  adam_numbers numbers = {
      .scale = gradient[0],
      .decay = gradient[1],
      .shrink = (TR_REAL)(args->decoupled ? 1 - lr * decay : 1),
      .moment1 = TR_FN(blend_of)(args->beta1),
      .beta2 = (TR_REAL)args->beta2,
      .rest2 = (TR_REAL)(1 - args->beta2),
      .step = (TR_REAL)(lr / block->correction1),
      .root = (TR_REAL)sqrt(block->correction2),
      .eps = TR_FN(divisor_eps)(args->eps),
  };
  TR_REAL *state[3] = {args->p.data, args->m.data, args->v.data};
  TR_FN(adam)(state, args->grad.data, tr__tensor_count(&args->p), &numbers);
}
