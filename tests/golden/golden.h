/* What the tests against PyTorch share: recordings, numbers that are computed
 * from names, and nets that are built from the text in a recording. The
 * definitions stand in workloads.py; any failure ends the test. */
#ifndef TR_GOLDEN_H
#define TR_GOLDEN_H

#include "core/context_impl.h"
#include "test.h"

#include <train/train.h>

#define GOLDEN_STEPS     20
#define GOLDEN_MAX_NODES 16

/* A file of lines "key value value ...". */
typedef struct recording recording;

recording *recording_open(const char *name);
void recording_close(recording **rec);

/* recording_text - the values of a key as they stand. */
const char *recording_text(const recording *rec, const char *format, ...)
    TR_PRINTF(2, 3);

/* recording_numbers - a key's numbers; *count may be NULL. The caller frees
 * them. */
double *
recording_numbers(const recording *rec, int64_t *count, const char *format, ...)
    TR_PRINTF(3, 4);

/* recording_number - the one number of a key. */
double recording_number(const recording *rec, const char *format, ...)
    TR_PRINTF(2, 3);

uint64_t golden_bits(const char *name, int64_t i);
double golden_value(const char *name, int64_t i);

/* golden_fill - value(name, first + i) * bound as float32 in out[i]. */
typedef struct golden_numbers {
  const char *name;
  int64_t first, count;
  double bound;
} golden_numbers;
void golden_fill(const golden_numbers *numbers, tr_dtype dtype, void *out);

/* golden_double - one element of either floating-point type. */
double golden_double(tr_dtype dtype, const void *values, int64_t i);

/* A built model with its parameters set, and arrays for one batch. */
typedef struct golden_net {
  tr_context *ctx; /* borrowed */
  tr_model *model;
  tr_dtype dtype;
  tr_shape input;
  int64_t num_classes;
  int num_nodes; /* layers; the input is node 0, the loss is none */
  tr_node nodes[GOLDEN_MAX_NODES];
  int num_params;
  struct golden_param {
    char name[TR__NAME_BYTES];
    int64_t count, fan_in;
  } params[GOLDEN_MAX_NODES];
  void *x, *w;
  int32_t *y;
} golden_net;

typedef struct golden_net_opts {
  const char *text; /* as in workloads.py */
  int64_t rows;     /* largest global batch */
  int keep;         /* 1: every node can be read */
  int own_init;     /* 1: leave the library's first parameters */
  /* Builds the net instead; the text then gives input and classes only. */
  void (*build)(tr_model *net, tr_shape shape, int64_t classes);
} golden_net_opts;

tr_context *golden_context(tr_dtype dtype, const char *device);
void golden_net_create(tr_context *ctx,
                       const golden_net_opts *opts,
                       golden_net *out);
void golden_net_destroy(golden_net *net);

/* golden_bound - parameters start in +-bound: that of the weight, for the bias
 * beside it too. */
double golden_bound(const golden_net *net, const char *name);

/* One global batch; the arrays of the batch are the net's. */
typedef struct golden_batch_opts {
  int step;
  int64_t count; /* of all ranks together */
  double scale;  /* of the inputs; 0: 1 */
  int weighted;
} golden_batch_opts;

/* golden_batch - this rank's part of a global batch. */
tr_batch golden_batch(golden_net *net, const golden_batch_opts *opts);

/* golden_net_grad - a parameter's mean gradient, divided by the true weight
 * of the batch. The caller frees it. */
void *golden_net_grad(golden_net *net, const char *name, double correction);

/* golden_optimizer - from the numbers that record.py writes. */
tr_optimizer *
golden_optimizer(golden_net *net, const recording *rec, const char *name);

/* golden_train - a recorded run's steps on this context's ranks; the loss of
 * each, and the net as it is at the end. */
void golden_train(tr_context *ctx,
                  const recording *rec,
                  const char *optimizer,
                  double losses[GOLDEN_STEPS],
                  golden_net *out);

/* golden_check_losses - each within tolerance times itself; prints how far the
 * worst is off. */
void golden_check_losses(const char *what,
                         const double *losses,
                         const double *expected,
                         int64_t count,
                         double tolerance);

/* golden_check_resnet - the names and every loss of a run of resnet.txt; the
 * tolerance is a share of the loss. */
void golden_check_resnet(const char *run,
                         tr_dtype dtype,
                         const char *device,
                         double tolerance);

/* golden_check_sampled - a tensor against what was sampled of it: each value
 * to tolerance times the tensor's largest, sums to tolerance times the sum of
 * absolute values. */
typedef struct golden_sampled {
  const recording *rec;
  const char *key;   /* has /values and /stats */
  const char *param; /* has /at */
  double tolerance;
} golden_sampled;
void golden_check_sampled(const golden_sampled *sampled,
                          tr_dtype dtype,
                          const void *values,
                          int64_t count);

#endif
