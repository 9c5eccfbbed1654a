/* Mean absolute and squared error, and R^2, the fraction of the targets'
 * variance that is explained. */
#include "core/context_impl.h"

#include <math.h>
#include <stdlib.h>
#include <train/metrics.h>

/* Targets so far: sum of weights, mean, sum of squares about the mean. */
typedef struct spread {
  double weight, mean, squares;
} spread;

struct tr_error_metrics {
  tr_context *ctx; /* borrowed */
  int64_t count;   /* values whose weight is not 0 */
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

/* Values of one rank in one call. */
typedef struct part {
  int64_t count;
  const void *values, *targets, *weights;
} part;

static double
weight_of(const tr_error_metrics *metrics, const part *p, int64_t i)
{
  return p->weights != NULL ? number(metrics, p->weights, i) : 1;
}

/* Two passes over the targets. The second also sums the deviations, which shows
 * the rounding error of the mean, and corrects mean and squares by it. */
static spread spread_of(const tr_error_metrics *metrics, const part *p)
{
  spread of = {.weight = 0};
  double sum = 0, rest = 0;
  for (int64_t i = 0; i < p->count; i++) {
    double w = weight_of(metrics, p, i);
    of.weight += w;
    sum += w == 0 ? 0 : w * number(metrics, p->targets, i);
  }
  if (of.weight == 0) {
    return of;
  }
  of.mean = sum / of.weight;
  for (int64_t i = 0; i < p->count; i++) {
    double w = weight_of(metrics, p, i);
    double away = w == 0 ? 0 : number(metrics, p->targets, i) - of.mean;
    rest += w * away;
    of.squares += w * away * away;
  }
  of.squares -= rest * (rest / of.weight);
  of.mean += rest / of.weight;
  return of;
}

/* Combines two sets: the squares become those about the joint mean. */
static spread join(spread a, spread b)
{
  spread all = {.weight = a.weight + b.weight};
  if (all.weight == 0) {
    return all;
  }
  double apart = b.mean - a.mean, share = b.weight / all.weight;
  all.mean = a.mean + apart * share;
  all.squares = a.squares + b.squares + apart * apart * a.weight * share;
  return all;
}

void tr_error_metrics_add(tr_error_metrics *metrics,
                          int64_t count,
                          const void *values,
                          const void *targets)
{
  tr_error_metrics_add_weighted(metrics, count, values, targets, NULL);
}

void tr_error_metrics_add_weighted(tr_error_metrics *metrics,
                                   int64_t count,
                                   const void *values,
                                   const void *targets,
                                   const void *weights)
{
  const part p = {count, values, targets, weights};
  double absolute = 0, squared = 0;
  for (int64_t i = 0; i < count; i++) {
    double w = weight_of(metrics, &p, i);
    if (w == 0) {
      continue;
    }
    double error = number(metrics, values, i) - number(metrics, targets, i);
    absolute += w * fabs(error);
    squared += w * error * error;
    metrics->count++;
  }
  metrics->absolute += absolute;
  metrics->squared += squared;
  metrics->targets = join(metrics->targets, spread_of(metrics, &p));
}

/* Sums over all ranks. */
typedef struct totals {
  int64_t count;
  double weight, absolute, squared;
  double spread; /* sum of (t - mean)^2 */
} totals;

/* First all-reduce for the mean of all ranks, then for the squares about it.
 * The sum of the deviations, 0 but for rounding, corrects both. */
static tr_status sum_ranks(const tr_error_metrics *metrics, totals *all)
{
  tr__comm *comm = metrics->ctx->comm;
  const spread *mine = &metrics->targets;
  double first[4] = {metrics->absolute, metrics->squared, mine->weight,
                     mine->weight * mine->mean};
  all->count = metrics->count;
  TR_TRY(comm->type->reduce_i64(comm, &all->count, 1, TR__SUM));
  TR_TRY(comm->type->sum_f64(comm, first, 4));
  double mean = first[2] > 0 ? first[3] / first[2] : 0;
  double away = mine->mean - mean;
  double second[2] = {mine->weight * away,
                      mine->squares + mine->weight * away * away};
  TR_TRY(comm->type->sum_f64(comm, second, 2));
  all->absolute = first[0];
  all->squared = first[1];
  all->weight = first[2];
  all->spread = second[1];
  if (all->weight > 0) {
    all->spread -= second[0] * (second[0] / all->weight);
  }
  return TR_OK;
}

tr_status tr_error_metrics_get(tr_error_metrics *metrics,
                               tr_error_result *result)
{
  totals all = {.count = 0};
  *result = (tr_error_result){.count = 0};
  tr_status status = sum_ranks(metrics, &all);
  *metrics = (tr_error_metrics){.ctx = metrics->ctx};
  if (status != TR_OK || all.weight == 0) {
    return status;
  }
  result->count = all.count;
  result->mae = all.absolute / all.weight;
  result->mse = all.squared / all.weight;
  result->rmse = sqrt(result->mse);
  result->r2 = all.spread > 0 ? 1 - all.squared / all.spread : NAN;
  return TR_OK;
}
