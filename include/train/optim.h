/* Optimizers, learning-rate schedules, ZeRO stage 1 (shard_state), and averages
 * of parameters. */
#ifndef TRAIN_OPTIM_H
#define TRAIN_OPTIM_H

#include <train/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tr_optimizer tr_optimizer;

/* The learning rate as a factor of the optimizer's lr, at step t of T. */
typedef enum tr_schedule_kind {
  TR_SCHEDULE_CONSTANT = 0,    /* 1 */
  TR_SCHEDULE_COSINE = 1,      /* end + (1 - end) (1 + cos(pi t/T)) / 2 */
  TR_SCHEDULE_STEP = 2,        /* gamma^floor(t/every) */
  TR_SCHEDULE_MULTISTEP = 3,   /* gamma^(number of milestones up to t) */
  TR_SCHEDULE_EXPONENTIAL = 4, /* gamma^t */
  TR_SCHEDULE_LINEAR = 5,      /* start + (end - start) t/T */
  TR_SCHEDULE_POLYNOMIAL = 6,  /* end + (1 - end) (1 - t/T)^power */
  TR_SCHEDULE_ONE_CYCLE = 7,   /* cosine from start to 1 at t = rise T - 1, then
                                  to end at t = T - 1 */
  TR_SCHEDULE_PLATEAU = 8,     /* multiplied by gamma after more than `patience`
                                  reports without improvement:
                                  tr_optimizer_report() */
  TR_SCHEDULE_CALLBACK = 9     /* the value of rate() */
} tr_schedule_kind;

#define TR_MAX_MILESTONES 16

/* Returns the factor of lr at step t = 0, 1, ... after the warm-up. It must be
 * the same on all ranks and a function of t alone, so that a run can be
 * resumed. */
typedef double (*tr_rate_fn)(void *user, int64_t t);

/* A schedule. The learning rate of step s = 0, 1, ... is lr (s + 1)/warmup for
 * s < warmup. Afterwards it is lr times the kind's formula with t = s - warmup
 * and T = total - warmup; after T it stays constant. Zero-initialise for a
 * constant rate; TR_ZERO is 0 where 0 is the default. */
typedef struct tr_schedule {
  tr_schedule_kind kind;
  int64_t warmup; /* steps */
  int64_t total;  /* steps; required by COSINE, LINEAR, POLYNOMIAL, ONE_CYCLE */
  int64_t every;  /* steps; required by STEP */
  double gamma;   /* STEP, MULTISTEP, EXPONENTIAL, PLATEAU; 0: 0.1 */
  double start;   /* first factor: LINEAR, 0: 1; ONE_CYCLE, 0: 1/25 */
  double end;     /* last factor; ONE_CYCLE, 0: start/10000; PLATEAU: lowest
                     factor */
  double power;   /* POLYNOMIAL; 0: 1 */
  double rise;    /* ONE_CYCLE: fraction of T before the top; 0: 0.3 */
  int64_t milestones[TR_MAX_MILESTONES]; /* MULTISTEP: ascending t, terminated
                                            by a 0; the first is required */
  int64_t patience; /* PLATEAU: tolerated reports without improvement */
  int64_t cooldown; /* PLATEAU: reports after a reduction that do not count */
  double threshold; /* PLATEAU: least relative improvement; 0: 1e-4 */
  int maximise;     /* PLATEAU: 1: larger metrics are better */
  tr_rate_fn rate;  /* CALLBACK: required; borrowed, together with user, until
                       tr_optimizer_destroy() */
  void *user;
} tr_schedule;

/* A group of parameters with its own factors. */
typedef struct tr_param_group {
  const char *pattern; /* pattern of names as in a shell, "*.bias"; NULL: all */
  int max_dims;        /* only parameters with at most so many axes: 1 selects
                          biases and the parameters of normalisation; 0: any */
  double lr_scale;     /* factor of the learning rate; 0: 1; TR_ZERO: 0 */
  double decay_scale;  /* factor of weight_decay; 0: 1; TR_ZERO: 0 */
  int no_weight_decay; /* 1: no weight decay */
  int by_adamw;        /* 1: tr_muon_create() updates matrices in the group by
                          AdamW, as recommended for embeddings and the last
                          layer */
} tr_param_group;

