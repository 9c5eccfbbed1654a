/* What all optimizers have in common: creation, the learning rate, and the step
 * with gradient clipping and loss scale. */
#include "core/suspect_impl.h"
#include "model/access_impl.h"
#include "optim/optimizer_impl.h"
#include "optim/schedule_impl.h"
#include "sync/staging_impl.h"
#include "sync/sync_impl.h"

#include <math.h>
#include <stdlib.h>

/* Steps with finite gradients before the loss scale of float16 doubles.
 * Source: Micikevicius et al. 2018, arXiv:1710.03740; torch.amp.GradScaler */
enum { GROWTH_INTERVAL = 2000 };

/* Without eps and without past gradients in the root, the update divides a
 * gradient by its own magnitude, so that 0 gives NaN: a mistake. */
static tr_status check_begun(const tr_optimizer *wanted)
{
  const tr__hyper *hyper = &wanted->hyper;
  const tr__optimizer_type *type = wanted->type;
  double decay = fmax(hyper->beta2, fmax(hyper->alpha, hyper->first_sum));
  TR_CHECK(!type->divides || hyper->eps > 0 || decay > 0, TR_EINVAL,
           "%s: eps is 0 and so is what past gradients count, as in a struct "
           "that began as zeros: use tr_%s_defaults()",
           type->name, type->name);
  return TR_OK;
}

static tr_status check(tr_model *net, const tr_optimizer *wanted)
{
  const char *name = wanted->type->name;
  const tr__hyper *hyper = &wanted->hyper;
  TR_CHECK(tr__model_store(net) != NULL, TR_ESTATE,
           "tr_%s_create before tr_model_build()", name);
  TR_CHECK(hyper->lr > 0 && isfinite(hyper->lr), TR_EINVAL,
           "%s: lr is %g, expected more than 0", name, hyper->lr);
  TR_CHECK(hyper->weight_decay >= 0 && isfinite(hyper->weight_decay), TR_EINVAL,
           "%s: weight_decay is %g, expected at least 0", name,
           hyper->weight_decay);
  TR_CHECK(hyper->momentum >= 0 && isfinite(hyper->momentum), TR_EINVAL,
           "%s: momentum is %g, expected at least 0", name, hyper->momentum);
  TR_CHECK(hyper->beta1 >= 0 && hyper->beta1 < 1 && hyper->beta2 >= 0 &&
               hyper->beta2 < 1,
           TR_EINVAL,
           "%s: betas are %g and %g, expected 0 <= beta < 1; start from "
           "tr_%s_defaults()",
           name, hyper->beta1, hyper->beta2, name);
  TR_CHECK(hyper->eps >= 0 && isfinite(hyper->eps), TR_EINVAL,
           "%s: eps is %g, expected at least 0", name, hyper->eps);
  TR_TRY(check_begun(wanted));
  TR_CHECK(hyper->alpha >= 0 && hyper->alpha < 1, TR_EINVAL,
           "%s: alpha is %g, expected 0 <= alpha < 1", name, hyper->alpha);
  TR_CHECK(hyper->lr_decay >= 0 && isfinite(hyper->lr_decay) &&
               hyper->first_sum >= 0 && isfinite(hyper->first_sum),
           TR_EINVAL,
           "%s: lr_decay is %g and first_sum %g, expected at least 0", name,
           hyper->lr_decay, hyper->first_sum);
  if (wanted->type->check != NULL) {
    TR_TRY(wanted->type->check(wanted));
  }
  return tr__schedule_check(&wanted->schedule);
}

static tr_status check_update(const char *name, const tr_update_opts *update)
{
  TR_CHECK(update->clip_norm >= 0 && isfinite(update->clip_norm), TR_EINVAL,
           "%s: clip_norm is %g, expected at least 0", name, update->clip_norm);
  int policy = (int)update->on_nonfinite;
  TR_CHECK(policy >= TR_NONFINITE_IGNORE && policy <= TR_NONFINITE_ROLLBACK,
           TR_EINVAL, "%s: on_nonfinite is %d, expected 0 to 3", name, policy);
  return TR_OK;
}

static size_t slot_bytes(const tr_optimizer *opt)
{
  return (size_t)opt->slot_count * tr_dtype_size(opt->store->ctx->dtype);
}

static size_t sums_bytes(const tr_optimizer *opt)
{
  return (size_t)opt->num_sums * sizeof(double);
}

/* Numbers the sums of sum_squares: one per TR__SQUARES_BLOCK elements of a
 * parameter, parameter after parameter. */
