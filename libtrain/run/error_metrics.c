/* Mean errors of numbers, and the share of their spread that is explained. */
#include "base/context_impl.h"

#include <math.h>
#include <stdlib.h>
#include <train/metrics.h>

/* Targets so far: their number, mean and sum of squares about it. */
typedef struct spread {
  double count, mean, squares;
} spread;

struct tr_error_metrics {
  tr_context *ctx; /* borrowed */
  double absolute; /* sum of |x - t| */
  double squared;  /* sum of (x - t)^2 */
  spread targets;
};

tr_status tr_error_metrics_create(tr_context *ctx, tr_error_metrics **out)
{
  *out = calloc(1, sizeof **out);
  tr_status status =
      *out != NULL ? TR_OK : TR_FAIL(TR_ENOMEM, "no memory for metrics");
  status = tr__agree(ctx->comm, status);
  if (status != TR_OK) {
    tr_error_metrics_destroy(out);
    return status;
  }
  (*out)->ctx = ctx;
  return TR_OK;
}

void tr_error_metrics_destroy(tr_error_metrics **metrics)
{
  if (metrics == NULL || *metrics == NULL) {
    return;
  }
  free(*metrics);
  *metrics = NULL;
}

static double
number(const tr_error_metrics *metrics, const void *values, int64_t i)
{
  return metrics->ctx->dtype == TR_F64 ? ((const double *)values)[i]
                                       : (double)((const float *)values)[i];
}

static spread
spread_of(const tr_error_metrics *metrics, int64_t count, const void *targets)
{
  spread part = {.count = (double)count};
  for (int64_t i = 0; i < count; i++) {
    part.mean += number(metrics, targets, i);
  }
  part.mean /= (double)count;
  for (int64_t i = 0; i < count; i++) {
    double away = number(metrics, targets, i) - part.mean;
    part.squares += away * away;
  }
  return part;
}

/* The squares of both parts about the mean of all. */
static spread join(spread a, spread b)
{
  spread all = {.count = a.count + b.count};
  double apart = b.mean - a.mean;
  all.mean = a.mean + apart * b.count / all.count;
  all.squares =
      a.squares + b.squares + apart * apart * a.count * b.count / all.count;
  return all;
}

void tr_error_metrics_add(tr_error_metrics *metrics,
                          int64_t count,
                          const void *values,
                          const void *targets)
{
  if (count <= 0) {
    return;
  }
  double absolute = 0, squared = 0;
  for (int64_t i = 0; i < count; i++) {
    double error = number(metrics, values, i) - number(metrics, targets, i);
    absolute += fabs(error);
    squared += error * error;
  }
  metrics->absolute += absolute;
  metrics->squared += squared;
  metrics->targets = join(metrics->targets, spread_of(metrics, count, targets));
}

/* First the mean of all ranks, then each rank's squares about it. */
static tr_status sum_ranks(tr_error_metrics *metrics, double sums[4])
{
  tr__comm *comm = metrics->ctx->comm;
  const spread *mine = &metrics->targets;
  double first[4] = {metrics->absolute, metrics->squared, mine->count,
                     mine->count * mine->mean};
  TR_TRY(comm->type->sum_f64(comm, first, 4));
  double mean = first[2] > 0 ? first[3] / first[2] : 0;
  double away = mine->mean - mean;
  double squares = mine->squares + mine->count * away * away;
  TR_TRY(comm->type->sum_f64(comm, &squares, 1));
  sums[0] = first[0];
  sums[1] = first[1];
  sums[2] = first[2];
  sums[3] = squares;
  return TR_OK;
}

tr_status tr_error_metrics_get(tr_error_metrics *metrics,
                               tr_error_result *result)
{
  double sums[4] = {0};
  *result = (tr_error_result){.count = 0};
  tr_status status = sum_ranks(metrics, sums);
  *metrics = (tr_error_metrics){.ctx = metrics->ctx};
  if (status != TR_OK || sums[2] == 0) {
    return status;
  }
  result->count = (int64_t)sums[2];
  result->mae = sums[0] / sums[2];
  result->mse = sums[1] / sums[2];
  result->rmse = sqrt(result->mse);
  result->r2 = sums[3] > 0 ? 1 - sums[1] / sums[3] : NAN;
  return TR_OK;
}