/* The policy for a step whose loss or gradient is NaN or Inf. The sums over all
 * ranks and all batches since the last step decide, so all ranks act alike. The
 * library then searches the batches for the first sample with a NaN, Inf or
 * senseless number, and names it in the failure, or with TR_NONFINITE_SKIP in a
 * warning of its rank. After a roll-back the bad sample comes again.
 *
 * The trainer does everything for TR_NONFINITE_ROLLBACK (tr_trainer_opts). In a
 * loop of the program, tr_optimizer_step() fails as with TR_NONFINITE_STOP, and
 * two calls go back. The loop counts the roll-backs itself, and ends:
 *
 *   tr_status status = tr_optimizer_step(opt);
 *   if (status == TR_ENUMERIC && rollbacks++ < 3) {
 *     double scale = 0.5 * tr_optimizer_lr_scale(opt);
 *     TR_MUST(tr_checkpoint_resume(ctx, "run", &run));
 *     TR_MUST(tr_optimizer_set_lr_scale(opt, scale));
 *     continue;
 *   }
 *   TR_MUST(status);
 *
 * Save once before the first step, so that a checkpoint to go back to always
 * exists; without one, tr_checkpoint_resume() changes nothing. */
typedef enum tr_nonfinite {
  TR_NONFINITE_IGNORE = 0,  /* tr_optimizer_step() does not check; the trainer
                               checks the loss and ends with TR_ENUMERIC */
  TR_NONFINITE_SKIP = 1,    /* the step counts and changes nothing */
  TR_NONFINITE_STOP = 2,    /* the step fails with TR_ENUMERIC on all ranks and
                               changes nothing; waits for the device */
  TR_NONFINITE_ROLLBACK = 3 /* the trainer goes back to the newest checkpoint
                               and continues with a smaller rate; without a
                               trainer as TR_NONFINITE_STOP; waits for the
                               device */
} tr_nonfinite;

/* Options of all optimizers. Zero-initialise; every zero is the default. */
typedef struct tr_update_opts {
  double clip_norm; /* largest norm of the mean gradient of all parameters
                       together; a larger gradient is scaled down to it; 0:
                       none */
  tr_nonfinite on_nonfinite;
  const tr_param_group *groups; /* the first matching group applies to a
                                   parameter; borrowed for the call */
  int num_groups;
  int shard_state; /* 1: ZeRO stage 1: each rank keeps 1/P of the optimizer's
                      state, see below */
} tr_update_opts;

/* ZeRO stage 1, shard_state: each rank owns a partition of the parameters,
 * updates only this, and has only its optimizer state. So the state per
 * parameter is divided by the number of ranks P. tr_model_allreduce_grads()
 * then is a reduce-scatter: each rank gets the sums of its partition, which
 * tr_model_get_grad() refuses to read. tr_optimizer_step() ends with an
 * all-gather of the parameters; in tr_trainer_fit() this overlaps with the
 * beginning of the next forward. Together the two move as many bytes as an
 * all-reduce.
 *
 * All numbers are the same, to the bit, where ranks share memory and with
 * virtual_shards; over messages, sums may have another order. Checkpoints are
 * the same, and any number of ranks can resume them, with or without
 * shard_state.
 *
 * Partitions begin at blocks of 4096 elements, or with tr_muon_create() at
 * matrices: a rank has at most 1/P of the state plus two of these. Where the
 * ranks of a node share memory, the parameters lie there too. A model has at
 * most one such optimizer at a time. Source: Rajbhandari et al. 2020,
 * arXiv:1910.02054 (ZeRO, stage 1) */

