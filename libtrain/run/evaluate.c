/* Evaluation, and whether a data set fits a model. */
#include "run/evaluate_impl.h"

#include "base/dataset_impl.h"
#include "model/model_impl.h"

#include <math.h>

/* The first node that has a flag; NULL where there is none. */
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

static tr_status sum_batches(tr_model *net, tr_loader *loader, double *sums)
{
  tr_batch batch;
  while (tr_loader_next(loader, &batch)) {
    double part[TR__TAIL_FAILED];
    TR_TRY(tr_model_forward(net, &batch));
    tr__work_tick(net->ctx->comm->board);
    TR_TRY(tr__model_local_sums(net, part));
    for (int i = 0; i < TR__TAIL_FAILED; i++) {
      sums[i] += part[i];
    }
  }
  return tr_loader_status(loader);
}

static tr_status
evaluate(tr_model *net, tr_loader *loader, double *loss, double *accuracy)
{
  *loss = *accuracy = NAN;
  tr__comm *comm = net->ctx->comm;
  double sums[TR__TAIL_FAILED] = {0};
  /* No messages between the batches: a rank that fails is heard afterwards. */
  tr_model_set_training(net, 0);
  tr_status status = sum_batches(net, loader, sums);
  tr_model_set_training(net, 1);
  TR_TRY(tr__agree(comm, status));
  TR_TRY(comm->type->sum_f64(comm, sums, TR__TAIL_FAILED));
  if (sums[TR__TAIL_WEIGHT] > 0) {
    *loss = sums[TR__TAIL_LOSS] / sums[TR__TAIL_WEIGHT];
    *accuracy = sums[TR__TAIL_CORRECT] / sums[TR__TAIL_WEIGHT];
  }
  if (!tr__has_accuracy(net)) {
    *accuracy = NAN;
  }
  return TR_OK;
}

tr_status
tr__evaluate(tr_model *net, tr_loader *loader, double *loss, double *accuracy)
{
  const tr__board *board = net->ctx->comm->board;
  tr__work before = tr__work_begin(board, TR__WORK_EVALUATION, 0);
  tr_status status = evaluate(net, loader, loss, accuracy);
  tr__work_end(board, before);
  return status;
}
