/* The optimizers Adam and AdamW, which differ in their weight decay.
 *
 *   Adam:   g <- grad / weight + weight_decay p
 *   AdamW:  g <- grad / weight;   p <- p (1 - lr weight_decay)
 *   m <- beta1 m + (1 - beta1) g;   v <- beta2 v + (1 - beta2) g^2
 *   p <- p - lr/(1 - beta1^t) m / (sqrt(v)/sqrt(1 - beta2^t) + eps)
 *
 * Source: Kingma and Ba 2015, arXiv:1412.6980; Loshchilov and Hutter 2019,
 * arXiv:1711.05101; the order of operations is that of torch.optim. */
#include "optim/optimizer_table_impl.h"

enum { MOMENT1, MOMENT2 };

static void
update(const tr_optimizer *opt, const tr__slice *slice, int decoupled)
{
  const tr__store *store = opt->store;
  int64_t offset = slice->offset, count = slice->count;
  tr__backend *backend = store->ctx->backend;
  backend->ops.adam_update(
      &backend->stream,
      &(tr__adam_update_args){
          .p = tr__store_flat(store, store->values, offset, count),
          .grad = tr__store_flat(store, store->grads, offset, count),
          .m = tr__optimizer_slot(opt, MOMENT1, slice),
          .v = tr__optimizer_slot(opt, MOMENT2, slice),
          .tail = tr__store_tail(store),
          .block = tr__store_block(store),
          .lr_scale = slice->lr_scale,
          .beta1 = opt->hyper.beta1,
          .beta2 = opt->hyper.beta2,
          .eps = opt->hyper.eps,
          .weight_decay = slice->weight_decay,
          .decoupled = decoupled});
}

static void update_adam(tr_optimizer *opt, const tr__slice *slice)
{
  update(opt, slice, 0);
}

static void update_adamw(tr_optimizer *opt, const tr__slice *slice)
{
  update(opt, slice, 1);
}

static tr_adam_opts random_opts(const tr__random *random)
{
  return (tr_adam_opts){.lr = 1e-3 + 1e-2 * tr__random_uniform(random, 0),
                        .beta1 = 0.95 * tr__random_uniform(random, 1),
                        .beta2 = 0.9 + 0.099 * tr__random_uniform(random, 2),
                        .eps = 1e-8,
                        .weight_decay =
                            tr__random_u32(random, 3) % 2 == 0
                                ? 0
                                : 0.1 * tr__random_uniform(random, 4)};
}

static tr_status random_create_adam(tr_model *net,
                                    const tr__random *random,
                                    const tr_update_opts *update,
                                    tr_optimizer **out)
{
  tr_adam_opts opts = random_opts(random);
  opts.update = *update;
  return tr_adam_create(net, &opts, out);
}

static tr_status random_create_adamw(tr_model *net,
                                     const tr__random *random,
                                     const tr_update_opts *update,
                                     tr_optimizer **out)
{
  tr_adam_opts opts = random_opts(random);
  opts.update = *update;
  return tr_adamw_create(net, &opts, out);
}

const tr__optimizer_type tr__adam_type = {
    .name = "adam",
    .grain = TR__GRAIN_ELEMENT,
    .num_slots = 2,
    .slots = {"exp_avg", "exp_avg_sq"},
    .divides = true,
    .update = update_adam,
    .random_create = random_create_adam,
};

const tr__optimizer_type tr__adamw_type = {
    .name = "adamw",
    .grain = TR__GRAIN_ELEMENT,
    .num_slots = 2,
    .slots = {"exp_avg", "exp_avg_sq"},
    .divides = true,
    .update = update_adamw,
    .random_create = random_create_adamw,
};

tr_adam_opts tr_adam_defaults(void)
{
  return (tr_adam_opts){.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
}

tr_adamw_opts tr_adamw_defaults(void)
{
  tr_adamw_opts opts = tr_adam_defaults();
  opts.weight_decay = 0.01;
  return opts;
}

static tr_status create(tr_model *net,
                        const tr__optimizer_type *type,
                        const tr_adam_opts *opts,
                        tr_optimizer **out)
{
  const tr_optimizer wanted = {.type = type,
                               .hyper = {.lr = opts->lr,
                                         .beta1 = opts->beta1,
                                         .beta2 = opts->beta2,
                                         .eps = opts->eps,
                                         .weight_decay = opts->weight_decay},
                               .schedule = opts->schedule,
                               .num_slots = type->num_slots};
  return tr__optimizer_create(net, &wanted, &opts->update, out);
}

tr_status
tr_adam_create(tr_model *net, const tr_adam_opts *opts, tr_optimizer **out)
{
  return create(net, &tr__adam_type, opts, out);
}

tr_status
tr_adamw_create(tr_model *net, const tr_adamw_opts *opts, tr_optimizer **out)
{
  return create(net, &tr__adamw_type, opts, out);
}