typedef struct tr_sgd_opts {
  double lr;           /* required */
  double momentum;     /* 0: none */
  double weight_decay; /* added to the gradient: g + weight_decay p */
  tr_schedule schedule;
  double dampening; /* 0..1; with momentum */
  int nesterov;     /* 1: with momentum and without dampening */
  tr_update_opts update;
} tr_sgd_opts;

/* tr_sgd_create - stochastic gradient descent with momentum.
 *
 *   g <- g + weight_decay p;   m <- momentum m + (1 - dampening) g
 *   p <- p - lr m;   with nesterov: p <- p - lr (g + momentum m)
 *
 * In the first step m is g.
 *
 * Calls:     collective on the model's communicator
 * Errors:    TR_ESTATE before tr_model_build(), TR_EINVAL, TR_ENOMEM,
 *            TR_EMISMATCH where ranks give different options; agreed
 * Ownership: *out is owned by the caller; net is borrowed until
 *            tr_optimizer_destroy()
 * Threads:   one thread per context
 * Source:    torch.optim.SGD */
TR_API tr_status tr_sgd_create(tr_model *net,
                               const tr_sgd_opts *opts,
                               tr_optimizer **out);

typedef struct tr_adam_opts {
  double lr;           /* required */
  double beta1;        /* decay of the first moment */
  double beta2;        /* decay of the second moment */
  double eps;          /* added to the root of the second moment */
  double weight_decay; /* Adam: added to the gradient */
  tr_schedule schedule;
  tr_update_opts update;
} tr_adam_opts;

/* In tr_adam_opts betas and eps of 0 are these numbers, not defaults: begin
 * with tr_adam_defaults(). Where beta2 and eps are both 0, a gradient of 0
 * would give NaN, so tr_adam_create() refuses them. The other optimizers that
 * divide by a root do the same. */

/* tr_adam_defaults - lr 1e-3, betas 0.9 and 0.999, eps 1e-8, no decay.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API tr_adam_opts tr_adam_defaults(void);

/* tr_adam_create - Adam, with L2 decay in the gradient.
 *
 *   g <- g + weight_decay p
 *   m <- beta1 m + (1 - beta1) g;   v <- beta2 v + (1 - beta2) g^2
 *   p <- p - lr/(1 - beta1^t) m / (sqrt(v)/sqrt(1 - beta2^t) + eps)
 *
 * Calls:     collective on the model's communicator
 * Errors:    as tr_sgd_create()
 * Ownership: as tr_sgd_create()
 * Threads:   one thread per context
 * Source:    Kingma and Ba 2015, arXiv:1412.6980; torch.optim.Adam */
TR_API tr_status tr_adam_create(tr_model *net,
                                const tr_adam_opts *opts,
                                tr_optimizer **out);

/* The same options; weight_decay scales the parameter itself. */
typedef tr_adam_opts tr_adamw_opts;

/* tr_adamw_defaults - as tr_adam_defaults(), with weight_decay 0.01.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API tr_adamw_opts tr_adamw_defaults(void);

/* tr_adamw_create - Adam with decoupled weight decay.
 *
 *   p <- p (1 - lr weight_decay), then Adam's update without decay
 *
 * Calls:     collective on the model's communicator
 * Errors:    as tr_sgd_create()
 * Ownership: as tr_sgd_create()
 * Threads:   one thread per context
 * Source:    Loshchilov and Hutter 2019, arXiv:1711.05101; torch.optim.AdamW */
TR_API tr_status tr_adamw_create(tr_model *net,
                                 const tr_adamw_opts *opts,
                                 tr_optimizer **out);

typedef struct tr_rmsprop_opts {
  double lr;           /* required */
  double alpha;        /* decay of the mean of squares */
  double eps;          /* added to the root */
  double momentum;     /* 0: none */
  double weight_decay; /* added to the gradient */
  int centered;        /* 1: divide by the standard deviation instead of the
                          root mean square */
  tr_schedule schedule;
  tr_update_opts update;
} tr_rmsprop_opts;

