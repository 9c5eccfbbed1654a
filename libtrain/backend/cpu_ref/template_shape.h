/* Sums, products, copies and other orders of extents. */

/* y_i <- a_i + b_i; y may be a */
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

/* y[i0, i1, ...] <- (y +) x at the place whose extent order[k] has index ik */
void TR_FN(permute)(const tr__permute_args *args)
{
  const tr__tensor *x = &args->x, *y = &args->y;
  int64_t step[TR_MAX_DIMS], index[TR_MAX_DIMS] = {0}, place = 0;
  for (int k = 0; k < y->ndim; k++) {
    step[k] = 1;
    for (int i = args->order[k] + 1; i < x->ndim; i++) {
      step[k] *= x->dims[i];
    }
  }
  const TR_REAL *from = x->data;
  TR_REAL *to = y->data;
  int64_t count = tr__tensor_count(y);
  for (int64_t i = 0; i < count; i++) {
    to[i] = args->accumulate ? to[i] + from[place] : from[place];
    /* The next index, its last extent fastest. */
    int k = y->ndim - 1;
    place += step[k];
    for (index[k]++; k > 0 && index[k] == y->dims[k]; k--) {
      place += step[k - 1] - step[k] * y->dims[k];
      index[k] = 0;
      index[k - 1]++;
    }
  }
}