static tr_status make_sums(tr_optimizer *opt)
{
  const tr__store *store = opt->store;
  tr__backend *backend = store->ctx->backend;
  opt->first_sum =
      calloc((size_t)store->num_trained + 1, sizeof *opt->first_sum);
  TR_CHECK(opt->first_sum != NULL, TR_ENOMEM, "no memory for an optimizer");
  for (int i = 0; i < store->num_trained; i++) {
    opt->first_sum[i] = opt->num_sums;
    opt->num_sums +=
        (store->params[i].count + TR__SQUARES_BLOCK - 1) / TR__SQUARES_BLOCK;
  }
  return backend->type->alloc(backend, sums_bytes(opt), &opt->norm_sums);
}

/* Allocates slots, workspace and sums, once own_slices are known. */
static tr_status equip(tr_optimizer *opt)
{
  tr__backend *backend = opt->store->ctx->backend;
  for (int i = 0; i < opt->num_slots; i++) {
    if (opt->slot_names[i] == NULL) {
      opt->slot_names[i] = opt->type->slots[i];
    }
    TR_TRY(backend->type->alloc(backend, slot_bytes(opt), &opt->slots[i]));
  }
  if (opt->type->workspace != NULL) {
    opt->workspace_bytes = opt->type->workspace(opt);
    TR_TRY(
        backend->type->alloc(backend, opt->workspace_bytes, &opt->workspace));
  }
  if (opt->clip_norm == 0 && opt->on_nonfinite == TR_NONFINITE_IGNORE &&
      opt->growth_interval == 0) {
    return TR_OK;
  }
  return make_sums(opt);
}

/* Adds the bytes of the state to the totals that the model's plan shows, or
 * subtracts them. */
static void count_bytes(tr_optimizer *opt, int sign)
{
  tr__store *store = opt->store;
  size_t own = slot_bytes(opt) * (size_t)opt->num_slots;
  size_t whole = (size_t)store->count * tr_dtype_size(store->ctx->dtype) *
                 (size_t)opt->num_slots;
  store->state_bytes =
      sign > 0 ? store->state_bytes + own : store->state_bytes - own;
  store->whole_state_bytes = sign > 0 ? store->whole_state_bytes + whole
                                      : store->whole_state_bytes - whole;
}

static tr_status create(tr_model *net,
                        const tr_optimizer *wanted,
                        const tr_update_opts *update,
                        tr_optimizer **out)
{
  TR_TRY(check(net, wanted));
  TR_TRY(check_update(wanted->type->name, update));
  tr_optimizer *opt = malloc(sizeof *opt);
  TR_CHECK(opt != NULL, TR_ENOMEM, "no memory for an optimizer");
  *opt = *wanted;
  opt->net = net;
  opt->store = tr__model_store(net);
  opt->step = tr__model_step(net);
  opt->generation = opt->store->generation;
  opt->clip_norm = update->clip_norm;
  opt->on_nonfinite = update->on_nonfinite;
  opt->plateau.scale = 1;
  opt->growth_interval =
      opt->store->ctx->compute == TR_F16 ? GROWTH_INTERVAL : 0;
  opt->lr_scale = 1;
  tr__optimizer_set_scaler(
      opt, &(tr__scaler){.loss_scale = tr__first_loss_scale(opt->store->ctx)});
  *out = opt;
  return tr__optimizer_make_slices(opt, update);
}

/* Checks that all ranks give the same options. Checkpoints contain the text,
 * but not shard_state. */
static tr_status
agree_on(tr__comm *comm, const tr_optimizer *opt, const tr_update_opts *update)
{
  char rest[64];
  char *text = tr__optimizer_text(opt);
  tr_status status =
      text != NULL ? TR_OK
                   : TR_FAIL(TR_ENOMEM, "no memory for an optimizer's options");
  status = tr__agree(comm, status);
  if (status == TR_OK) {
    status = tr__agree_text(comm, "optimizers", text);
  }
  free(text);
  TR_TRY(status);
  snprintf(rest, sizeof rest, "shard_state %d\n", update->shard_state != 0);
  return tr__agree_text(comm, "optimizers", rest);
}

static tr_status create_on_all(tr_model *net,
                               const tr_optimizer *wanted,
                               const tr_update_opts *update,
                               tr_optimizer **out)
{
  tr__comm *comm = tr__model_context(net)->comm;
  TR_TRY(tr__agree(comm, create(net, wanted, update, out)));
  TR_TRY(agree_on(comm, *out, update));
  TR_TRY(
      tr__agree(comm, tr__optimizer_partition(net, *out, update->shard_state)));
  TR_TRY(tr__agree(comm, equip(*out)));
  return TR_OK;
}