/* tr_rmsprop_defaults - lr 1e-2, alpha 0.99, eps 1e-8.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API tr_rmsprop_opts tr_rmsprop_defaults(void);

/* tr_rmsprop_create - RMSprop: gradients divided by a running root mean square.
 *
 *   g <- g + weight_decay p;   v <- alpha v + (1 - alpha) g^2
 *   centered:  a <- alpha a + (1 - alpha) g;   s = v - a^2;   else s = v
 *   m <- momentum m + g / (sqrt(s) + eps);   p <- p - lr m
 *
 * Calls:     collective on the model's communicator
 * Errors:    as tr_sgd_create()
 * Ownership: as tr_sgd_create()
 * Threads:   one thread per context
 * Source:    torch.optim.RMSprop; Graves 2013, arXiv:1308.0850 (centered) */
TR_API tr_status tr_rmsprop_create(tr_model *net,
                                   const tr_rmsprop_opts *opts,
                                   tr_optimizer **out);

typedef struct tr_adagrad_opts {
  double lr;        /* required */
  double lr_decay;  /* the rate of step t = 0, 1, .. is lr/(1 + t lr_decay) */
  double eps;       /* added to the root */
  double first_sum; /* initial value of the sums of squares */
  double weight_decay; /* added to the gradient */
  tr_schedule schedule;
  tr_update_opts update;
} tr_adagrad_opts;

/* tr_adagrad_defaults - lr 1e-2, eps 1e-10.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API tr_adagrad_opts tr_adagrad_defaults(void);

/* tr_adagrad_create - Adagrad: gradients divided by the root of the sum of all
 * their squares.
 *
 *   g <- g + weight_decay p;   v <- v + g^2;   p <- p - lr g / (sqrt(v) + eps)
 *
 * Calls:     collective on the model's communicator
 * Errors:    as tr_sgd_create()
 * Ownership: as tr_sgd_create()
 * Threads:   one thread per context
 * Source:    Duchi et al. 2011, JMLR 12; torch.optim.Adagrad */
TR_API tr_status tr_adagrad_create(tr_model *net,
                                   const tr_adagrad_opts *opts,
                                   tr_optimizer **out);

/* Factor of the orthogonal update of a matrix (R, C). */
typedef enum tr_muon_scale {
  TR_MUON_SCALE_ORIGINAL = 0,       /* sqrt(max(1, R/C)) */
  TR_MUON_SCALE_MATCH_RMS_ADAMW = 1 /* 0.2 sqrt(max(R, C)): updates have the
                                       size of AdamW's, for AdamW's rates */
} tr_muon_scale;

typedef struct tr_muon_opts {
  double lr;           /* learning rate of matrices; required */
  double momentum;     /* 0 <= momentum < 1 */
  int nesterov;        /* 1: with momentum */
  tr_muon_scale scale; /* factor of the update */
  double weight_decay; /* weight decay of matrices: scales the parameter
                          itself */
  double adamw_lr;     /* learning rate of all other parameters; required */
  double beta1;        /* options of AdamW from here on, as in tr_adam_opts */
  double beta2;
  double eps;
  double adamw_weight_decay;
  tr_schedule schedule; /* of both learning rates: multiplies each of them */
  tr_update_opts update;
} tr_muon_opts;

