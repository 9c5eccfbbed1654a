/* What layers with a sliding window over height and width share. */
#include "layers/window_impl.h"

tr_status tr__infer_window(const tr_model *net,
                           tr__node *node,
                           const tr__window *window,
                           int64_t channels)
{
  const tr_shape *x = tr__input_shape(net, node, 0);
  char text[TR__SHAPE_BYTES];
  TR__CHECK_NODE(x->ndim == 3, node, TR_ESHAPE,
                 "input is %s, expected (C, H, W)", tr__shape_text(x, text));
  int64_t out[2];
  for (int i = 0; i < 2; i++) {
    int64_t kernel = window->kernel[i], stride = window->stride[i];
    int64_t padding = window->padding[i], padded;
    TR__CHECK_NODE(kernel > 0 && stride > 0 && padding >= 0, node, TR_EINVAL,
                   "kernel is %lld, stride %lld, padding %lld; expected at "
                   "least 1, 1 and 0",
                   (long long)kernel, (long long)stride, (long long)padding);
    bool fits = padding <= INT64_MAX / 4 &&
                !tr__add_overflows(x->dims[i + 1], 2 * padding, &padded);
    TR__CHECK_NODE(fits && padded >= kernel, node, TR_ESHAPE,
                   "a kernel of %lld does not fit into %s with padding %lld",
                   (long long)kernel, tr__shape_text(x, text),
                   (long long)padding);
    out[i] = (padded - kernel) / stride + 1;
  }
  node->shape = (tr_shape){3, {channels, out[0], out[1]}};
  TR__CHECK_NODE(tr__shape_is_valid(&node->shape), node, TR_ESHAPE,
                 "output %s is too large", tr__shape_text(&node->shape, text));
  return TR_OK;
}

tr__window tr__square_window(int64_t kernel, int64_t stride, int64_t padding)
{
  return (tr__window){{kernel, kernel}, {stride, stride}, {padding, padding}};
}
