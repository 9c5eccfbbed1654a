/* tr_model_forward() and tr_model_backward() of one batch, and access to the
 * outputs. Communication happens in the hooks of tr__step_hooks. */
#include "model/model_impl.h"

tr__shards tr__model_shards(const tr_model *net)
{
  const tr__comm *comm = net->ctx->comm;
  if (comm->shards.total == 0) {
    return tr__one_shard(net->rows);
  }
  int64_t first = comm->shards.first[comm->rank];
  /* If this rank could not read its batch, its shards are empty too. */
  return (tr__shards){.rows = net->rows > 0 ? net->global_rows : 0,
                      .total = comm->shards.total,
                      .first = first,
                      .count = comm->shards.first[comm->rank + 1] - first};
}

static tr__pass make_run(tr_model *net, bool is_backward)
{
  tr__backend *backend = net->ctx->backend;
  return (tr__pass){.net = net,
                    .stream = &backend->stream,
                    .ops = &backend->ops,
                    .shards = net->shards,
                    .rows = net->rows,
                    .is_training = !net->is_evaluating,
                    .is_backward = is_backward,
                    .has_weights = net->has_weights};
}

/* The last forward before the first backward of a step fixes the weight that
 * all gradients of the step are divided by. The optimizer corrects for the true
 * weight. Each forward in training has its own random numbers, whether or not a
 * backward follows. */
static void upload_seed(tr_model *net)
{
  tr__step_state *step = &net->step;
  tr__step_begin_forward(step, (double)net->global_rows);
  int64_t i = net->is_evaluating ? 0 : step->num_forwards++;
  const tr__step_block block = {.seed_scale = 1.0 / step->planned,
                                .planned = step->planned,
                                .rng_step =
                                    (double)(step->num_steps * 256 + i % 256),
                                .rng_first = (double)net->first_row,
                                .rng_round = (double)(i / 256)};
  size_t bytes = offsetof(tr__step_block, lr);
  tr__backend *backend = net->ctx->backend;
  backend->type->upload(&backend->stream, net->store.block, &block, bytes);
}

void tr__model_compute(tr_model *net, const tr_batch *batch)
{
  tr__model_upload(net, batch);
  const tr__pass run = make_run(net, false);
  tr__timeline *timeline = net->ctx->timeline;
  double all = tr__timeline_begin(timeline);
  for (int i = 0; i < net->num_nodes; i++) {
    const tr__node *node = &net->nodes[i];
    if (!node->is_skipped && !(node->flags & TR__IS_INPUT)) {
      net->ctx->step_hooks->before_node(net, node);
      double begin = tr__timeline_begin(timeline);
      node->type->forward(&run, node);
      tr__timeline_end(timeline, begin, "forward", node->name);
    }
  }
  tr__timeline_end(timeline, all, "forward", "forward");
}

void tr_model_set_training(tr_model *net, int is_training)
{
  net->is_evaluating = !is_training;
}

static tr_status forward(tr_model *net, const tr_batch *batch)
{
  TR_TRY(tr__model_check_batch(net, batch));
  net->rows = batch->count;
  net->global_rows = batch->global_count;
  net->shards = tr__model_shards(net);
  net->first_row = batch->first;
  net->has_weights = batch->weights != NULL;
  upload_seed(net);
  if (net->store.values16 != NULL) {
    net->ctx->step_hooks->before_node(net, NULL);
  }
  tr__store_refresh(&net->store, &net->ctx->backend->stream);
  tr__model_compute(net, batch);
  TR_TRY(net->ctx->step_hooks->after_forward(net));
  tr__model_look_at(net, batch);
  tr__step_end_forward(&net->step);
  return TR_OK;
}

tr_status tr_model_forward(tr_model *net, const tr_batch *batch)
{
  const tr__status_board *board = net->ctx->comm->board;
  tr__work before =
      tr__work_begin(board, TR__WORK_FORWARD, net->step.num_steps + 1);
  tr_status status = forward(net, batch);
  tr__work_end(board, before);
  return status;
}