/* tr_muon_defaults - lr 1e-3, momentum 0.95, nesterov, original scale, decay
 * 0.1; adamw_lr 1e-3 and the other numbers of tr_adamw_defaults().
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API tr_muon_opts tr_muon_defaults(void);

/* tr_muon_create - Muon: momentum with an orthogonalised update for each
 * matrix, and AdamW for all other parameters.
 *
 *   m <- momentum m + (1 - momentum) g
 *   u = m, with nesterov (1 - momentum) g + momentum m
 *   x = u / max(|u|, 1e-7), then five times
 *   x <- 3.4445 x - 4.7750 s x + 2.0315 s^2 x,   s = x x^T
 *   p <- p (1 - lr weight_decay) - lr scale x
 *
 * |u| is the root of the sum of squares; where R > C, x^T takes the place of x.
 * The singular values of x end between 0.68 and 1.21, but those that begin
 * below 0.003 |u|; where u is 0, x is 0. A parameter with two axes or more
 * is the matrix of its first axis R by all others, C: the filters of a
 * convolution are its rows. Those with one axis, and those in groups with
 * by_adamw, are updated as tr_adamw_create() does. Everything is in the
 * context's precision; PyTorch iterates in bfloat16.
 *
 * Memory: two numbers per parameter, as Adam. Matrices need only one, but slots
 * lie at the parameters' offsets: their second is 0, in checkpoints too. The
 * optimizer also has scratch for the largest matrix: 2 (R C + n n) numbers,
 * where n is the smaller extent.
 *
 * Calls:     collective on the model's communicator
 * Errors:    as tr_sgd_create()
 * Ownership: as tr_sgd_create()
 * Threads:   one thread per context
 * Exact:     bitwise repeatable for fixed ranks and backend, any threads
 * Source:    Jordan 2024, kellerjordan.github.io/posts/muon; Liu et al. 2025,
 *            arXiv:2502.16982 (match_rms_adamw); torch.optim.Muon */
TR_API tr_status tr_muon_create(tr_model *net,
                                const tr_muon_opts *opts,
                                tr_optimizer **out);

/* tr_optimizer_step - update the parameters, then clear the gradients.
 *
 * The call divides the gradient by the true global weight of all backward calls
 * since the last step, so accumulation and uneven batches give the mean. Where
 * clip_norm is set, it then clips the gradient by its norm over all ranks and
 * all parameters, whatever their groups.
 *
 * Calls:     logically collective: after tr_model_allreduce_grads(), or on one
 *            rank after tr_model_backward()
 * Errors:    TR_ESTATE without gradients; TR_ENUMERIC on all ranks with
 *            TR_NONFINITE_STOP and TR_NONFINITE_ROLLBACK: the gradients are
 *            cleared, nothing else changes (forward has updated BatchNorm's
 *            running values, which stay finite)
 * Ownership: nothing is created or kept
 * Threads:   one thread per context; asynchronous on the context's stream
 * Exact:     bitwise repeatable for fixed ranks and backend
 * Source:    torch.nn.utils.clip_grad_norm_ */
TR_API tr_status tr_optimizer_step(tr_optimizer *opt);

/* tr_optimizer_grad_norm - the norm of the last step's mean gradient before
 * clipping, and the number of updates skipped so far because loss or gradient
 * was not finite. Checkpoints save this number.
 *
 * norm     [out]  root of the sum of squares over all parameters
 * skipped  [out]  may be NULL
 *
 * Calls:     local; the same on every rank
 * Errors:    TR_ESTATE where neither clip_norm nor on_nonfinite needs it;
 *            TR_EDEVICE
 * Ownership: nothing is created or kept
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_optimizer_grad_norm(tr_optimizer *opt,
                                        double *norm,
                                        int64_t *skipped);

/* tr_optimizer_loss_scale - the factor of the loss in backward, which keeps
 * small gradients from underflow: 1 except in float16. There it begins at 2^16
 * and doubles after 2000 finite steps. A non-finite gradient halves the scale
 * and skips the step, which changes nothing but counts as a step and as
 * skipped. It is passed to on_nonfinite only when the halved scale is below 1,
 * because overflow can then no longer be the cause. Checkpoints save the scale.
 *
 * scale  [out]  scale of the next step
 *
 * Calls:     local; the same on every rank
 * Errors:    TR_EDEVICE
 * Ownership: nothing is created or kept
 * Threads:   one thread per context; waits for the device
 * Source:    Micikevicius et al. 2018, arXiv:1710.03740;
 *            torch.amp.GradScaler */
TR_API tr_status tr_optimizer_loss_scale(tr_optimizer *opt, double *scale);

