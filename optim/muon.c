/* The optimizer Muon for matrices, with AdamW for all other parameters.
 *
 *   g <- grad / weight;   m <- m + (1 - momentum) (g - m)
 *   u = m, with Nesterov g + momentum (m - g)
 *   x = newton_schulz(u), nearly the orthogonal factor of u
 *   p <- p (1 - lr weight_decay) - lr scale x
 *
 * Source: Jordan 2024, kellerjordan.github.io/posts/muon; Liu et al. 2025,
 * arXiv:2502.16982; the order of operations is that of torch.optim.Muon, which
 * accepts parameters of two axes only. */
#include "optim/optimizer_table_impl.h"

#include <math.h>

/* Slots are in AdamW's order: Muon's momentum lies in the first moment. */
enum { MOMENTUM };

static double scale_of(tr_muon_scale scale, const tr__slice *slice)
{
  double R = (double)slice->rows, C = (double)slice->columns;
  return scale == TR_MUON_SCALE_MATCH_RMS_ADAMW ? 0.2 * sqrt(fmax(R, C))
                                                : sqrt(fmax(1, R / C));
}

static tr__tensor
matrix(const tr_optimizer *opt, void *arena, const tr__slice *slice)
{
  return tr__tensor_as_rows(tr__store_flat(opt->store, arena, slice->offset,
                                           slice->rows * slice->columns),
                            slice->columns);
}

static void update(tr_optimizer *opt, const tr__slice *slice)
{
  const tr__store *store = opt->store;
  tr__backend *backend = store->ctx->backend;
  int64_t bytes = (int64_t)opt->workspace_bytes;
  if (slice->rows == 0) {
    tr__adamw_type.update(opt, slice);
    return;
  }
  backend->ops.muon_update(
      &backend->stream,
      &(tr__muon_update_args){
          .p = matrix(opt, store->values, slice),
          .grad = matrix(opt, store->grads, slice),
          .m = tr__tensor_as_rows(tr__store_flat(store, opt->slots[MOMENTUM],
                                                 slice->slot,
                                                 slice->rows * slice->columns),
                                  slice->columns),
          .tail = tr__store_tail(store),
          .block = tr__store_block(store),
          .workspace = tr__tensor_of(opt->workspace, TR_U8, 1, &bytes),
          .lr_scale = slice->lr_scale,
          .momentum = opt->hyper.momentum,
          .weight_decay = slice->weight_decay,
          .scale = scale_of(opt->hyper.scale, slice),
          .nesterov = opt->hyper.nesterov});
}

/* The matrices use the workspace in turn, so the largest need counts. */
static size_t workspace(const tr_optimizer *opt)
{
  tr__backend *backend = opt->store->ctx->backend;
  size_t most = 0;
  for (int i = 0; i < opt->num_slices; i++) {
    const tr__slice *slice = &opt->slices[i];
    const int64_t dims[2] = {slice->rows, slice->columns};
    const tr__muon_update_args args = {
        .p = tr__tensor_of(NULL, opt->store->ctx->dtype, 2, dims)};
    size_t bytes =
        slice->rows == 0
            ? 0
            : backend->type->workspace(backend, TR__OP_muon_update, &args);
    most = bytes > most ? bytes : most;
  }
  return most;
}

static tr_status check(const tr_optimizer *wanted)
{
  const tr__hyper *hyper = &wanted->hyper;
  int scale = (int)hyper->scale;
  TR_CHECK(hyper->momentum < 1, TR_EINVAL,
           "muon: momentum is %g, expected 0 <= momentum < 1", hyper->momentum);
  TR_CHECK(scale == TR_MUON_SCALE_ORIGINAL ||
               scale == TR_MUON_SCALE_MATCH_RMS_ADAMW,
           TR_EINVAL, "muon: scale is %d, expected 0 or 1", scale);
  TR_CHECK(hyper->adamw_lr > 0 && isfinite(hyper->adamw_lr), TR_EINVAL,
           "muon: adamw_lr is %g, expected more than 0; start from "
           "tr_muon_defaults()",
           hyper->adamw_lr);
  TR_CHECK(hyper->adamw_weight_decay >= 0 &&
               isfinite(hyper->adamw_weight_decay),
           TR_EINVAL, "muon: adamw_weight_decay is %g, expected at least 0",
           hyper->adamw_weight_decay);
  return TR_OK;
}

static tr_status random_create(tr_model *net,
                               const tr__random *random,
                               const tr_update_opts *update,
                               tr_optimizer **out)
{
  const tr_param_group all = {.by_adamw = 1};
  tr_muon_opts opts = tr_muon_defaults();
  opts.lr = 1e-3 + 1e-2 * tr__random_uniform(random, 0);
  opts.momentum = 0.1 + 0.85 * tr__random_uniform(random, 1);
  opts.nesterov = tr__random_u32(random, 2) % 2;
  opts.scale = (tr_muon_scale)(tr__random_u32(random, 3) % 2);
  opts.weight_decay = 0.1 * tr__random_uniform(random, 4);
  opts.adamw_lr = 1e-3 + 1e-2 * tr__random_uniform(random, 5);
  opts.adamw_weight_decay = 0.1 * tr__random_uniform(random, 6);
  opts.update = *update;
  if (tr__random_u32(random, 7) % 6 == 0) {
    opts.update.groups = &all;
    opts.update.num_groups = 1;
  }
  return tr_muon_create(net, &opts, out);
}

const tr__optimizer_type tr__muon_type = {
    .name = "muon",
    .grain = TR__GRAIN_MATRIX,
    .num_slots = 2,
    .slots = {"momentum", "exp_avg_sq"},
    .divides = true,
    .update = update,
    .check = check,
    .workspace = workspace,
    .random_create = random_create,
};

tr_muon_opts tr_muon_defaults(void)
{
  tr_adamw_opts adamw = tr_adamw_defaults();
  return (tr_muon_opts){.lr = 1e-3,
                        .momentum = 0.95,
                        .nesterov = 1,
                        .weight_decay = 0.1,
                        .adamw_lr = adamw.lr,
                        .beta1 = adamw.beta1,
                        .beta2 = adamw.beta2,
                        .eps = adamw.eps,
                        .adamw_weight_decay = adamw.weight_decay};
}

tr_status
tr_muon_create(tr_model *net, const tr_muon_opts *opts, tr_optimizer **out)
{
  const tr_optimizer wanted = {
      .type = &tr__muon_type,
      .hyper = {.lr = opts->lr,
                .momentum = opts->momentum,
                .beta1 = opts->beta1,
                .beta2 = opts->beta2,
                .eps = opts->eps,
                .weight_decay = opts->weight_decay,
                .nesterov = opts->nesterov,
                .adamw_lr = opts->adamw_lr,
                .adamw_weight_decay = opts->adamw_weight_decay,
                .scale = opts->scale},
      .schedule = opts->schedule,
      .num_slots = 2};
  return tr__optimizer_create(net, &wanted, &opts->update, out);
}