/* grads.tail <- its sums plus those of this batch */
static void add_sums(tr_model *net)
{
  const tr__pass run = make_run(net, true);
  tr__tensor tail = tr__store_tail(&net->store);
  if (net->step.gradients == TR__GRADIENTS_CLEAR) {
    run.ops->fill(run.stream, &(tr__fill_args){.y = tail});
  }
  int64_t count = TR__TAIL_COUNT;
  tr__tensor sums = tr__tensor_of(net->sums, net->ctx->dtype, 1, &count);
  run.ops->add(run.stream, &(tr__add_args){.y = tail, .x = sums});
}

static void run_backward(tr_model *net)
{
  const tr__pass run = make_run(net, true);
  net->backward_rows = net->rows;
  if (net->step.gradients == TR__GRADIENTS_CLEAR) {
    tr__model_clear_owners(net);
  }
  tr__timeline *timeline = net->ctx->timeline;
  double all = tr__timeline_begin(timeline);
  for (int i = net->num_nodes - 1; i >= 0; i--) {
    const tr__node *node = &net->nodes[i];
    if (node->wants_gradient && !(node->flags & TR__IS_INPUT)) {
      double begin = tr__timeline_begin(timeline);
      node->type->backward(&run, node);
      tr__timeline_end(timeline, begin, "backward", node->name);
    }
    net->ctx->step_hooks->after_node(net, i);
  }
  tr__timeline_end(timeline, all, "backward", "backward");
  tr__step_end_backward(&net->step);
}

static tr_status backward(tr_model *net)
{
  TR_TRY(tr__step_check(&net->step, TR__STEP_BACKWARD, false));
  TR_CHECK(net->num_losses > 0, TR_ESTATE,
           "tr_model_backward: the model has no loss");
  if (net->step.gradients != TR__GRADIENTS_CLEAR) {
    TR_TRY(net->ctx->step_hooks->begin_micro_batch(net));
  }
  add_sums(net);
  run_backward(net);
  return TR_OK;
}

tr_status tr_model_backward(tr_model *net)
{
  const tr__status_board *board = net->ctx->comm->board;
  tr__work before = tr__work_begin(board, TR__WORK_BACKWARD, 0);
  tr_status status = backward(net);
  tr__work_end(board, before);
  return status;
}

tr_status tr__model_backward_from(tr_model *net, const void *gradient)
{
  TR_CHECK(net->step.activations == TR__ACTIVATIONS_FORWARD &&
               net->num_losses == 0,
           TR_ESTATE,
           "tr__model_backward_from: no forward, or the model has a loss");
  TR_TRY(
      tr__write_rows(net, &net->nodes[net->num_nodes - 1].gradient, gradient));
  add_sums(net);
  run_backward(net);
  return TR_OK;
}

static bool is_readable(const tr_model *net, tr_node node)
{
  return node.index >= 0 && node.index < net->num_nodes &&
         net->nodes[node.index].is_kept;
}

size_t tr_model_output_bytes(const tr_model *net, tr_node node)
{
  return net->step.activations != TR__ACTIVATIONS_NONE && is_readable(net, node)
             ? tr__rows_bytes(net, &net->nodes[node.index].output)
             : 0;
}

tr_status tr_model_get_output(tr_model *net, tr_node node, void *values)
{
  TR_CHECK(net->step.activations != TR__ACTIVATIONS_NONE, TR_ESTATE,
           "tr_model_get_output before tr_model_forward()");
  TR_CHECK(is_readable(net, node), TR_EINVAL,
           "tr_model_get_output: the node's memory is used again; call "
           "tr_model_keep() before tr_model_build()");
  return tr__read_rows(net, &net->nodes[node.index].output, values);
}

tr_status tr__model_get_node_gradient(tr_model *net, int node, void *values)
{
  const tr__slot *slot = &net->nodes[node].gradient;
  TR_CHECK(net->step.activations == TR__ACTIVATIONS_BACKWARD && slot->bytes > 0,
           TR_ESTATE, "tr__model_get_node_gradient: there is none");
  return tr__read_rows(net, slot, values);
}
