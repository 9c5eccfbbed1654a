/* Evaluation of a model on a data set, and the check that a data set fits the
 * model. */
#include "data/loader_impl.h"
#include "run/evaluate_impl.h"
#include "sync/sync_impl.h"

#include "core/dataset_impl.h"
#include "core/suspect_impl.h"
#include "model/model_impl.h"

#include <math.h>
#include <stdlib.h>

/* The first node with a flag; NULL if there is none. */
static const tr__node *find_node(const tr_model *net, int flag)
{
  for (int i = 0; i < net->num_nodes; i++) {
    if (net->nodes[i].flags & flag) {
      return &net->nodes[i];
    }
  }
  return NULL;
}

bool tr__has_accuracy(const tr_model *net)
{
  const tr__node *loss = find_node(net, TR__IS_LOSS);
  return loss != NULL && loss->saved[0].dtype == TR_I32;
}

tr_status tr__check_samples(const tr_model *net, const tr_loader *loader)
{
  const tr__node *input = find_node(net, TR__IS_INPUT);
  if (loader == NULL || input == NULL) {
    return TR_OK;
  }
  char expected[TR__SHAPE_BYTES], got[TR__SHAPE_BYTES];
  const tr_dataset *data = tr__loader_dataset(loader);
  TR_CHECK(tr__shape_equal(&input->output.shape, &data->shape), TR_ESHAPE,
           "%s: samples are %s, the model's input \"%s\" wants %s", data->name,
           tr__shape_text(&data->shape, got), input->name,
           tr__shape_text(&input->output.shape, expected));
  const tr__node *loss = find_node(net, TR__IS_LOSS);
  bool has_classes = data->target_dtype == TR_I32;
  TR_CHECK(loss == NULL || has_classes == tr__has_accuracy(net), TR_ESHAPE,
           "%s: targets are %s, the loss \"%s\" wants %s", data->name,
           has_classes ? "classes" : "numbers", loss->name,
           has_classes ? "numbers" : "classes");
  return TR_OK;
}

/* This rank's sums of each batch: (batches, TR__TAIL_FAILED). */
typedef struct batch_sums {
  double *values;
  int64_t count, room; /* batches */
} batch_sums;

static tr_status make_room(batch_sums *sums)
{
  if (sums->count < sums->room) {
    return TR_OK;
  }
  int64_t room = tr__max(64, 2 * sums->room);
  double *grown =
      realloc(sums->values, (size_t)room * TR__TAIL_FAILED * sizeof *grown);
  TR_CHECK(grown != NULL, TR_ENOMEM, "no memory for the sums of %lld batches",
           (long long)room);
  sums->values = grown;
  sums->room = room;
  return TR_OK;
}

static tr_status sum_batches(tr_model *net, tr_loader *loader, batch_sums *sums)
{
  tr_batch batch;
  while (tr_loader_next(loader, &batch)) {
    TR_TRY(make_room(sums));
    TR_TRY(tr_model_forward(net, &batch));
    tr__status_heartbeat(net->ctx->comm->board);
    TR_TRY(
        tr__loss_local_sums(net, sums->values + sums->count * TR__TAIL_FAILED));
    sums->count++;
  }
  return tr_loader_status(loader);
}

/* Reads to the end of the epoch even after a failure, so that all ranks begin
 * the next epoch together. */
static tr_status sum_epoch(tr_model *net, tr_loader *loader, batch_sums *sums)
{
  tr_status status = sum_batches(net, loader, sums);
  if (status != TR_OK) {
    tr_batch batch;
    while (tr_loader_next(loader, &batch)) {
    }
  }
  return status;
}

/* Sum each batch over ranks, then the batches. If sums over ranks do not depend
 * on the number of ranks, neither does this sum. */
static tr_status sum_over_ranks(tr_model *net, batch_sums *sums, double *totals)
{
  tr_context *ctx = net->ctx;
  enum { BATCHES = 1 << 20 };
  for (int64_t done = 0; done < sums->count; done += BATCHES) {
    int64_t count = tr__min(BATCHES, sums->count - done);
    double *values = sums->values + done * TR__TAIL_FAILED;
    TR_TRY(tr__comm_sum(ctx->comm, ctx->dtype, values,
                        tr__int(count) * TR__TAIL_FAILED));
    for (int64_t i = 0; i < count * TR__TAIL_FAILED; i++) {
      totals[i % TR__TAIL_FAILED] += values[i];
    }
  }
  return TR_OK;
}

/* A model may diverge, and its loss then shows that. A sample that cannot be
 * computed with is a failure. */
static tr_status check_data(tr_context *ctx, const double *sums)
{
  double loss = tr__tail_loss(sums) / sums[TR__TAIL_WEIGHT];
  if (sums[TR__TAIL_WEIGHT] == 0 || fabs(loss) < TR__SENSELESS_MEAN) {
    ctx->suspect.step = 0; /* this batch is of no training step */
    return TR_OK;
  }
  const tr__senseless found = {
      .status = TR_EDATA, .what = "loss", .value = loss, .effect = ""};
  return tr__suspect_blame(ctx, &found);
}

static tr_status
evaluate(tr_model *net, tr_loader *loader, double *loss, double *accuracy)
{
  *loss = *accuracy = NAN;
  tr_context *ctx = net->ctx;
  tr_status before = ctx->pending;
  double sums[TR__TAIL_FAILED] = {0};
  batch_sums batches = {0};
  ctx->suspect.step = 0; /* samples found from here on are of this evaluation */
  /* No messages between batches: ranks agree on a failure after the last. */
  tr_model_set_training(net, 0);
  tr_status status = sum_epoch(net, loader, &batches);
  tr_model_set_training(net, 1);
  status = tr__agree(ctx->comm, status);
  if (before == TR_OK) {
    ctx->pending = TR_OK; /* failures of this evaluation are agreed on by now */
  }
  if (status == TR_OK) {
    status = sum_over_ranks(net, &batches, sums);
  }
  free(batches.values);
  TR_TRY(status);
  if (sums[TR__TAIL_WEIGHT] > 0) {
    *loss = tr__tail_loss(sums) / sums[TR__TAIL_WEIGHT];
    *accuracy = sums[TR__TAIL_CORRECT] / sums[TR__TAIL_WEIGHT];
  }
  if (!tr__has_accuracy(net)) {
    *accuracy = NAN;
  }
  return check_data(ctx, sums);
}

tr_status
tr__evaluate(tr_model *net, tr_loader *loader, double *loss, double *accuracy)
{
  const tr__status_board *board = net->ctx->comm->board;
  tr__work before = tr__work_begin(board, TR__WORK_EVALUATION, 0);
  tr_status status = evaluate(net, loader, loss, accuracy);
  tr__work_end(board, before);
  return status;
}
