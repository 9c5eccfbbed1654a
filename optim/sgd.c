/* The optimizer SGD, with momentum or without.
 *
 *   g <- grad / weight + weight_decay p
 *   m <- momentum m + (1 - dampening) g
 *   p <- p - lr m;   with Nesterov: p <- p - lr (g + momentum m)
 *
 * In the first step m is g. Without momentum there is no slot m, and
 * p <- p - lr g.
 * Source: torch.optim.SGD */
#include "optim/optimizer_table_impl.h"

static void update(tr_optimizer *opt, const tr__slice *slice)
{
  const tr__store *store = opt->store;
  int64_t offset = slice->offset, count = slice->count;
  tr__backend *backend = store->ctx->backend;
  backend->ops.sgd_update(
      &backend->stream,
      &(tr__sgd_update_args){
          .p = tr__store_flat(store, store->values, offset, count),
          .grad = tr__store_flat(store, store->grads, offset, count),
          .m = tr__optimizer_slot(opt, 0, slice),
          .tail = tr__store_tail(store),
          .block = tr__store_block(store),
          .lr_scale = slice->lr_scale,
          .momentum = opt->hyper.momentum,
          .dampening = opt->hyper.dampening,
          .weight_decay = slice->weight_decay,
          .nesterov = opt->hyper.nesterov});
}

static tr_status check(const tr_optimizer *wanted)
{
  const tr__hyper *hyper = &wanted->hyper;
  TR_CHECK(hyper->dampening >= 0 && hyper->dampening <= 1, TR_EINVAL,
           "sgd: dampening is %g, expected 0 to 1", hyper->dampening);
  TR_CHECK(!hyper->nesterov || (hyper->momentum > 0 && hyper->dampening == 0),
           TR_EINVAL,
           "sgd: nesterov with momentum %g and dampening %g, expected more "
           "than 0 and none",
           hyper->momentum, hyper->dampening);
  return TR_OK;
}

static tr_status random_create(tr_model *net,
                               const tr__random *random,
                               const tr_update_opts *update,
                               tr_optimizer **out)
{
  tr_sgd_opts opts = {.lr = 0.01 + 0.1 * tr__random_uniform(random, 0)};
  if (tr__random_u32(random, 1) % 2 == 0) {
    opts.momentum = 0.1 + 0.8 * tr__random_uniform(random, 2);
    opts.nesterov = tr__random_u32(random, 5) % 2;
    if (!opts.nesterov && tr__random_u32(random, 6) % 2 == 0) {
      opts.dampening = 0.5 * tr__random_uniform(random, 7);
    }
  }
  if (tr__random_u32(random, 3) % 2 == 0) {
    opts.weight_decay = 0.1 * tr__random_uniform(random, 4);
  }
  opts.update = *update;
  return tr_sgd_create(net, &opts, out);
}

const tr__optimizer_type tr__sgd_type = {
    .name = "sgd",
    .grain = TR__GRAIN_ELEMENT,
    .num_slots = 1,
    .slots = {"momentum"},
    .update = update,
    .check = check,
    .random_create = random_create,
};

tr_status
tr_sgd_create(tr_model *net, const tr_sgd_opts *opts, tr_optimizer **out)
{
  const tr_optimizer wanted = {.type = &tr__sgd_type,
                               .hyper = {.lr = opts->lr,
                                         .momentum = opts->momentum,
                                         .dampening = opts->dampening,
                                         .weight_decay = opts->weight_decay,
                                         .nesterov = opts->nesterov},
                               .schedule = opts->schedule,
                               .num_slots = opts->momentum != 0 ? 1 : 0};
  return tr__optimizer_create(net, &wanted, &opts->update, out);
}
