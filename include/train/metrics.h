/* Metrics over all ranks. Each rank adds its values in any number of calls, and
 * one collective call gives all ranks the same results. Counts are exact for
 * any number of ranks; sums are double.
 *
 * Values of weight 0 do not count, whatever they are. ..._add() is
 * ..._add_weighted() with weights of 1. */
#ifndef TRAIN_METRICS_H
#define TRAIN_METRICS_H

#include <train/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Classification metrics of logits. */
typedef struct tr_class_metrics tr_class_metrics;

typedef struct tr_class_metrics_opts {
  int64_t classes; /* number of classes; required */
  int64_t top_k;   /* k of the top-k accuracy, at most classes; 0: 5, or classes
                      if fewer */
  int ignores;     /* 1: rows whose target is ignore_index do not count */
  int32_t ignore_index;
} tr_class_metrics_opts;

typedef struct tr_class_result {
  int64_t count;       /* rows whose weight is not 0 */
  double accuracy;     /* fraction of rows, by weight, whose largest logit is
                          the target's */
  double top_accuracy; /* fraction of rows, by weight, whose target is among the
                          top_k largest logits */
  double loss;         /* weighted mean of logsumexp(x) - x[target] */
  double perplexity;   /* exp(loss) */
  const int64_t *confusion; /* confusion matrix (classes, classes): at t *
                               classes + p the number of rows of target t that
                               were classified as p, without their weights;
                               borrowed until the next call with these
                               metrics */
} tr_class_result;

/* tr_class_metrics_create - create empty classification metrics.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_EINVAL, TR_ENOMEM; agreed
 * Ownership: *out is owned by the caller; ctx is borrowed until
 *            tr_class_metrics_destroy()
 * Threads:   one thread per context */
TR_API tr_status tr_class_metrics_create(tr_context *ctx,
                                         const tr_class_metrics_opts *opts,
                                         tr_class_metrics **out);

/* tr_class_metrics_add - add some rows of this rank.
 *
 * logits   [in]  (count, classes) in the context's element type, as
 *                tr_model_get_output() of a loss' input gives them
 * targets  [in]  (count) classes
 *
 * Of equal logits the first counts as the largest. A row with a NaN among its
 * logits counts as wrong: its target is not among the top_k, its loss is NaN,
 * and it is in no column of the confusion matrix.
 *
 * Calls:     local
 * Errors:    TR_EINVAL for a target outside 0..classes-1; the next
 *            tr_class_metrics_get() returns it on all ranks
 * Ownership: the arrays are borrowed for the call
 * Threads:   one thread per context */
TR_API tr_status tr_class_metrics_add(tr_class_metrics *metrics,
                                      int64_t count,
                                      const void *logits,
                                      const int32_t *targets);

/* tr_class_metrics_add_weighted - the same with a weight for each row.
 *
 * weights  [in]  (count) in the context's element type, 0 or more; NULL: 1
 *
 * A row of weight 0 does not count, whatever its logits and its target are.
 *
 * Calls:     local
 * Errors:    as tr_class_metrics_add()
 * Ownership: the arrays are borrowed for the call
 * Threads:   one thread per context */
TR_API tr_status tr_class_metrics_add_weighted(tr_class_metrics *metrics,
                                               int64_t count,
                                               const void *logits,
                                               const int32_t *targets,
                                               const void *weights);

/* tr_class_metrics_get - the results over all ranks; then clear the metrics.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ECOMM; the failure of an add on any rank; agreed. Without rows
 *            all fractions are 0
 * Ownership: see tr_class_result
 * Threads:   one thread per context */
TR_API tr_status tr_class_metrics_get(tr_class_metrics *metrics,
                                      tr_class_result *result);

/* tr_class_metrics_destroy - release metrics.
 *
 * Calls:     local
 * Errors:    none; metrics and *metrics may be NULL
 * Ownership: *metrics is released and set to NULL
 * Threads:   one thread per context */
TR_API void tr_class_metrics_destroy(tr_class_metrics **metrics);

/* Regression metrics: the distance of numbers from their targets. */
typedef struct tr_error_metrics tr_error_metrics;

typedef struct tr_error_result {
  int64_t count; /* numbers whose weight is not 0 */
  double mae;    /* weighted mean of |x - t| */
  double mse;    /* weighted mean of (x - t)^2 */
  double rmse;   /* square root of mse */
  double r2;     /* 1 - sum of w (x - t)^2 / sum of w (t - mean t)^2; NaN where
                    all targets are equal */
} tr_error_result;

/* tr_error_metrics_create - create empty regression metrics.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ENOMEM; agreed
 * Ownership: *out is owned by the caller; ctx is borrowed until
 *            tr_error_metrics_destroy()
 * Threads:   one thread per context */
TR_API tr_status tr_error_metrics_create(tr_context *ctx,
                                         tr_error_metrics **out);

/* tr_error_metrics_add - add some numbers of this rank.
 *
 * values, targets  [in]  (count) in the context's element type
 *
 * Calls:     local
 * Errors:    none
 * Ownership: the arrays are borrowed for the call
 * Threads:   one thread per context
 * Source:    Chan, Golub and LeVeque 1983 (merged sums about the mean) */
TR_API void tr_error_metrics_add(tr_error_metrics *metrics,
                                 int64_t count,
                                 const void *values,
                                 const void *targets);

/* tr_error_metrics_add_weighted - the same with a weight for each number.
 *
 * weights  [in]  (count) in the context's element type, 0 or more; NULL: 1
 *
 * A number of weight 0 does not count, whatever it and its target are.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: the arrays are borrowed for the call
 * Threads:   one thread per context
 * Source:    as tr_error_metrics_add() */
TR_API void tr_error_metrics_add_weighted(tr_error_metrics *metrics,
                                          int64_t count,
                                          const void *values,
                                          const void *targets,
                                          const void *weights);

/* tr_error_metrics_get - the results over all ranks; then clear the metrics.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ECOMM; without numbers all results are 0
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API tr_status tr_error_metrics_get(tr_error_metrics *metrics,
                                      tr_error_result *result);

/* tr_error_metrics_destroy - release metrics.
 *
 * Calls:     local
 * Errors:    none; metrics and *metrics may be NULL
 * Ownership: *metrics is released and set to NULL
 * Threads:   one thread per context */
TR_API void tr_error_metrics_destroy(tr_error_metrics **metrics);

#ifdef __cplusplus
}
#endif

#endif
