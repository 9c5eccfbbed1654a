/* The optimizer Adagrad, with a decaying learning rate.
 *
 *   g <- grad / weight + weight_decay p;   v <- v + g^2
 *   p <- p - lr/(1 + t lr_decay) g / (sqrt(v) + eps)
 *
 * Source: Duchi et al. 2011, JMLR 12, 2121-2159; torch.optim.Adagrad. */
#include "optim/optimizer_table_impl.h"

static void update(tr_optimizer *opt, const tr__slice *slice)
{
  const tr__store *store = opt->store;
  int64_t offset = slice->offset, count = slice->count;
  tr__backend *backend = store->ctx->backend;
  backend->ops.adagrad_update(
      &backend->stream,
      &(tr__adagrad_update_args){
          .p = tr__store_flat(store, store->values, offset, count),
          .grad = tr__store_flat(store, store->grads, offset, count),
          .v = tr__optimizer_slot(opt, 0, slice),
          .tail = tr__store_tail(store),
          .block = tr__store_block(store),
          .lr_scale = slice->lr_scale,
          .eps = opt->hyper.eps,
          .weight_decay = slice->weight_decay});
}

static tr_status random_create(tr_model *net,
                               const tr__random *random,
                               const tr_update_opts *update,
                               tr_optimizer **out)
{
  tr_adagrad_opts opts = tr_adagrad_defaults();
  opts.lr = 1e-3 + 1e-2 * tr__random_uniform(random, 0);
  opts.lr_decay = 0.1 * tr__random_uniform(random, 1);
  if (tr__random_u32(random, 2) % 2 == 0) {
    opts.first_sum = 0.1 * tr__random_uniform(random, 3);
  }
  if (tr__random_u32(random, 4) % 2 == 0) {
    opts.weight_decay = 0.1 * tr__random_uniform(random, 5);
  }
  opts.update = *update;
  return tr_adagrad_create(net, &opts, out);
}

const tr__optimizer_type tr__adagrad_type = {
    .name = "adagrad",
    .grain = TR__GRAIN_ELEMENT,
    .num_slots = 1,
    .slots = {"sum"},
    .divides = true,
    .update = update,
    .random_create = random_create,
};

tr_adagrad_opts tr_adagrad_defaults(void)
{
  return (tr_adagrad_opts){.lr = 1e-2, .eps = 1e-10};
}

/* Sets the sums of squares to their first value. The padding between parameters
 * stays zero. */
static void fill_sums(const tr_optimizer *opt, double value)
{
  const tr__store *store = opt->store;
  tr__backend *backend = store->ctx->backend;
  for (int i = 0; i < store->num_trained; i++) {
    tr__slice piece;
    int at = 0;
    while (tr__optimizer_next_slice(opt, &store->params[i], &at, &piece)) {
      tr__tensor sum = tr__optimizer_slot(opt, 0, &piece);
      backend->ops.fill(&backend->stream,
                        &(tr__fill_args){.y = sum, .value = value});
    }
  }
}

tr_status tr_adagrad_create(tr_model *net,
                            const tr_adagrad_opts *opts,
                            tr_optimizer **out)
{
  const tr_optimizer wanted = {.type = &tr__adagrad_type,
                               .hyper = {.lr = opts->lr,
                                         .lr_decay = opts->lr_decay,
                                         .eps = opts->eps,
                                         .first_sum = opts->first_sum,
                                         .weight_decay = opts->weight_decay},
                               .schedule = opts->schedule,
                               .num_slots = 1};
  TR_TRY(tr__optimizer_create(net, &wanted, &opts->update, out));
  fill_sums(*out, opts->first_sum);
  return TR_OK;
}
