/* The first values of parameters: a function of the context's seed and of the
 * parameter's index in the model. Ranks on the same type of CPU compute equal
 * values. */
#include "model/model_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The inverse of erf: Giles 2012, "Approximating the erfinv function", then two
 * steps of Newton's method. |x| < 1. */
static double erf_inverse(double x)
{
  static const double centre[] = {
      2.81022636e-08,  3.43273939e-07, -3.5233877e-06,
      -4.39150654e-06, 0.00021858087,  -0.00125372503,
      -0.00417768164,  0.246640727,    1.50140941};
  static const double tail[] = {-0.000200214257, 0.000100950558, 0.00134934322,
                                -0.00367342844,  0.00573950773,  -0.0076224613,
                                0.00943887047,   1.00167406,     2.83297682};
  double w = -log((1 - x) * (1 + x));
  bool is_central = w < 5;
  const double *c = is_central ? centre : tail;
  w = is_central ? w - 2.5 : sqrt(w) - 3;
  double y = c[0];
  for (int i = 1; i < 9; i++) {
    y = c[i] + y * w;
  }
  y *= x;
  for (int i = 0; i < 2; i++) {
    y -= (erf(y) - x) * 0.886226925452758 * exp(y * y);
  }
  return y;
}

static double normal_cdf(double x)
{
  return 0.5 * erfc(-x * 0.7071067811865476);
}

/* Inverts the distribution function, so that each element takes one random
 * number. */
static void fill_trunc_normal(const tr__init *init,
                              const tr__random *random,
                              int64_t count,
                              double *values)
{
  double begin = 2 * normal_cdf((init->low - init->a) / init->b) - 1;
  double end = 2 * normal_cdf((init->high - init->a) / init->b) - 1;
  tr__random_fill(random, 0, 1, count, values);
  for (int64_t i = 0; i < count; i++) {
    /* Half a step of the generator keeps x off the ends of the interval. */
    double x = begin + (end - begin) * (values[i] + 0x1p-33);
    double limit = 1 - 0x1p-52;
    double z = erf_inverse(fmin(fmax(x, -limit), limit));
    double value = init->a + init->b * 1.4142135623730951 * z;
    values[i] = fmin(fmax(value, init->low), init->high);
  }
}

/* Four partial sums have no data dependency on each other. Their order is
 * fixed, so the result is reproducible. */
static double dot(const double *x, const double *y, int64_t count)
{
  double sum[4] = {0};
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (int k = 0; k < 4; k++) {
      sum[k] += x[i + k] * y[i + k];
    }
  }
  for (; i < count; i++) {
    sum[0] += x[i] * y[i];
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Gram-Schmidt on the rows, with each row projected twice, which is enough for
 * full precision (Giraud et al. 2005). The diagonal of the triangular factor is
 * positive. Only this QR decomposition gives uniformly distributed matrices. */
static void make_orthonormal(double *rows, int64_t num_rows, int64_t length)
{
  for (int64_t i = 0; i < num_rows; i++) {
    double *row = rows + i * length;
    for (int64_t k = 0; k < 2 * i; k++) {
      const double *other = rows + k % i * length;
      double part = dot(row, other, length);
      for (int64_t d = 0; d < length; d++) {
        row[d] -= part * other[d];
      }
    }
    double scale = 1 / sqrt(dot(row, row, length));
    for (int64_t d = 0; d < length; d++) {
      row[d] *= scale;
    }
  }
}

/* Makes the rows orthonormal if there are at most as many rows as columns, else
 * the columns. */
static tr_status fill_orthogonal(const tr__init *init,
                                 const tr_shape *shape,
                                 const tr__random *random,
                                 double *values)
{
  int64_t count = tr_shape_count(shape), rows = shape->dims[0];
  int64_t columns = count / rows;
  int64_t fewer = tr__min(rows, columns), length = count / fewer;
  double *vectors = malloc((size_t)count * sizeof *vectors);
  TR_CHECK(vectors != NULL, TR_ENOMEM, "no memory for %lld values",
           (long long)count);
  for (int64_t i = 0; i < count; i++) {
    vectors[i] = tr__random_normal(random, i);
  }
  make_orthonormal(vectors, fewer, length);
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t c = 0; c < columns; c++) {
      values[r * columns + c] =
          init->a *
          (rows <= columns ? vectors[r * length + c] : vectors[c * length + r]);
    }
  }
  free(vectors);
  return TR_OK;
}

tr_status tr__init_fill(const tr__init *init,
                        const tr_shape *shape,
                        const tr__random *random,
                        double *values)
{
  int64_t count = tr_shape_count(shape);
  switch (init->kind) {
  case TR__INIT_UNIFORM:
    tr__random_fill(random, init->a, init->b, count, values);
    break;
  case TR__INIT_NORMAL:
    for (int64_t i = 0; i < count; i++) {
      values[i] = init->a + init->b * tr__random_normal(random, i);
    }
    break;
  case TR__INIT_CONSTANT:
    for (int64_t i = 0; i < count; i++) {
      values[i] = init->a;
    }
    break;
  case TR__INIT_VALUES:
    memcpy(values, init->values, (size_t)count * sizeof *values);
    break;
  case TR__INIT_TRUNC_NORMAL:
    fill_trunc_normal(init, random, count, values);
    break;
  case TR__INIT_ORTHOGONAL:
    return fill_orthogonal(init, shape, random, values);
  }
  return TR_OK;
}

/* Convert doubles to the store's dtype in place. Narrower values move to the
 * front of the buffer. */
static void narrow(tr_dtype dtype, double *values, int64_t count)
{
  if (dtype == TR_F64) {
    return;
  }
  for (int64_t i = 0; i < count; i++) {
    float value = (float)values[i];
    memcpy((char *)values + (size_t)i * sizeof value, &value, sizeof value);
  }
}

tr_status tr__init_set(tr_model *net, const tr__param *param, double *values)
{
  const tr__store *store = &net->store;
  const tr__random random = {
      .seed = net->ctx->seed,
      .stream = tr__random_stream(TR__PURPOSE_INIT, param->stream)};
  TR_TRY(tr__init_fill(&param->init, &param->shape, &random, values));
  narrow(net->ctx->dtype, values, param->count);
  tr__backend *backend = net->ctx->backend;
  tr__tensor view = tr__store_tensor(store, store->values, param);
  backend->type->upload(&backend->stream, view.data, values,
                        (size_t)param->count * tr_dtype_size(net->ctx->dtype));
  tr__store_changed(&net->store);
  return TR_OK;
}

tr_status tr__model_init_values(tr_model *net)
{
  const tr__store *store = &net->store;
  int64_t largest = 1;
  for (int i = 0; i < store->num_params; i++) {
    largest = tr__max(largest, store->params[i].count);
  }
  double *values = malloc((size_t)largest * sizeof *values);
  TR_CHECK(values != NULL, TR_ENOMEM, "no memory for %lld first values",
           (long long)largest);
  tr_status status = TR_OK;
  for (int i = 0; i < store->num_params && status == TR_OK; i++) {
    status = tr__init_set(net, &store->params[i], values);
  }
  free(values);
  return status;
}
