/* Sums, products, copies, casts, permutations of axes, and nearest-neighbour
 * upsampling. */

/* y_i <- a_i + b_i; y may alias a */
static TR__CLONES void TR_FN(sum_numbers)(TR_REAL *y,
                                          const TR_REAL *a,
                                          const TR_REAL *b,
                                          int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    y[i] = a[i] + b[i];
  }
}

void TR_FN(sum)(const tr__sum_args *args)
{
  TR_FN(sum_numbers)
  (args->y.data, args->a.data, args->b.data, tr__tensor_count(&args->y));
}

/* Both operands have one type here: tr__fp32_run() widens and rounds 16-bit
 * ones. */
void TR_FN(cast)(const tr__cast_args *args)
{
  const TR_REAL *x = args->x.data;
  TR_REAL *y = args->y.data;
  int64_t count = tr__tensor_count(&args->y);
  for (int64_t i = 0; i < count; i++) {
    y[i] = x[i];
  }
}

/* y_i <- (y_i +) a_i b_i */
static TR__CLONES void TR_FN(multiply_numbers)(TR_REAL *restrict y,
                                               const TR_REAL *a,
                                               const TR_REAL *b,
                                               int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    y[i] = a[i] * b[i];
  }
}

static TR__CLONES void TR_FN(add_multiplied)(TR_REAL *restrict y,
                                             const TR_REAL *a,
                                             const TR_REAL *b,
                                             int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    y[i] += a[i] * b[i];
  }
}

void TR_FN(product)(const tr__product_args *args)
{
  int64_t count = tr__tensor_count(&args->y);
  if (args->accumulate) {
    TR_FN(add_multiplied)(args->y.data, args->a.data, args->b.data, count);
    return;
  }
  TR_FN(multiply_numbers)(args->y.data, args->a.data, args->b.data, count);
}

/* y[r, y_first + i] <- (y +) x[r, x_first + i] */
void TR_FN(copy)(const tr__copy_args *args)
{
  int64_t R = args->y.dims[0], Y = args->y.dims[1], X = args->x.dims[1];
  for (int64_t r = 0; r < R; r++) {
    TR_REAL *y = (TR_REAL *)args->y.data + r * Y + args->y_first;
    const TR_REAL *x = (const TR_REAL *)args->x.data + r * X + args->x_first;
    if (args->accumulate) {
      TR_FN(add_numbers)(y, x, args->count);
    } else if (args->count > 0) {
      memcpy(y, x, (size_t)args->count * sizeof(TR_REAL));
    }
  }
}

/* y[i0, i1, ...] <- (y +) the element of x with index ik along axis order[k] */
void TR_FN(permute)(const tr__permute_args *args)
{
  const tr__tensor *x = &args->x, *y = &args->y;
  int64_t step[TR_MAX_DIMS], index[TR_MAX_DIMS] = {0}, place = 0;
  for (int k = 0; k < y->ndim; k++) {
    step[k] = 1;
    for (int i = args->order.of[k] + 1; i < x->ndim; i++) {
      step[k] *= x->dims[i];
    }
  }
  const TR_REAL *from = x->data;
  TR_REAL *to = y->data;
  int64_t count = tr__tensor_count(y);
  for (int64_t i = 0; i < count; i++) {
    to[i] = args->accumulate ? to[i] + from[place] : from[place];
    /* Advance the index; the last axis changes fastest. */
    int k = y->ndim - 1;
    place += step[k];
    for (index[k]++; k > 0 && index[k] == y->dims[k]; k--) {
      place += step[k - 1] - step[k] * y->dims[k];
      index[k] = 0;
      index[k - 1]++;
    }
  }
}

/* y[n,c,h,w] <- x[n, c, h / s, w / s] */
void TR_FN(upsample2d_forward)(const tr__upsample2d_forward_args *args)
{
  int64_t rows = args->y.dims[0] * args->y.dims[1] * args->y.dims[2];
  int64_t width = args->y.dims[3], s = args->scale;
  /* Each row of x gives s rows of y, also across planes. */
  for (int64_t r = 0; r < rows; r++) {
    TR_REAL *y = (TR_REAL *)args->y.data + r * width;
    const TR_REAL *x = (const TR_REAL *)args->x.data + r / s * (width / s);
    for (int64_t w = 0; w < width; w++) {
      y[w] = x[w / s];
    }
  }
}

/* dx[n,c,h,w] <- (dx +) sum over i, j < s of dy[n, c, h s + i, w s + j] */
void TR_FN(upsample2d_backward)(const tr__upsample2d_backward_args *args)
{
  int64_t rows = args->dx.dims[0] * args->dx.dims[1] * args->dx.dims[2];
  int64_t W = args->dx.dims[3], s = args->scale;
  for (int64_t r = 0; r < rows; r++) {
    TR_REAL *dx = (TR_REAL *)args->dx.data + r * W;
    const TR_REAL *dy = (const TR_REAL *)args->dy.data + r * s * s * W;
    for (int64_t w = 0; w < W; w++) {
      TR_REAL sum = 0;
      for (int64_t i = 0; i < s * s; i++) {
        sum += dy[i / s * s * W + w * s + i % s];
      }
      dx[w] = args->accumulate ? dx[w] + sum : sum;
    }
  }
}
