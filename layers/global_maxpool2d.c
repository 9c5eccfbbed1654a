/* Global maximum pool: the largest value of each channel.
 *
 *   forward   y[n,c] = max over h,w of x[n,c,h,w]
 *   backward  dx = dy at the first maximum in row-major order, else 0
 *
 *   x (N, C, H, W), y (N, C). Source: torch.nn.AdaptiveMaxPool2d(1) */
#include "layers/layer_table_impl.h"
#include "layers/window_impl.h"

#include <limits.h>
#include <train/layers.h>

enum { INDEX };

static tr_status infer(tr_model *net, tr__node *node)
{
  TR_TRY(tr__check_image(net, node, 2));
  const tr_shape *x = tr__input_shape(net, node, 0);
  TR__CHECK_NODE(x->dims[1] <= INT_MAX / x->dims[2], node, TR_ESHAPE,
                 "%lld x %lld values per channel are too many for the index",
                 (long long)x->dims[1], (long long)x->dims[2]);
  node->shape = (tr_shape){1, {x->dims[0]}};
  tr__declare_saved(node, TR_I32, node->shape);
  return TR_OK;
}

/* One value per channel as an image of 1 x 1. */
static tr__tensor point(tr__tensor t)
{
  t.ndim = 3;
  t.dims[2] = 1;
  return tr__volume(t);
}

static void forward(const tr__pass *run, const tr__node *node)
{
  tr__tensor x = tr__volume(tr__input(run, node, 0));
  tr__window whole = {.kernel = {1, x.dims[3], x.dims[4]},
                      .stride = {1, 1, 1},
                      .dilation = {1, 1, 1},
                      .groups = 1};
  run->ops->maxpool_forward(
      run->stream,
      &(tr__maxpool_forward_args){.y = point(tr__output(run, node)),
                                  .x = x,
                                  .index = point(tr__saved(run, node, INDEX)),
                                  .window = whole});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  run->ops->maxpool_backward(
      run->stream, &(tr__maxpool_backward_args){
                       .dx = tr__volume(tr__input_grad(run, node, 0)),
                       .dy = point(tr__output_grad(run, node)),
                       .index = point(tr__saved(run, node, INDEX)),
                       .accumulate = tr__input_grad_adds(run, node, 0)});
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  const tr_shape in = {3,
                       {1 + tr__random_u32(random, 0) % 9,
                        1 + tr__random_u32(random, 1) % 8,
                        1 + tr__random_u32(random, 2) % 8}};
  return tr_global_maxpool2d(net, tr_input(net, in));
}

const tr__layer_type tr__global_maxpool2d_type = {
    .name = "global_maxpool2d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_global_maxpool2d(tr_model *net, tr_node x)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__global_maxpool2d_type,
                                            .inputs = &x,
                                            .num_inputs = 1});
}
