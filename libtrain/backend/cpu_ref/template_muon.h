/* Muon: momentum, orthogonalisation by Newton-Schulz iterations, and decoupled
 * weight decay. */

/* Factors of one step, which all elements use, rounded once. */
typedef struct muon_numbers {
  TR_REAL scale, momentum; /* scale: of the gradient */
  blend mean;              /* by momentum */
  TR_REAL shrink, step;    /* of p, of x */
  bool nesterov;
} muon_numbers;

static muon_numbers TR_FN(muon_numbers)(const tr__muon_update_args *args)
{
  const tr__step_block *block = args->block.data;
  double lr = block->lr * args->lr_scale;
  TR_REAL gradient[2];
  TR_FN(gradient_numbers)(gradient, &args->tail, block, 0);
  return (muon_numbers){.scale = gradient[0],
                        .mean = TR_FN(blend_of)(args->momentum),
                        .momentum = (TR_REAL)args->momentum,
                        .shrink = (TR_REAL)(1 - lr * args->weight_decay),
                        .step = (TR_REAL)(lr * args->scale),
                        .nesterov = args->nesterov != 0};
}

/* g <- grad scale;  m <- m + (1 - momentum) (g - m)
 * x <- m, with Nesterov g + momentum (m - g) */
static TR__CLONES void TR_FN(muon_momentum)(TR_REAL *restrict m,
                                            TR_REAL *restrict x,
                                            const TR_REAL *restrict grad,
                                            int64_t count,
                                            const muon_numbers *number)
{
  muon_numbers n = *number;
  for (int64_t i = 0; i < count; i++) {
    TR_REAL g = grad[i] * n.scale;
    m[i] = TR_FN(blended)(n.mean, m[i], g);
    x[i] = n.nesterov ? g + n.momentum * (m[i] - g) : m[i];
  }
}

double TR_FN(muon_begin)(const tr__muon_update_args *args,
                         TR_REAL *x,
                         int64_t begin,
                         int64_t count)
{
  const muon_numbers numbers = TR_FN(muon_numbers)(args);
  TR_FN(muon_momentum)
  ((TR_REAL *)args->m.data + begin, x + begin,
   (const TR_REAL *)args->grad.data + begin, count, &numbers);
  return TR_FN(squares)(x + begin, count);
}

/* y <- a y + b x */
static TR__CLONES void TR_FN(muon_mix)(TR_REAL *restrict y,
                                       const TR_REAL *restrict x,
                                       int64_t count,
                                       TR_REAL a,
                                       TR_REAL b)
{
  for (int64_t i = 0; i < count; i++) {
    y[i] = a * y[i] + b * x[i];
  }
}

void TR_FN(muon_end)(const tr__muon_update_args *args,
                     const TR_REAL *x,
                     int64_t begin,
                     int64_t count)
{
  const muon_numbers numbers = TR_FN(muon_numbers)(args);
  TR_FN(muon_mix)
  ((TR_REAL *)args->p.data + begin, x + begin, count, numbers.shrink,
   -numbers.step);
}

/* next <- A x + (B s + C s^2) x with s = x x^T. If x (R, C) is tall, R > C:
 * next <- A x + x (B s + C s^2) with s = x^T x. matrices: x, next, s,
 * polynomial. */
static void
TR_FN(newton_schulz)(TR_REAL *const matrices[4], int64_t R, int64_t C)
{
  TR_REAL *x = matrices[0], *next = matrices[1];
  TR_REAL *gram = matrices[2], *poly = matrices[3];
  int64_t n = tr__min(R, C);
  const matrix rows = {x, C, 1}, columns = {x, 1, C};
  set_zero(gram, n * n);
  set_zero(poly, n * n);
  set_zero(next, R * C);
  if (R > C) {
    TR_FN(add_product)(gram, columns, rows, (int64_t[3]){n, n, R});
  } else {
    TR_FN(add_product_transposed)(gram, rows, rows, (int64_t[3]){n, n, C});
  }
  TR_FN(add_product)
  (poly, (matrix){gram, n, 1}, (matrix){gram, n, 1}, (int64_t[3]){n, n, n});
  TR_FN(muon_mix)
  (poly, gram, n * n, (TR_REAL)TR__MUON_C, (TR_REAL)TR__MUON_B);
  if (R > C) {
    TR_FN(add_product)(next, rows, (matrix){poly, n, 1}, (int64_t[3]){R, C, n});
  } else {
    TR_FN(add_product)(next, (matrix){poly, n, 1}, rows, (int64_t[3]){R, C, n});
  }
  TR_FN(muon_mix)(next, x, R * C, 1, (TR_REAL)TR__MUON_A);
}

void TR_FN(muon_update)(const tr__muon_update_args *args)
{
  const tr__step_block *block = args->block.data;
  if (block->skip != 0) {
    return;
  }
  int64_t R = args->p.dims[0], C = tr__tensor_row(&args->p), count = R * C;
  tr__muon_scratch at = tr__ref_muon_scratch(&args->p);
  char *scratch = args->workspace.data;
  TR_REAL *x = (TR_REAL *)(scratch + at.x);
  TR_REAL *next = (TR_REAL *)(scratch + at.next);
  TR_REAL *gram = (TR_REAL *)(scratch + at.gram);
  TR_REAL *poly = (TR_REAL *)(scratch + at.poly);
  double sum = 0;
  for (int64_t i = 0; i < count; i += TR__MUON_BLOCK) {
    sum += TR_FN(muon_begin)(args, x, i, tr__min(TR__MUON_BLOCK, count - i));
  }
  TR_REAL inverse = (TR_REAL)(1 / fmax(sqrt(sum), TR__MUON_EPS));
  for (int64_t i = 0; i < count; i++) {
    x[i] *= inverse;
  }
  for (int step = 0; step < TR__MUON_STEPS; step++) {
    TR_FN(newton_schulz)((TR_REAL *[4]){x, next, gram, poly}, R, C);
    TR_REAL *used = x;
    x = next;
    next = used;
  }
  TR_FN(muon_end)(args, x, 0, count);
}
