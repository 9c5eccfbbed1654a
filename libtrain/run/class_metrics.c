/* Accuracy, top-k accuracy, perplexity and confusion matrix of classes. */
#include "core/context_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <train/metrics.h>

/* Sums of the rows' weights; exact whole numbers if all weights are 1. */
enum { WEIGHT, RIGHT, IN_TOP, LOSS, NUM_SUMS };

struct tr_class_metrics {
  tr_context *ctx; /* borrowed */
  tr_class_metrics_opts opts;
  int64_t count; /* rows */
  double sums[NUM_SUMS];
  tr_status failed;
  char message[TR__MESSAGE_BYTES];
  int64_t *confusion; /* of this rank */
  int64_t *shown;     /* of the last result */
};

static tr_status check(const tr_class_metrics_opts *opts)
{
  int64_t squared;
  TR_CHECK(opts->classes > 0 &&
               !tr__mul_overflows(opts->classes, opts->classes, &squared) &&
               squared <= INT64_MAX / 16,
           TR_EINVAL,
           "tr_class_metrics_create: classes is %lld, expected at least 1",
           (long long)opts->classes);
  TR_CHECK(opts->top_k >= 0 && opts->top_k <= opts->classes, TR_EINVAL,
           "tr_class_metrics_create: top_k is %lld, expected 0 to %lld",
           (long long)opts->top_k, (long long)opts->classes);
  return TR_OK;
}

static tr_status create(tr_context *ctx,
                        const tr_class_metrics_opts *opts,
                        tr_class_metrics **out)
{
  TR_TRY(check(opts));
  tr_class_metrics *metrics = calloc(1, sizeof *metrics);
  TR_CHECK(metrics != NULL, TR_ENOMEM, "no memory for metrics");
  *out = metrics;
  metrics->ctx = ctx;
  metrics->opts = *opts;
  if (opts->top_k == 0) {
    metrics->opts.top_k = tr__min(5, opts->classes);
  }
  size_t cells = (size_t)(opts->classes * opts->classes);
  metrics->confusion = calloc(cells, sizeof *metrics->confusion);
  metrics->shown = calloc(cells, sizeof *metrics->shown);
  TR_CHECK(metrics->confusion != NULL && metrics->shown != NULL, TR_ENOMEM,
           "no memory for the confusion of %lld classes",
           (long long)opts->classes);
  return TR_OK;
}

tr_status tr_class_metrics_create(tr_context *ctx,
                                  const tr_class_metrics_opts *opts,
                                  tr_class_metrics **out)
{
  *out = NULL;
  tr_status status = tr__agree(ctx->comm, create(ctx, opts, out));
  if (status == TR_OK) {
    char text[128];
    snprintf(text, sizeof text, "classes %lld\ntop_k %lld\n",
             (long long)opts->classes, (long long)opts->top_k);
    status = tr__agree_text(ctx->comm, "options of metrics", text);
  }
  if (status != TR_OK) {
    tr_class_metrics_destroy(out);
  }
  return status;
}

void tr_class_metrics_destroy(tr_class_metrics **metrics)
{
  if (metrics == NULL || *metrics == NULL) {
    return;
  }
  free((*metrics)->confusion);
  free((*metrics)->shown);
  free(*metrics);
  *metrics = NULL;
}

static double
number(const tr_class_metrics *metrics, const void *values, int64_t i)
{
  return metrics->ctx->dtype == TR_F64 ? ((const double *)values)[i]
                                       : (double)((const float *)values)[i];
}

/* The place of a row's target among its logits; none if a logit is NaN. */
typedef struct standing {
  int64_t before, guess; /* logits ahead of the target's (larger, or equal at a
                            lower index); first largest, -1: none */
  double loss;
} standing;

static standing
stand(const tr_class_metrics *metrics, const void *logits, int64_t target)
{
  int64_t K = metrics->opts.classes;
  standing s = {.before = K, .guess = -1, .loss = NAN};
  double own = number(metrics, logits, target);
  double largest = number(metrics, logits, 0), sum = 0;
  int64_t before = 0, guess = 0;
  for (int64_t k = 0; k < K; k++) {
    double x = number(metrics, logits, k);
    if (isnan(x)) {
      return s;
    }
    before += k < target ? x >= own : x > own;
    guess = x > largest ? k : guess;
    largest = x > largest ? x : largest;
  }
  for (int64_t k = 0; k < K; k++) {
    sum += exp(number(metrics, logits, k) - largest);
  }
  return (standing){before, guess, log(sum) + (largest - own)};
}

