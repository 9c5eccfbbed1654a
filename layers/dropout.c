/* Dropout: in training, random elements become 0.
 *
 *   forward   y = x m / (1 - p)     m is 1 with probability 1 - p, else 0
 *   backward  dx = dy m / (1 - p)
 *
 * In evaluation y = x. Backward computes the mask again from counters: it is a
 * function of (seed; element, place in the global batch, step, forwards since
 * then, layer) and therefore the same on any number of ranks. Source:
 * torch.nn.Dropout */
#include <train/activation.h>
#include <train/layers.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_dropout_opts *opts = node->opts;
  TR__CHECK_NODE(opts->p >= 0 && opts->p <= 1, node, TR_EINVAL,
                 "p is %g, expected 0 to 1", opts->p);
  node->shape = *tr__input_shape(net, node, 0);
  node->flags = TR__IN_PLACE;
  return TR_OK;
}

static void drop(const tr__pass *run,
                 const tr__node *node,
                 const tr__tensor *y,
                 const tr__tensor *x)
{
  const tr_dropout_opts *opts = node->opts;
  double p = run->is_training ? opts->p : 0;
  if (p == 0 && y->data == x->data) {
    return;
  }
  run->ops->dropout(
      run->stream,
      &(tr__dropout_args){
          .y = *y,
          .x = *x,
          .block = tr__store_block(&run->net->store),
          .seed = run->net->seed,
          .p = p,
          .stream = tr__random_stream(TR__PURPOSE_DROPOUT, node->index),
          .accumulate = run->is_backward && tr__input_grad_adds(run, node, 0)});
}

static void forward(const tr__pass *run, const tr__node *node)
{
  const tr__tensor x = tr__input(run, node, 0), y = tr__output(run, node);
  drop(run, node, &y, &x);
}

static void backward(const tr__pass *run, const tr__node *node)
{
  const tr__tensor dx = tr__input_grad(run, node, 0);
  const tr__tensor dy = tr__output_grad(run, node);
  drop(run, node, &dx, &dy);
}

static void describe(const tr__node *node, FILE *out)
{
  const tr_dropout_opts *opts = node->opts;
  tr__describe_number(out, "p", opts->p);
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  const tr_shape in = {
      2,
      {1 + tr__random_u32(random, 0) % 11, 1 + tr__random_u32(random, 1) % 13}};
  tr_dropout_opts opts = {.p = tr__random_u32(random, 2) % 5 / 4.0};
  return tr_dropout(net, tr_input(net, in), &opts);
}

const tr__layer_type tr__dropout_type = {
    .name = "dropout",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .describe = describe,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_dropout(tr_model *net, tr_node x, const tr_dropout_opts *opts)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__dropout_type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = opts,
                                            .opts_bytes = sizeof *opts});
}
