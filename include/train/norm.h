/* Normalisation. As in train/layers.h, each call adds one node,
 * tr_model_build() returns the first error, and a zero in an option struct
 * means the default. */
#ifndef TRAIN_NORM_H
#define TRAIN_NORM_H

#include <train/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tr_layernorm_opts {
  double eps;       /* 0: 1e-5; TR_ZERO: 0 */
  int no_bias;      /* 1: without bias */
  int no_affine;    /* 1: without weight and bias */
  const char *name; /* name of the layer; NULL: "layernorm_1", ... */
} tr_layernorm_opts;

/* tr_layernorm - normalisation over the last axis of each sample: x, y (N, ...,
 * D).
 *
 *   y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias
 *
 * weight (D) starts at 1, bias (D) at 0; the variance is the sum of squares
 * about the mean, divided by D. opts may be NULL.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.LayerNorm; Ba et al. 2016, arXiv:1607.06450 */
TR_API tr_node tr_layernorm(tr_model *net,
                            tr_node x,
                            const tr_layernorm_opts *opts);

typedef struct tr_rmsnorm_opts {
  double eps;       /* 0: the epsilon of the precision, as in PyTorch: 1.2e-7 in
                       single, 2.2e-16 in double precision; TR_ZERO: 0 */
  int no_affine;    /* 1: without weight */
  const char *name; /* name of the layer; NULL: "rmsnorm_1", ... */
} tr_rmsnorm_opts;

/* tr_rmsnorm - normalisation by the root mean square over the last axis of each
 * sample: x, y (N, ..., D).
 *
 *   y = x / sqrt(mean(x^2) + eps) * weight
 *
 * weight (D) starts at 1. opts may be NULL.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.RMSNorm; Zhang and Sennrich 2019, arXiv:1910.07467 */
TR_API tr_node tr_rmsnorm(tr_model *net,
                          tr_node x,
                          const tr_rmsnorm_opts *opts);

typedef struct tr_groupnorm_opts {
  int64_t groups;   /* groups of channels; divides the number of channels;
                       required */
  double eps;       /* 0: 1e-5; TR_ZERO: 0 */
  int no_affine;    /* 1: without weight and bias */
  const char *name; /* name of the layer; NULL: "groupnorm_1", ... */
} tr_groupnorm_opts;

/* tr_groupnorm - normalisation over groups of channels of each sample: x, y (N,
 * C, ...).
 *
 *   y = (x - mean) / sqrt(var + eps) * weight[c] + bias[c],
 *
 * where mean and var are over the C / groups channels of a group and all their
 * places; weight (C) starts at 1, bias (C) at 0.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE where groups does not divide C
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.GroupNorm; Wu and He 2018, arXiv:1803.08494 */
TR_API tr_node tr_groupnorm(tr_model *net,
                            tr_node x,
                            const tr_groupnorm_opts *opts);

typedef struct tr_batchnorm_opts {
  double eps;       /* 0: 1e-5; TR_ZERO: 0 */
  double momentum;  /* weight of the new batch in the running values; 0: 0.1;
                       TR_ZERO: 0, they do not change */
  int no_affine;    /* 1: without weight and bias */
  int sync;         /* 1: statistics over the samples of all ranks */
  const char *name; /* name of the layer; NULL: "batchnorm_1", ... */
} tr_batchnorm_opts;

/* tr_batchnorm - normalisation over samples and places of each channel: x, y
 * (N, C, ...).
 *
 *   y = (x - mean[c]) / sqrt(var[c] + eps) * weight[c] + bias[c]
 *
 *   training    mean, var of the batch, var divided by the number n of values;
 *               running_mean <- (1 - momentum) running_mean + momentum mean
 *               running_var  <- likewise with var n / (n - 1)
 *               num_batches_tracked <- num_batches_tracked + 1
 *               (the running values of a channel stay where a new one would be
 *               NaN or Inf)
 *   evaluation  mean, var are the running ones (tr_model_set_training())
 *
 * weight (C) starts at 1, bias (C) at 0. The running values are buffers with
 * these names, start at 0, 1, 0, and are part of checkpoints and hashes. With
 * one value per channel var is 0, and running_var takes it without the factor n
 * / (n - 1). Sample weights have no effect: a sample of weight 0 counts like
 * any other. opts may be NULL.
 *
 * Without sync each rank normalises by its own samples, and
 * tr_model_allreduce_grads() broadcasts the running values of rank 0, as
 * DistributedDataParallel does. With sync P ranks compute what one rank
 * computes, and a rank may have no samples. In training, forward then has one
 * small all-gather of (mean, sum of squares, count) and backward one small
 * all-reduce. With virtual shards (tr_context_opts) sync is always on.
 *
 * Calls:     local, before tr_model_build(); with sync, tr_model_forward() and
 *            tr_model_backward() become collective in training
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.BatchNorm1d, 2d, 3d, SyncBatchNorm; Ioffe and Szegedy
 *            2015, arXiv:1502.03167 */
TR_API tr_node tr_batchnorm(tr_model *net,
                            tr_node x,
                            const tr_batchnorm_opts *opts);

#ifdef __cplusplus
}
#endif

#endif