/* Add one row of the logits. */
static void add_row(tr_class_metrics *metrics,
                    const void *logits,
                    int64_t target,
                    double weight)
{
  const standing s = stand(metrics, logits, target);
  double *sums = metrics->sums;
  metrics->count++;
  sums[WEIGHT] += weight;
  sums[RIGHT] += s.guess == target ? weight : 0;
  sums[IN_TOP] += s.before < metrics->opts.top_k ? weight : 0;
  sums[LOSS] += weight * s.loss;
  if (s.guess >= 0) {
    metrics->confusion[target * metrics->opts.classes + s.guess]++;
  }
}

static tr_status remember(tr_class_metrics *metrics, tr_status status)
{
  if (metrics->failed == TR_OK) {
    metrics->failed = status;
    snprintf(metrics->message, sizeof metrics->message, "%s",
             tr_error_message());
  }
  return status;
}

tr_status tr_class_metrics_add(tr_class_metrics *metrics,
                               int64_t count,
                               const void *logits,
                               const int32_t *targets)
{
  return tr_class_metrics_add_weighted(metrics, count, logits, targets, NULL);
}

tr_status tr_class_metrics_add_weighted(tr_class_metrics *metrics,
                                        int64_t count,
                                        const void *logits,
                                        const int32_t *targets,
                                        const void *weights)
{
  const tr_class_metrics_opts *opts = &metrics->opts;
  size_t row = (size_t)opts->classes * tr_dtype_size(metrics->ctx->dtype);
  for (int64_t i = 0; i < count; i++) {
    double weight = weights != NULL ? number(metrics, weights, i) : 1;
    if (weight == 0 || (opts->ignores && targets[i] == opts->ignore_index)) {
      continue;
    }
    if (targets[i] < 0 || targets[i] >= opts->classes) {
      return remember(metrics,
                      TR_FAIL(TR_EINVAL,
                              "tr_class_metrics_add: targets[%lld] is %d, "
                              "expected 0 to %lld",
                              (long long)i, (int)targets[i],
                              (long long)opts->classes - 1));
    }
    add_row(metrics, (const char *)logits + (size_t)i * row, targets[i],
            weight);
  }
  return TR_OK;
}

static void clear(tr_class_metrics *metrics)
{
  size_t cells = (size_t)(metrics->opts.classes * metrics->opts.classes);
  memset(metrics->confusion, 0, cells * sizeof *metrics->confusion);
  memset(metrics->sums, 0, sizeof metrics->sums);
  metrics->count = 0;
  metrics->failed = TR_OK;
}

/* All-reduce in messages of at most PART cells. */
static tr_status sum_cells(tr__comm *comm, int64_t *cells, int64_t count)
{
  enum { PART = 1 << 16 };
  for (int64_t i = 0; i < count; i += PART) {
    TR_TRY(comm->type->reduce_i64(comm, cells + i,
                                  (int)tr__min(PART, count - i), TR__SUM));
  }
  return TR_OK;
}

static tr_status sum_ranks(tr_class_metrics *metrics)
{
  tr__comm *comm = metrics->ctx->comm;
  int64_t K = metrics->opts.classes;
  TR_TRY(
      tr__agree(comm, metrics->failed == TR_OK
                          ? TR_OK
                          : TR_FAIL(metrics->failed, "%s", metrics->message)));
  TR_TRY(sum_cells(comm, metrics->shown, K * K));
  TR_TRY(sum_cells(comm, &metrics->count, 1));
  return comm->type->sum_f64(comm, metrics->sums, NUM_SUMS);
}

static tr_class_result result_of(const tr_class_metrics *metrics)
{
  const double *sums = metrics->sums;
  tr_class_result result = {.count = metrics->count,
                            .confusion = metrics->shown};
  if (sums[WEIGHT] > 0) {
    result.accuracy = sums[RIGHT] / sums[WEIGHT];
    result.top_accuracy = sums[IN_TOP] / sums[WEIGHT];
    result.loss = sums[LOSS] / sums[WEIGHT];
  }
  result.perplexity = exp(result.loss);
  return result;
}

tr_status tr_class_metrics_get(tr_class_metrics *metrics,
                               tr_class_result *result)
{
  size_t cells = (size_t)(metrics->opts.classes * metrics->opts.classes);
  memcpy(metrics->shown, metrics->confusion, cells * sizeof *metrics->shown);
  tr_status status = sum_ranks(metrics);
  *result = status == TR_OK ? result_of(metrics)
                            : (tr_class_result){.confusion = NULL};
  clear(metrics);
  return status;
}
