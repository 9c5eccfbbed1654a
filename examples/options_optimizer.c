/* The optimizer that a command line asks for. */
#include "options.h"

#include <string.h>

static tr_schedule make_schedule(const example_options *options, int64_t steps)
{
  tr_schedule schedule = {.warmup = options->warmup, .total = steps};
  if (strcmp(options->schedule, "cosine") == 0) {
    schedule.kind = TR_SCHEDULE_COSINE;
  }
  if (strcmp(options->schedule, "step") == 0) {
    /* A tenth of the rate after each third of the run. */
    schedule.kind = TR_SCHEDULE_STEP;
    schedule.every = (steps + 2) / 3;
  }
  return schedule;
}

/* At AdamW's rates, which the last layer and what is no matrix have too. */
static tr_status create_muon(const example_options *options,
                             tr_model *net,
                             tr_schedule schedule,
                             tr_update_opts update,
                             tr_optimizer **out)
{
  tr_muon_opts muon = tr_muon_defaults();
  muon.scale = TR_MUON_SCALE_MATCH_RMS_ADAMW;
  muon.schedule = schedule;
  muon.update = update;
  muon.update.groups = options->by_adamw;
  muon.update.num_groups = options->num_by_adamw;
  if (options->lr >= 0) {
    muon.lr = muon.adamw_lr = options->lr;
  }
  if (options->weight_decay >= 0) {
    muon.weight_decay = muon.adamw_weight_decay = options->weight_decay;
  }
  return tr_muon_create(net, &muon, out);
}

static tr_nonfinite policy_of(const example_options *options)
{
  static const char *const names[] = {[TR_NONFINITE_IGNORE] = "ignore",
                                      [TR_NONFINITE_SKIP] = "skip",
                                      [TR_NONFINITE_STOP] = "stop",
                                      [TR_NONFINITE_ROLLBACK] = "rollback"};
  int policy = TR_NONFINITE_ROLLBACK;
  while (policy > 0 && strcmp(options->on_nonfinite, names[policy]) != 0) {
    policy--;
  }
  return (tr_nonfinite)policy;
}

tr_status example_optimizer_create(const example_options *options,
                                   tr_model *net,
                                   int64_t steps,
                                   tr_optimizer **out)
{
  const char *name = options->optimizer;
  tr_schedule schedule = make_schedule(options, steps);
  const tr_update_opts update = {.clip_norm = options->clip_norm,
                                 .on_nonfinite = policy_of(options),
                                 .shard_state = options->zero1};
  if (strcmp(name, "sgd") == 0 || strcmp(name, "momentum") == 0) {
    const tr_sgd_opts sgd = {
        .lr = options->lr < 0 ? 0.01 : options->lr,
        .momentum = strcmp(name, "momentum") == 0 ? 0.9 : 0,
        .weight_decay = options->weight_decay < 0 ? 0 : options->weight_decay,
        .schedule = schedule,
        .update = update};
    return tr_sgd_create(net, &sgd, out);
  }
  if (strcmp(name, "muon") == 0) {
    return create_muon(options, net, schedule, update, out);
  }
  int is_adamw = strcmp(name, "adamw") == 0;
  tr_adam_opts adam = is_adamw ? tr_adamw_defaults() : tr_adam_defaults();
  adam.lr = options->lr < 0 ? adam.lr : options->lr;
  if (options->weight_decay >= 0) {
    adam.weight_decay = options->weight_decay;
  }
  adam.schedule = schedule;
  adam.update = update;
  return is_adamw ? tr_adamw_create(net, &adam, out)
                  : tr_adam_create(net, &adam, out);
}
