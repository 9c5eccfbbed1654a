/* MaxPool2d: the largest value of each window.
 *
 *   forward   y[n,c,p,q] = max over i,j of x[n, c, p*stride + i - padding,
 *                                                  q*stride + j - padding]
 *   backward  dx = dy at the first maximum in row-major order, else 0;
 *             windows that overlap add
 *
 *   x (N, C, H, W), y (N, C, P, Q). Source: torch.nn.MaxPool2d */
#include <train/layers.h>

#include "layers/table_impl.h"
#include "layers/window_impl.h"

#include <limits.h>

enum { INDEX };

static tr__window window_of(const tr_pool2d_opts *opts)
{
  return tr__square_window(opts->kernel,
                           opts->stride == 0 ? opts->kernel : opts->stride,
                           opts->padding);
}

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_pool2d_opts *opts = node->opts;
  const tr__window window = window_of(opts);
  TR__CHECK_NODE(opts->padding <= opts->kernel / 2, node, TR_EINVAL,
                 "padding is %lld, expected at most half the kernel, %lld",
                 (long long)opts->padding, (long long)(opts->kernel / 2));
  const tr_shape *x = tr__input_shape(net, node, 0);
  TR_TRY(tr__infer_window(net, node, &window, x->dims[0]));
  TR__CHECK_NODE(x->dims[1] <= INT_MAX / x->dims[2], node, TR_ESHAPE,
                 "%lld x %lld values per channel are too many for the index",
                 (long long)x->dims[1], (long long)x->dims[2]);
  tr__declare_saved(node, TR_I32, node->shape);
  node->flags |= TR__SAVES_FOR_BACKWARD;
  return TR_OK;
}

static void forward(const tr__run *run, const tr__node *node)
{
  run->ops->maxpool2d_forward(
      run->stream,
      &(tr__maxpool2d_forward_args){.y = tr__output(run, node),
                                    .x = tr__input(run, node, 0),
                                    .index = tr__saved(run, node, INDEX),
                                    .window = window_of(node->opts)});
}

static void backward(const tr__run *run, const tr__node *node)
{
  run->ops->maxpool2d_backward(
      run->stream, &(tr__maxpool2d_backward_args){
                       .dx = tr__input_grad(run, node, 0),
                       .dy = tr__output_grad(run, node),
                       .index = tr__saved(run, node, INDEX),
                       .accumulate = tr__input_grad_adds(run, node, 0)});
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  int64_t kernel = 1 + tr__random_u32(random, 0) % 4;
  const tr_shape in = {3,
                       {1 + tr__random_u32(random, 1) % 4,
                        kernel + tr__random_u32(random, 2) % 7,
                        kernel + tr__random_u32(random, 3) % 7}};
  tr_pool2d_opts opts = {.kernel = kernel,
                         .stride = tr__random_u32(random, 4) % 4,
                         .padding = tr__random_u32(random, 5) %
                                    (uint32_t)(kernel / 2 + 1)};
  return tr_maxpool2d(net, tr_input(net, in), &opts);
}

const tr__layer_type tr__maxpool2d_type = {
    .name = "maxpool2d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_maxpool2d(tr_model *net, tr_node x, const tr_pool2d_opts *opts)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__maxpool2d_type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = opts,
                                            .opts_bytes = sizeof *opts});
}
