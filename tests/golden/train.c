#include "golden.h"

/* In the order in which record.py writes them. */
enum {
  KIND,
  LR,
  MOMENTUM,
  BETA1,
  BETA2,
  EPS,
  WEIGHT_DECAY,
  SCHEDULE,
  WARMUP,
  TOTAL,
  EVERY,
  GAMMA,
  NUM_NUMBERS
};

enum { KIND_SGD, KIND_ADAM, KIND_ADAMW };

static tr_schedule schedule_of(const double *numbers)
{
  return (tr_schedule){.kind = (tr_schedule_kind)numbers[SCHEDULE],
                       .warmup = (int64_t)numbers[WARMUP],
                       .total = (int64_t)numbers[TOTAL],
                       .every = (int64_t)numbers[EVERY],
                       .gamma = numbers[GAMMA]};
}

tr_optimizer *
golden_optimizer(golden_net *net, const recording *rec, const char *name)
{
  int64_t count;
  double *n = recording_numbers(rec, &count, "%s/optimizer", name);
  ASSERT_EQ(count, NUM_NUMBERS);
  tr_optimizer *opt;
  tr_sgd_opts sgd = {.lr = n[LR],
                     .momentum = n[MOMENTUM],
                     .weight_decay = n[WEIGHT_DECAY],
                     .schedule = schedule_of(n)};
  tr_adam_opts adam = {.lr = n[LR],
                       .beta1 = n[BETA1],
                       .beta2 = n[BETA2],
                       .eps = n[EPS],
                       .weight_decay = n[WEIGHT_DECAY],
                       .schedule = schedule_of(n)};
  switch ((int)n[KIND]) {
  case KIND_SGD:
    ASSERT_OK(tr_sgd_create(net->model, &sgd, &opt));
    break;
  case KIND_ADAM:
    ASSERT_OK(tr_adam_create(net->model, &adam, &opt));
    break;
  default:
    ASSERT_EQ(n[KIND], KIND_ADAMW);
    ASSERT_OK(tr_adamw_create(net->model, &adam, &opt));
    break;
  }
  free(n);
  return opt;
}

void golden_train(tr_context *ctx,
                  const recording *rec,
                  const char *optimizer,
                  double losses[GOLDEN_STEPS],
                  golden_net *out)
{
  int64_t num_sizes;
  double *sizes = recording_numbers(rec, &num_sizes, "batch");
  /* The first batch is the largest, but another one may be cut into larger
   * parts for a rank: every rank has room for a whole batch. */
  int64_t rows = 0;
  for (int64_t i = 0; i < num_sizes; i++) {
    rows = tr__max(rows, (int64_t)sizes[i]);
  }
  int weighted = recording_number(rec, "weighted") != 0;
  golden_net_opts opts = {.text = recording_text(rec, "net"), .rows = rows};
  golden_net_create(ctx, &opts, out);
  tr_optimizer *opt = golden_optimizer(out, rec, optimizer);
  for (int step = 0; step < GOLDEN_STEPS; step++) {
    tr_batch batch = golden_batch(
        out, &(golden_batch_opts){.step = step,
                                  .count = (int64_t)sizes[step % num_sizes],
                                  .weighted = weighted});
    ASSERT_OK(tr_model_forward(out->model, &batch));
    ASSERT_OK(tr_model_backward(out->model));
    ASSERT_OK(tr_model_allreduce_grads(out->model));
    ASSERT_OK(tr_optimizer_step(opt));
    ASSERT_OK(tr_model_loss(out->model, &losses[step]));
  }
  tr_optimizer_destroy(&opt);
  free(sizes);
}

void golden_check_losses(const char *what,
                         const double *losses,
                         const double *expected,
                         int64_t count,
                         double tolerance)
{
  double worst = 0;
  int64_t where = 0;
  for (int64_t i = 0; i < count; i++) {
    double difference = fabs(losses[i] - expected[i]) / fabs(expected[i]);
    if (!(difference <= worst)) {
      worst = difference;
      where = i;
    }
  }
  printf("# %s: losses are within %.2g of PyTorch's\n", what, worst);
  if (!(worst <= tolerance)) {
    test_fail(__FILE__, __LINE__,
              "%s: loss %lld is %.17g, PyTorch's %.17g, difference %.3g of it, "
              "allowed %.3g",
              what, (long long)where, losses[where], expected[where], worst,
              tolerance);
  }
}

static void check_value(const golden_sampled *sampled,
                        const char *what,
                        double got,
                        double expected,
                        double allowed)
{
  if (!(fabs(got - expected) <= allowed)) {
    test_fail(__FILE__, __LINE__,
              "%s: %s is %.17g, PyTorch's %.17g, difference %.3g, allowed "
              "%.3g",
              sampled->key, what, got, expected, got - expected, allowed);
  }
}

void golden_check_sampled(const golden_sampled *sampled,
                          tr_dtype dtype,
                          const void *values,
                          int64_t count)
{
  int64_t num_at, num_values;
  double *at =
      recording_numbers(sampled->rec, &num_at, "%s/at", sampled->param);
  double *expected =
      recording_numbers(sampled->rec, &num_values, "%s/values", sampled->key);
  double *stats =
      recording_numbers(sampled->rec, NULL, "%s/stats", sampled->key);
  ASSERT_EQ(num_at, num_values);
  double largest = stats[0], sum = stats[1], absolute = stats[2];
  ASSERT(largest > 0);
  for (int64_t i = 0; i < num_at; i++) {
    ASSERT(at[i] < (double)count);
    char what[32];
    snprintf(what, sizeof what, "element %.0f", at[i]);
    check_value(sampled, what, golden_double(dtype, values, (int64_t)at[i]),
                expected[i], sampled->tolerance * largest);
  }
  double got_largest = 0, got_sum = 0, got_absolute = 0;
  for (int64_t i = 0; i < count; i++) {
    double value = golden_double(dtype, values, i);
    got_largest = fmax(got_largest, fabs(value));
    got_sum += value;
    got_absolute += fabs(value);
  }
  double t = sampled->tolerance;
  check_value(sampled, "the largest", got_largest, largest, t * largest);
  check_value(sampled, "the sum", got_sum, sum, t * absolute);
  check_value(sampled, "the sum of |v|", got_absolute, absolute, t * absolute);
  free(at);
  free(expected);
  free(stats);
}
