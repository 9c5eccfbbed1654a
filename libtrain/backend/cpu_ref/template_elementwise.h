/* Element-wise ops: fill, add, ReLU. */

/* y_i <- value */
void TR_FN(fill)(const tr__fill_args *args)
{
  TR_REAL *y = args->y.data;
  TR_REAL value = (TR_REAL)args->value;
  int64_t count = tr__tensor_count(&args->y);
  for (int64_t i = 0; i < count; i++) {
    y[i] = value;
  }
}

/* y_i <- y_i + x_i */
void TR_FN(add)(const tr__add_args *args)
{
  TR_FN(add_numbers)(args->y.data, args->x.data, tr__tensor_count(&args->y));
}

/* y_i <- max(x_i, 0); a NaN stays a NaN, as in PyTorch */
void TR_FN(relu_forward)(const tr__relu_forward_args *args)
{
  const TR_REAL *x = args->x.data;
  TR_REAL *y = args->y.data;
  int64_t count = tr__tensor_count(&args->y);
  for (int64_t i = 0; i < count; i++) {
    y[i] = x[i] < 0 ? 0 : x[i];
  }
}

/* dx_i <- (dx_i +) dy_i where y_i > 0, else 0 */
static TR__CLONES void TR_FN(relu_gradient)(TR_REAL *dx,
                                            const TR_REAL *dy,
                                            const TR_REAL *y,
                                            int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    TR_REAL value = dy[i];
    dx[i] = y[i] > 0 ? value : 0;
  }
}

static TR__CLONES void TR_FN(relu_gradient_add)(TR_REAL *dx,
                                                const TR_REAL *dy,
                                                const TR_REAL *y,
                                                int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    TR_REAL value = dy[i];
    dx[i] += y[i] > 0 ? value : 0;
  }
}

void TR_FN(relu_backward)(const tr__relu_backward_args *args)
{
  int64_t count = tr__tensor_count(&args->dx);
  if (args->accumulate) {
    TR_FN(relu_gradient_add)(args->dx.data, args->dy.data, args->y.data, count);
    return;
  }
  TR_FN(relu_gradient)(args->dx.data, args->dy.data, args->y.data, count);
}