tr_status tr__optimizer_create(tr_model *net,
                               const tr_optimizer *wanted,
                               const tr_update_opts *update,
                               tr_optimizer **out)
{
  *out = NULL;
  tr_status status = create_on_all(net, wanted, update, out);
  if (status != TR_OK) {
    tr_optimizer_destroy(out);
    return tr_error_push(status, __FILE__, __LINE__);
  }
  (*out)->is_counted = true;
  count_bytes(*out, 1);
  return TR_OK;
}

tr_status tr__optimizer_check(const tr_optimizer *opt)
{
  TR_CHECK(opt->generation == opt->store->generation, TR_ESTATE,
           "%s: the model was built again since this optimizer was made: "
           "destroy it and make a new one",
           opt->type->name);
  return TR_OK;
}

void tr_optimizer_destroy(tr_optimizer **opt)
{
  if (opt == NULL || *opt == NULL) {
    return;
  }
  tr__backend *backend = (*opt)->store->ctx->backend;
  backend->type->wait(&backend->stream);
  if ((*opt)->is_counted && (*opt)->generation == (*opt)->store->generation) {
    count_bytes(*opt, -1);
  }
  for (int i = 0; i < (*opt)->num_slots; i++) {
    backend->type->free(backend, (*opt)->slots[i], slot_bytes(*opt));
  }
  backend->type->free(backend, (*opt)->norm_sums, sums_bytes(*opt));
  backend->type->free(backend, (*opt)->workspace, (*opt)->workspace_bytes);
  tr__optimizer_unpartition(*opt);
  free((*opt)->first_sum);
  free((*opt)->slices);
  free(*opt);
  *opt = NULL;
}

tr__tensor
tr__optimizer_slot(const tr_optimizer *opt, int i, const tr__slice *slice)
{
  if (i >= opt->num_slots) {
    return (tr__tensor){.data = NULL};
  }
  return tr__store_flat(opt->store, opt->slots[i], slice->slot, slice->count);
}

double tr_optimizer_lr(const tr_optimizer *opt)
{
  double lr = tr__schedule_lr(&opt->schedule, opt->hyper.lr, opt->num_steps);
  return opt->lr_scale * opt->plateau.scale * lr /
         (1 + (double)opt->num_steps * opt->hyper.lr_decay);
}

double tr_optimizer_lr_scale(const tr_optimizer *opt)
{
  return opt->lr_scale;
}

tr_status tr_optimizer_set_lr_scale(tr_optimizer *opt, double scale)
{
  TR_CHECK(scale > 0 && isfinite(scale), TR_EINVAL,
           "tr_optimizer_set_lr_scale: scale is %g, expected more than 0",
           scale);
  opt->lr_scale = scale;
  return TR_OK;
}

tr_status tr_optimizer_report(tr_optimizer *opt, double metric)
{
  TR_CHECK(opt->schedule.kind == TR_SCHEDULE_PLATEAU, TR_ESTATE,
           "tr_optimizer_report: the schedule is of kind %d, expected "
           "TR_SCHEDULE_PLATEAU",
           (int)opt->schedule.kind);
  TR_CHECK(!isnan(metric), TR_EINVAL, "tr_optimizer_report: metric is NaN");
  tr__plateau_report(&opt->schedule, &opt->plateau, metric);
  return TR_OK;
}

int64_t tr_optimizer_num_steps(const tr_optimizer *opt)
{
  return opt->num_steps;
}

void tr__optimizer_set_steps(tr_optimizer *opt, int64_t num_steps)
{
  opt->num_steps = num_steps;
  opt->step->num_steps = num_steps;
}

/* Uploads lr to skip of the step block. Forward has written what lies in front
 * of them, and clip_factor keeps what lies behind. */
static void upload_numbers(const tr_optimizer *opt)
{
  double t = (double)(opt->num_steps + 1);
  const tr__step_block block = {.lr = tr_optimizer_lr(opt),
                                .correction1 = 1.0 - pow(opt->hyper.beta1, t),
                                .correction2 = 1.0 - pow(opt->hyper.beta2, t),
                                .first = opt->num_steps == 0,
                                .step = t,
                                .grad_scale = 1};
  size_t skip = offsetof(tr__step_block, lr);
  size_t end = offsetof(tr__step_block, grad_norm);
  tr__backend *backend = opt->store->ctx->backend;
  backend->type->upload(&backend->stream, (char *)opt->store->block + skip,
                        (const char *)&block + skip, end - skip);
}

/* Sums of squares of this rank's gradients, and with a partition an all-reduce.
 * It is exact: one rank computes each sum, and the others add 0. */
