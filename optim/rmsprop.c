/* The optimizer RMSprop, plain or centred, with or without momentum.
 *
 *   g <- grad / weight + weight_decay p;   v <- alpha v + (1 - alpha) g^2
 *   centered:  a <- alpha a + (1 - alpha) g;   s = v - a^2;   else s = v
 *   m <- momentum m + g / (sqrt(s) + eps);   p <- p - lr m
 *
 * Without momentum there is no slot m, and p <- p - lr g / (sqrt(s) + eps).
 * Source: torch.optim.RMSprop; Graves 2013, arXiv:1308.0850 (centered). */
#include "optim/optimizer_table_impl.h"

#include <string.h>

/* Finds a slot by its name, since the options decide which slots exist. */
static tr__tensor
slot(const tr_optimizer *opt, const char *name, const tr__slice *slice)
{
  int i = 0;
  while (i < opt->num_slots && strcmp(opt->slot_names[i], name) != 0) {
    i++;
  }
  return tr__optimizer_slot(opt, i, slice);
}

static const char mean_of_squares[] = "square_avg";
static const char momentum_buffer[] = "momentum_buffer";
static const char mean[] = "grad_avg";

static void update(tr_optimizer *opt, const tr__slice *slice)
{
  const tr__store *store = opt->store;
  int64_t offset = slice->offset, count = slice->count;
  tr__backend *backend = store->ctx->backend;
  backend->ops.rmsprop_update(
      &backend->stream,
      &(tr__rmsprop_update_args){
          .p = tr__store_flat(store, store->values, offset, count),
          .grad = tr__store_flat(store, store->grads, offset, count),
          .v = slot(opt, mean_of_squares, slice),
          .m = slot(opt, momentum_buffer, slice),
          .mean = slot(opt, mean, slice),
          .tail = tr__store_tail(store),
          .block = tr__store_block(store),
          .lr_scale = slice->lr_scale,
          .alpha = opt->hyper.alpha,
          .eps = opt->hyper.eps,
          .momentum = opt->hyper.momentum,
          .weight_decay = slice->weight_decay});
}

/* In the first steps of the centred form, the variance s is a small difference
 * of large numbers. eps is so large that its rounding errors are not
 * amplified. */
static tr_status random_create(tr_model *net,
                               const tr__random *random,
                               const tr_update_opts *update,
                               tr_optimizer **out)
{
  tr_rmsprop_opts opts = tr_rmsprop_defaults();
  opts.lr = 1e-3 + 1e-2 * tr__random_uniform(random, 0);
  opts.alpha = 0.5 + 0.45 * tr__random_uniform(random, 1);
  opts.eps = 0.05;
  opts.centered = tr__random_u32(random, 2) % 2;
  if (tr__random_u32(random, 3) % 2 == 0) {
    opts.momentum = 0.1 + 0.8 * tr__random_uniform(random, 4);
  }
  if (tr__random_u32(random, 5) % 2 == 0) {
    opts.weight_decay = 0.1 * tr__random_uniform(random, 6);
  }
  opts.update = *update;
  return tr_rmsprop_create(net, &opts, out);
}

const tr__optimizer_type tr__rmsprop_type = {
    .name = "rmsprop",
    .grain = TR__GRAIN_ELEMENT,
    .num_slots = 3,
    .slots = {mean_of_squares, momentum_buffer, mean},
    .divides = true,
    .update = update,
    .random_create = random_create,
};

tr_rmsprop_opts tr_rmsprop_defaults(void)
{
  return (tr_rmsprop_opts){.lr = 1e-2, .alpha = 0.99, .eps = 1e-8};
}

tr_status tr_rmsprop_create(tr_model *net,
                            const tr_rmsprop_opts *opts,
                            tr_optimizer **out)
{
  tr_optimizer wanted = {.type = &tr__rmsprop_type,
                         .hyper = {.lr = opts->lr,
                                   .alpha = opts->alpha,
                                   .eps = opts->eps,
                                   .momentum = opts->momentum,
                                   .weight_decay = opts->weight_decay,
                                   .centered = opts->centered},
                         .schedule = opts->schedule,
                         .num_slots = 1,
                         .slot_names = {mean_of_squares}};
  if (opts->momentum != 0) {
    wanted.slot_names[wanted.num_slots++] = momentum_buffer;
  }
  if (opts->centered) {
    wanted.slot_names[wanted.num_slots++] = mean;
  }
  return tr__optimizer_create(net, &wanted, &opts->update, out);
}
