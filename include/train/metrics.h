/* Metrics over all ranks: each rank adds what it has, in as many parts as it
 * likes, and one collective call gives all ranks the same numbers. Counts are
 * exact whatever the number of ranks; sums are made in double.
 *
 * What weighs 0 is left out, whatever it holds; ..._add() is ..._add_weighted()
 * with weights of 1. */
#ifndef TRAIN_METRICS_H
#define TRAIN_METRICS_H

#include <train/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How well logits name classes. */
typedef struct tr_class_metrics tr_class_metrics;

typedef struct tr_class_metrics_opts {
  int64_t classes; /* required */
  int64_t top_k;   /* at most classes; 0: 5, or classes where they are fewer */
  int ignores;     /* 1: rows whose target is ignore_index are not counted */
  int32_t ignore_index;
} tr_class_metrics_opts;

typedef struct tr_class_result {
  int64_t count;       /* rows that weigh something */
  double accuracy;     /* share of rows, by weight, whose largest logit is the
                          target's */
  double top_accuracy; /* share of rows, by weight, whose target is among the
                          top_k largest logits */
  double loss;         /* weighted mean of logsumexp(x) - x[target] */
  double perplexity;   /* exp(loss) */
  const int64_t *confusion; /* (classes, classes): rows of target t that were
                               taken for p at t * classes + p, without their
                               weights; borrowed until the next call with these
                               metrics */
} tr_class_result;

/* tr_class_metrics_create - begin to count.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_EINVAL, TR_ENOMEM; agreed
 * Ownership: *out is owned by the caller; ctx is borrowed until
 *            tr_class_metrics_destroy()
 * Threads:   one thread per context */
TR_API tr_status tr_class_metrics_create(tr_context *ctx,
                                         const tr_class_metrics_opts *opts,
                                         tr_class_metrics **out);

/* tr_class_metrics_add - count some rows of this rank.
 *
 * logits   [in]  (count, classes) in the context's element type, as
 *                tr_model_get_output() of a loss' input gives them
 * targets  [in]  (count) classes
 *
 * Of equal logits the first is the larger one. A row with a NaN among its
 * logits counts and is wrong: its target is not among the top_k, its loss is
 * NaN, and it is in no column of the confusion.
 *
 * Calls:     local
 * Errors:    TR_EINVAL for a target outside 0..classes-1, which all ranks get
 *            from the next tr_class_metrics_get()
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
 * A row of weight 0 is left out, whatever its logits and its target are.
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

/* tr_class_metrics_get - what all ranks have counted, and begin anew.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ECOMM; what an add of any rank failed with; agreed. Shares of
 *            no rows are 0
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

/* How far numbers are from their targets. */
typedef struct tr_error_metrics tr_error_metrics;

typedef struct tr_error_result {
  int64_t count; /* numbers that weigh something */
  double mae;    /* weighted mean of |x - t| */
  double mse;    /* weighted mean of (x - t)^2 */
  double rmse;   /* its root */
  double r2;     /* 1 - sum of w (x - t)^2 / sum of w (t - mean t)^2; NaN where
                    all targets are equal */
} tr_error_result;

/* tr_error_metrics_create - begin to count.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ENOMEM; agreed
 * Ownership: *out is owned by the caller; ctx is borrowed until
 *            tr_error_metrics_destroy()
 * Threads:   one thread per context */
TR_API tr_status tr_error_metrics_create(tr_context *ctx,
                                         tr_error_metrics **out);

/* tr_error_metrics_add - count some numbers of this rank.
 *
 * values, targets  [in]  (count) in the context's element type
 *
 * Calls:     local
 * Errors:    none
 * Ownership: the arrays are borrowed for the call
 * Threads:   one thread per context
 * Source:    Chan, Golub and LeVeque 1983 (sums about the mean, in parts) */
TR_API void tr_error_metrics_add(tr_error_metrics *metrics,
                                 int64_t count,
                                 const void *values,
                                 const void *targets);

/* tr_error_metrics_add_weighted - the same with a weight for each number.
 *
 * weights  [in]  (count) in the context's element type, 0 or more; NULL: 1
 *
 * A number of weight 0 is left out, whatever it and its target are.
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

/* tr_error_metrics_get - over all ranks, and begin anew.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ECOMM; all are 0 where nothing was counted
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