static tr_status find_squares(const tr_optimizer *opt)
{
  const tr__store *store = opt->store;
  tr__backend *backend = store->ctx->backend;
  double *sums = opt->norm_sums;
  if (opt->partition != NULL) {
    backend->ops.fill(
        &backend->stream,
        &(tr__fill_args){.y = tr__tensor_of(sums, TR_F64, 1, &opt->num_sums)});
  }
  for (int i = 0; i < store->num_trained; i++) {
    const tr__param *param = &store->params[i];
    tr__slice piece;
    int at = 0;
    while (tr__optimizer_next_slice(opt, param, &at, &piece)) {
      int64_t first = (piece.offset - param->offset) / TR__SQUARES_BLOCK;
      int64_t count = (piece.count + TR__SQUARES_BLOCK - 1) / TR__SQUARES_BLOCK;
      backend->ops.sum_squares(
          &backend->stream,
          &(tr__sum_squares_args){
              .x = tr__store_flat(store, store->grads, piece.offset,
                                  piece.count),
              .sums = tr__tensor_of(sums + opt->first_sum[i] + first, TR_F64, 1,
                                    &count)});
    }
  }
  return opt->partition != NULL
             ? tr__staged_allreduce(store->ctx, sums, opt->num_sums, TR_F64)
             : TR_OK;
}

static tr_status find_clip_factor(const tr_optimizer *opt)
{
  const tr__store *store = opt->store;
  tr__backend *backend = store->ctx->backend;
  tr__tensor sums = tr__tensor_of(opt->norm_sums, TR_F64, 1, &opt->num_sums);
  TR_TRY(find_squares(opt));
  backend->ops.clip_factor(
      &backend->stream, &(tr__clip_factor_args){
                            .tail = tr__store_tail(store),
                            .sums = sums,
                            .block = tr__store_block(store),
                            .limit = opt->clip_norm,
                            .beta1 = opt->hyper.beta1,
                            .beta2 = opt->hyper.beta2,
                            .growth_interval = opt->growth_interval,
                            .skips = opt->on_nonfinite != TR_NONFINITE_IGNORE ||
                                     opt->growth_interval > 0});
  return TR_OK;
}

static tr_status read_block(const tr_optimizer *opt, tr__step_block *block)
{
  tr__backend *backend = opt->store->ctx->backend;
  return backend->type->download(&backend->stream, block, opt->store->block,
                                 sizeof *block);
}

/* The mean loss of all batches since the last step. Without weight it is 0, as
 * in tr_model_loss(), unless the sum of losses is not finite. */
static tr_status read_loss(const tr_optimizer *opt, double *loss)
{
  const tr__store *store = opt->store;
  tr__backend *backend = store->ctx->backend;
  bool is_double = store->ctx->dtype == TR_F64;
  double tail[TR__TAIL_FAILED];
  float narrow[TR__TAIL_FAILED];
  TR_TRY(backend->type->download(
      &backend->stream, is_double ? (void *)tail : narrow,
      tr__store_tail(store).data,
      TR__TAIL_FAILED * tr_dtype_size(store->ctx->dtype)));
  for (int i = 0; i < TR__TAIL_FAILED && !is_double; i++) {
    tail[i] = (double)narrow[i];
  }
  double sum = tr__tail_loss(tail), weight = tail[TR__TAIL_WEIGHT];
  *loss = weight != 0 || !isfinite(sum) ? sum / weight : 0;
  return TR_OK;
}

/* Loss and norm are equal on all ranks, so all ranks return the same status. */
static tr_status check_finite(const tr_optimizer *opt)
{
  tr__step_block block;
  TR_TRY(read_block(opt, &block));
  if (block.skip == 0) {
    return TR_OK;
  }
  double loss = 0;
  TR_TRY(read_loss(opt, &loss));
  /* clip_factor has halved the loss scale. While it is 1 or more, an overflow
   * of float16 may be the cause, which is no failure. */
  bool is_overflow = opt->growth_interval > 0 && block.loss_scale >= 1;
  if (isfinite(loss) && is_overflow) {
    return TR_OK;
  }
  const tr__senseless found = {.status = TR_ENUMERIC,
                               .what = isfinite(loss) ? "gradient" : "loss",
                               .step = opt->num_steps + 1,
                               .value = isfinite(loss) ? (double)NAN : loss,
                               .effect = "; nothing was changed",
                               .lr = tr_optimizer_lr(opt)};
  return tr__suspect_fail(opt->store->ctx, &found);
}