/* tr_optimizer_lr - the learning rate of the next step.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API double tr_optimizer_lr(const tr_optimizer *opt);

/* tr_optimizer_lr_scale - the factor of the learning rate besides the schedule:
 * 1 unless roll-backs or tr_optimizer_set_lr_scale() have changed it.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API double tr_optimizer_lr_scale(const tr_optimizer *opt);

/* tr_optimizer_set_lr_scale - replace the factor of the learning rate from the
 * next step on. Checkpoints save it.
 *
 * Calls:     logically collective: the same scale on every rank
 * Errors:    TR_EINVAL where scale is not finite or not greater than 0
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API tr_status tr_optimizer_set_lr_scale(tr_optimizer *opt, double scale);

/* tr_optimizer_report - report a metric of the model to a schedule of kind
 * TR_SCHEDULE_PLATEAU, once per evaluation.
 *
 *   improved where metric < best - threshold |best|, maximised: metric >
 *   best + threshold |best|; an infinite metric never improves
 * After more than `patience` reports in a row without improvement, the schedule
 * multiplies the rate by gamma.
 *
 * Checkpoints save the state of the schedule.
 *
 * Calls:     logically collective: the same metric on every rank
 * Errors:    TR_ESTATE with another schedule; TR_EINVAL where metric is NaN
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.optim.lr_scheduler.ReduceLROnPlateau */
TR_API tr_status tr_optimizer_report(tr_optimizer *opt, double metric);

/* tr_optimizer_num_steps - the number of steps since the very first start.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API int64_t tr_optimizer_num_steps(const tr_optimizer *opt);

/* Exponential moving averages of a model's trained parameters. */
typedef struct tr_ema tr_ema;

/* tr_ema_create - create averages, initially equal to the parameters.
 *
 *   e <- decay e + (1 - decay) p     in every tr_ema_update()
 *
 * Checkpoints save averages that tr_checkpoint.ema names.
 *
 * decay  [in]  0 <= decay < 1, often 0.999
 *
 * Calls:     collective on the model's communicator
 * Errors:    TR_ESTATE before tr_model_build(), TR_EINVAL, TR_ENOMEM; agreed
 * Ownership: *out is owned by the caller; net is borrowed until
 *            tr_ema_destroy()
 * Threads:   one thread per context
 * Source:    Polyak and Juditsky 1992; torch.optim.swa_utils.get_ema_avg_fn */
TR_API tr_status tr_ema_create(tr_model *net, double decay, tr_ema **out);

/* tr_ema_update - add the parameters to the averages, after
 * tr_optimizer_step().
 *
 * Calls:     logically collective: the same on every rank
 * Errors:    TR_ESTATE while the averages are swapped in, or where the model
 *            was built again since tr_ema_create()
 * Ownership: nothing is created or kept
 * Threads:   one thread per context; asynchronous on the context's stream */
TR_API tr_status tr_ema_update(tr_ema *ema);

/* tr_ema_swap - exchange the model's parameters and the averages, to evaluate
 * or export the averages, and back. Does nothing where the model was built
 * again since tr_ema_create().
 *
 * Calls:     logically collective: the same on every rank
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   one thread per context; asynchronous on the context's stream */
TR_API void tr_ema_swap(tr_ema *ema);

/* tr_ema_destroy - release averages, before their model.
 *
 * Calls:     local
 * Errors:    none; ema and *ema may be NULL
 * Ownership: *ema is released and set to NULL; averages that are swapped in
 *            stay in the model as its parameters
 * Threads:   one thread per context */
TR_API void tr_ema_destroy(tr_ema **ema);

/* tr_optimizer_destroy - release an optimizer, before its model.
 *
 * Calls:     local
 * Errors:    none; opt and *opt may be NULL
 * Ownership: *opt is released and set to NULL
 * Threads:   one thread per context */
TR_API void tr_optimizer_destroy(tr_optimizer **opt);

#ifdef __cplusplus
}
#endif

#endif
