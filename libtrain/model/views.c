/* The tensors that a layer sees during one forward or backward: views into the
 * arenas with this step's number of rows. */
#include "model/node_impl.h"

static tr__tensor view(const tr__pass *run, const tr__slot *slot)
{
  char *arena = run->net->activations;
  if (slot->is_single) {
    return tr__tensor_of(arena + slot->offset, slot->dtype, slot->shape.ndim,
                         slot->shape.dims);
  }
  int64_t dims[TR_MAX_DIMS] = {run->rows};
  for (int i = 0; i < slot->shape.ndim; i++) {
    dims[i + 1] = slot->shape.dims[i];
  }
  return tr__tensor_of(arena + slot->offset, slot->dtype, slot->shape.ndim + 1,
                       dims);
}

tr__tensor tr__output(const tr__pass *run, const tr__node *node)
{
  return view(run, &node->output);
}

tr__tensor tr__input(const tr__pass *run, const tr__node *node, int i)
{
  return view(run, &run->net->nodes[node->inputs[i]].output);
}

tr__tensor tr__saved(const tr__pass *run, const tr__node *node, int i)
{
  return view(run, &node->saved[i]);
}

tr__tensor tr__value(const tr__pass *run, const tr__node *node, int i)
{
  const tr__store *store = &run->net->store;
  return tr__store_tensor(store, store->values,
                          &store->params[node->params[i]]);
}

tr__tensor tr__weight(const tr__pass *run, const tr__node *node, int i)
{
  const tr__store *store = &run->net->store;
  tr__tensor value = tr__value(run, node, i);
  if (store->values16 != NULL) {
    int64_t offset = store->params[node->params[i]].offset;
    value.dtype = store->ctx->compute;
    value.data = (uint16_t *)store->values16 + offset;
  }
  return value;
}

tr__tensor tr__grad(const tr__pass *run, const tr__node *node, int i)
{
  const tr__store *store = &run->net->store;
  const tr__param *param = &store->params[node->params[i]];
  tr__tensor grad = tr__store_tensor(store, store->grads, param);
  if (!tr__param_is_trained(param)) {
    grad.data = NULL;
  } else if (store->ctx->comm->shards.total > 0 && node->is_tied[i]) {
    grad.data = tr__store_use_grad(store, param, node->tied_use[i]).data;
  }
  return grad;
}

int tr__grads_add(const tr__pass *run, const tr__node *node)
{
  bool adds = false;
  if (run->net->step.gradients != TR__GRADIENTS_CLEAR) {
    return 1;
  }
  for (int i = 0; i < node->num_params; i++) {
    adds |= node->param_grad_adds[i];
  }
  for (int i = 0; i < node->num_params && adds; i++) {
    const tr__tensor grad = tr__grad(run, node, i);
    if (!node->param_grad_adds[i] && grad.data != NULL) {
      run->ops->fill(run->stream, &(tr__fill_args){.y = grad});
    }
  }
  return adds;
}

tr__tensor tr__workspace(const tr__pass *run, const tr__node *node)
{
  size_t bytes = run->is_backward ? node->backward_bytes : node->forward_bytes;
  size_t offset =
      run->is_backward ? node->backward_workspace : node->forward_workspace;
  int64_t count = (int64_t)bytes;
  char *arena = run->net->activations;
  return tr__tensor_of(bytes > 0 ? arena + offset : NULL, TR_U8, 1, &count);
}

tr__tensor tr__sample_weights(const tr__pass *run)
{
  if (!run->has_weights) {
    return (tr__tensor){.data = NULL};
  }
  return view(run, &run->net->weights);
}

tr__tensor tr__loss_sums(const tr__pass *run)
{
  int64_t count = TR__TAIL_COUNT;
  return tr__tensor_of(run->net->sums, run->net->ctx->dtype, 1, &count);
}

static double rows_of(const tr__node *loss)
{
  return loss->loss_rows == 0 ? 1 : (double)loss->loss_rows;
}

double tr__loss_scale(const tr__pass *run, const tr__node *node)
{
  const tr__node *first = &run->net->nodes[run->net->first_loss];
  return node->loss_weight * rows_of(first) / rows_of(node);
}

tr__tensor tr__output_grad(const tr__pass *run, const tr__node *node)
{
  return view(run, &node->gradient);
}

tr__tensor tr__input_grad(const tr__pass *run, const tr__node *node, int i)
{
  const tr__node *input = &run->net->nodes[node->inputs[i]];
  if (!input->wants_gradient) {
    return (tr__tensor){.data = NULL};
  }
  return view(run, &input->gradient);
}

int tr__input_grad_adds(const tr__pass *run, const tr__node *node, int i)
{
  (void)run;
  return node->input_grad_adds[i];
}