/* Names this rank's bad sample only, which needs no message. */
static tr_status warn_of_sample(const tr_optimizer *opt)
{
  tr__step_block block;
  TR_TRY(read_block(opt, &block));
  tr__suspect_warn(opt->store->ctx, block.skip != 0
                                        ? "this step is skipped"
                                        : "this step has a loss without sense");
  return TR_OK;
}

tr_status
tr_optimizer_grad_norm(tr_optimizer *opt, double *norm, int64_t *skipped)
{
  *norm = 0;
  TR_CHECK(opt->norm_sums != NULL, TR_ESTATE,
           "tr_optimizer_grad_norm: neither clip_norm nor on_nonfinite asks "
           "for the norm");
  tr__step_block block;
  TR_TRY(read_block(opt, &block));
  *norm = block.grad_norm;
  if (skipped != NULL) {
    *skipped = (int64_t)block.num_skipped;
  }
  return TR_OK;
}

tr_status tr_optimizer_loss_scale(tr_optimizer *opt, double *scale)
{
  *scale = 0;
  tr__scaler scaler = {0};
  TR_TRY(tr__optimizer_get_scaler(opt, &scaler));
  *scale = scaler.loss_scale;
  return TR_OK;
}

tr_status tr__optimizer_get_scaler(const tr_optimizer *opt, tr__scaler *out)
{
  tr__step_block block;
  TR_TRY(read_block(opt, &block));
  *out = (tr__scaler){block.num_skipped, block.loss_scale, block.good_steps};
  return TR_OK;
}

void tr__optimizer_set_scaler(tr_optimizer *opt, const tr__scaler *scaler)
{
  tr__backend *backend = opt->store->ctx->backend;
  char *block = opt->store->block;
  backend->type->upload(&backend->stream,
                        block + offsetof(tr__step_block, num_skipped), scaler,
                        sizeof *scaler);
}

/* Updates this rank's slices; with a partition, an all-gather brings the
 * others. */
static tr_status update(tr_optimizer *opt, bool may_defer)
{
  for (int i = 0; i < opt->num_own_slices; i++) {
    opt->type->update(opt, &opt->own_slices[i]);
  }
  if (opt->partition == NULL) {
    return TR_OK;
  }
  tr_status status = tr__sync_gather_values(opt->net, may_defer);
  opt->store->ctx->torn |= status != TR_OK;
  return tr_error_push(status, __FILE__, __LINE__);
}

static tr_status step(tr_optimizer *opt, bool may_defer)
{
  tr__store *store = opt->store;
  tr_context *ctx = store->ctx;
  bool is_local = opt->step->gradients == TR__GRADIENTS_LOCAL;
  TR_TRY(tr__optimizer_check(opt));
  TR_TRY(
      tr__step_check(opt->step, TR__STEP_UPDATE,
                     is_local ? ctx->comm->size == 1 : opt->partition != NULL));
  if (ctx->pending != TR_OK) {
    return TR_FAIL(ctx->pending, "%s", ctx->pending_message);
  }
  double begin = tr__timeline_begin(ctx->timeline);
  bool may_stop = opt->on_nonfinite >= TR_NONFINITE_STOP;
  tr__scaler before = {0};
  if (may_stop) {
    TR_TRY(tr__optimizer_get_scaler(opt, &before));
  }
  if (is_local) {
    tr__store_add_uses(store);
  }
  upload_numbers(opt);
  if (opt->norm_sums != NULL) {
    TR_TRY(find_clip_factor(opt));
  }
  if (may_stop) {
    tr_status status = check_finite(opt);
    if (status != TR_OK) {
      tr__optimizer_set_scaler(opt, &before); /* undo clip_factor's counts */
      tr__step_clear(opt->step);
      return tr_error_push(status, __FILE__, __LINE__);
    }
  }
  if (opt->on_nonfinite == TR_NONFINITE_SKIP && tr__suspect_is_new(ctx)) {
    TR_TRY(warn_of_sample(opt));
  }
  TR_TRY(update(opt, may_defer));
  tr__store_changed(store);
  opt->num_steps++;
  opt->step->num_steps++;
  tr__step_clear(opt->step);
  tr__timeline_end(ctx->timeline, begin, "optimizer", opt->type->name);
  return TR_OK;
}

tr_status tr__optimizer_step(tr_optimizer *opt, bool may_defer)
{
  const tr__status_board *board = opt->store->ctx->comm->board;
  tr__work before = tr__work_begin(board, TR__WORK_UPDATE, 0);
  tr_status status = step(opt, may_defer);
  tr__work_end(board, before);
  return status;
}

tr_status tr_optimizer_step(tr_optimizer *opt)
{
  return tr__optimizer_step(opt, false);
}
