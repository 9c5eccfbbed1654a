/* Accuracy, top-k accuracy, perplexity and the confusion of classes. */
#include "base/context_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <train/metrics.h>

struct tr_class_metrics {
  tr_context *ctx; /* borrowed */
  tr_class_metrics_opts opts;
  int64_t in_top; /* rows whose target is among the top_k */
  double loss;    /* sum */
  tr_status failed;
  char message[TR__MESSAGE_BYTES];
  int64_t *confusion; /* so far */
  int64_t *shown;     /* the last result's */
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

static double logit(const tr_class_metrics *metrics, const void *x, int64_t i)
{
  return metrics->ctx->dtype == TR_F64 ? ((const double *)x)[i]
                                       : (double)((const float *)x)[i];
}

/* Row `row` of the logits. */
static void add_row(tr_class_metrics *metrics,
                    const void *logits,
                    int64_t row,
                    int64_t target)
{
  int64_t K = metrics->opts.classes, first = row * K;
  double own = logit(metrics, logits, first + target);
  double largest = logit(metrics, logits, first);
  int64_t before = 0, guess = 0;
  for (int64_t k = 0; k < K; k++) {
    double x = logit(metrics, logits, first + k);
    /* Not less: so a NaN is never behind the target. */
    before += k < target ? !(x < own) : !(x <= own);
    if (x > largest) {
      largest = x;
      guess = k;
    }
  }
  double sum = 0;
  for (int64_t k = 0; k < K; k++) {
    sum += exp(logit(metrics, logits, first + k) - largest);
  }
  metrics->loss += log(sum) + (largest - own);
  metrics->in_top += before < metrics->opts.top_k;
  metrics->confusion[target * K + guess]++;
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
  const tr_class_metrics_opts *opts = &metrics->opts;
  for (int64_t i = 0; i < count; i++) {
    if (opts->ignores && targets[i] == opts->ignore_index) {
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
    add_row(metrics, logits, i, targets[i]);
  }
  return TR_OK;
}

static void clear(tr_class_metrics *metrics)
{
  size_t cells = (size_t)(metrics->opts.classes * metrics->opts.classes);
  memset(metrics->confusion, 0, cells * sizeof *metrics->confusion);
  metrics->in_top = 0;
  metrics->loss = 0;
  metrics->failed = TR_OK;
}

/* Sums over ranks in parts that one message takes. */
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
  TR_TRY(sum_cells(comm, &metrics->in_top, 1));
  return comm->type->sum_f64(comm, &metrics->loss, 1);
}

static tr_class_result result_of(const tr_class_metrics *metrics)
{
  int64_t K = metrics->opts.classes, right = 0;
  tr_class_result result = {.confusion = metrics->shown};
  for (int64_t i = 0; i < K * K; i++) {
    result.count += metrics->shown[i];
    right += i % (K + 1) == 0 ? metrics->shown[i] : 0;
  }
  if (result.count > 0) {
    double count = (double)result.count;
    result.accuracy = (double)right / count;
    result.top_accuracy = (double)metrics->in_top / count;
    result.loss = metrics->loss / count;
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
