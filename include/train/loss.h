/* Losses. A model may have several:
 *
 *   loss = sum over losses k of weight_k * mean_k
 *
 * where mean_k is the weighted mean over all samples of all ranks, and over the
 * rows or elements that the loss names. The k-th loss reads
 * tr_batch.targets[k]. Accuracy belongs to the first loss. Zero-initialise
 * option structs: every zero means the default. Functions also take NULL for
 * options. */
#ifndef TRAIN_LOSS_H
#define TRAIN_LOSS_H

#include <train/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* tr_cross_entropy - softmax and negative log-likelihood of the target class.
 *
 *   l_i = log(sum over k of exp(x[i,k])) - x[i, t_i]     x (N, K), t (N)
 *   loss = sum of w_i l_i / sum of w_i                   over all ranks
 *
 * With x (N, T, K) and t (N, T), or more axes, each of the N T rows counts as
 * one, with its sample's weight. The k-th loss of a model reads
 * tr_batch.targets[k].
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_ESHAPE where a sample is a scalar
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.nn.CrossEntropyLoss */
TR_API tr_node tr_cross_entropy(tr_model *net, tr_node x);

typedef struct tr_cross_entropy_opts {
  double label_smoothing;      /* 0..1 */
  int ignores;                 /* 1: rows whose target is ignore_index count
                                  neither in the loss nor in its mean */
  int32_t ignore_index;        /* often -100 */
  const double *class_weights; /* one per class; NULL: all 1; borrowed for the
                                  call */
  int64_t num_class_weights;
  double weight;    /* weight of this loss in the model's loss; 0: 1; TR_ZERO:
                       0, the loss is computed and adds nothing */
  const char *name; /* name of the loss; NULL: "cross_entropy_1", ... */
} tr_cross_entropy_opts;

/* tr_cross_entropy_with - tr_cross_entropy() with options.
 *
 *   l_i = (1 - e) c[t_i] n[i,t_i] + e/K sum over k of c[k] n[i,k]
 *   n[i,k] = logsumexp(x[i,:]) - x[i,k]
 *   mean = sum of w_i l_i / sum of w_i c[t_i]   over rows that count
 *
 * x (N, ..., K), targets (N, ...) int32; e label_smoothing, c class_weights, w
 * the samples' weights. Checkpoints save class weights as the constant
 * <name>.weight. A loss with `ignores` or class weights must be the only loss
 * of its model; accuracy then has class weights too.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_ESHAPE, TR_EINVAL, TR_EUNSUPPORTED beside another
 *            loss
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.CrossEntropyLoss; Szegedy et al. 2016,
 *            arXiv:1512.00567 */
TR_API tr_node tr_cross_entropy_with(tr_model *net,
                                     tr_node x,
                                     const tr_cross_entropy_opts *opts);

typedef struct tr_loss_opts {
  double weight;    /* weight of this loss in the model's loss; 0: 1; TR_ZERO:
                       0, the loss is computed and adds nothing */
  const char *name; /* name of the loss; NULL: "mse_1", "mae_1", ... */
} tr_loss_opts;

/* tr_mse - the mean of squared errors.
 *
 *   mean over samples and elements of (x - t)^2
 *
 * x (N, ...); targets have the shape of x and the context's element type.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.MSELoss */
TR_API tr_node tr_mse(tr_model *net, tr_node x, const tr_loss_opts *opts);

/* tr_mae - the mean of absolute errors; the gradient at 0 is 0.
 *
 *   mean over samples and elements of |x - t|
 *
 * x and targets as tr_mse().
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.L1Loss */
TR_API tr_node tr_mae(tr_model *net, tr_node x, const tr_loss_opts *opts);

typedef struct tr_huber_opts {
  double delta;     /* largest error with a squared loss; 0: 1 */
  double weight;    /* weight of this loss in the model's loss; 0: 1; TR_ZERO:
                       0, the loss is computed and adds nothing */
  const char *name; /* name of the loss; NULL: "huber_1", ... */
} tr_huber_opts;

/* tr_huber - squared loss for small errors, absolute loss for large ones.
 *
 *   mean over samples and elements of e^2/2 for |e| <= delta, else
 *   delta (|e| - delta/2);   e = x - t
 *
 * x and targets as tr_mse().
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    Huber 1964; torch.nn.HuberLoss */
TR_API tr_node tr_huber(tr_model *net, tr_node x, const tr_huber_opts *opts);

typedef struct tr_bce_opts {
  const double *pos_weight; /* weight of positive targets, one per index of the
                               last axis of x; NULL: all 1; borrowed for the
                               call */
  int64_t num_pos_weight;
  double weight;    /* weight of this loss in the model's loss; 0: 1; TR_ZERO:
                       0, the loss is computed and adds nothing */
  const char *name; /* name of the loss; NULL: "bce_with_logits_1", ... */
} tr_bce_opts;

/* tr_bce_with_logits - binary cross-entropy of logits.
 *
 *   mean over samples and elements of
 *   -(q t log s(x) + (1 - t) log(1 - s(x))),   s(x) = 1/(1 + exp(-x))
 *
 * x and targets as tr_mse(), targets in 0..1; q is pos_weight, which
 * checkpoints save as the constant <name>.pos_weight.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.BCEWithLogitsLoss */
TR_API tr_node tr_bce_with_logits(tr_model *net,
                                  tr_node x,
                                  const tr_bce_opts *opts);

#ifdef __cplusplus
}
#endif

#endif
