/* Code of the layers with a sliding window. */
#include "layers/window_impl.h"

void tr__set_extents(int64_t out[3], int ndim, tr__extents values, int front)
{
  for (int i = 0; i < 3; i++) {
    int own = i - (3 - ndim);
    out[i] = own < 0                                        ? front
             : values.each != NULL && values.each[own] != 0 ? values.each[own]
                                                            : values.all;
  }
}

tr__window tr__window_of(int ndim, const tr__window_opts *opts)
{
  tr__window window = {.groups = opts->groups == 0 ? 1 : opts->groups};
  tr__set_extents(window.kernel, ndim, opts->kernel, 1);
  tr__set_extents(window.stride, ndim, opts->stride, 1);
  tr__set_extents(window.padding, ndim, opts->padding, 0);
  tr__set_extents(window.dilation, ndim, opts->dilation, 1);
  for (int i = 0; i < 3; i++) {
    window.dilation[i] += window.dilation[i] == 0;
  }
  return window;
}

void tr__default_stride(tr__window *window, const int64_t stride[3])
{
  for (int i = 0; i < 3; i++) {
    if (window->stride[i] == 0) {
      window->stride[i] = stride[i];
    }
  }
}

tr_status tr__check_image(const tr_model *net, const tr__node *node, int ndim)
{
  static const char *const expected[] = {"", "(C, W)", "(C, H, W)",
                                         "(C, D, H, W)"};
  const tr_shape *x = tr__input_shape(net, node, 0);
  char text[TR__SHAPE_BYTES];
  TR__CHECK_NODE(x->ndim == ndim + 1, node, TR_ESHAPE,
                 "input is %s, expected %s", tr__shape_text(x, text),
                 expected[ndim]);
  return TR_OK;
}

tr_status
tr__check_window(const tr__node *node, int ndim, const tr__window *window)
{
  for (int i = 3 - ndim; i < 3; i++) {
    int64_t kernel = window->kernel[i], stride = window->stride[i];
    int64_t padding = window->padding[i], dilation = window->dilation[i];
    TR__CHECK_NODE(kernel > 0 && stride > 0 && padding >= 0, node, TR_EINVAL,
                   "kernel is %lld, stride %lld, padding %lld; expected at "
                   "least 1, 1 and 0",
                   (long long)kernel, (long long)stride, (long long)padding);
    TR__CHECK_NODE(dilation > 0, node, TR_EINVAL,
                   "dilation is %lld, expected at least 1",
                   (long long)dilation);
  }
  return TR_OK;
}

/* The distance from the window's first element to behind its last one. */
static bool span_of(const tr__window *window, int i, int64_t *span)
{
  return !tr__mul_overflows(window->kernel[i] - 1, window->dilation[i], span) &&
         !tr__add_overflows(*span, 1, span);
}

tr_status tr__infer_window(const tr_model *net,
                           tr__node *node,
                           int ndim,
                           const tr__window *window,
                           int64_t channels)
{
  TR_TRY(tr__check_image(net, node, ndim));
  TR_TRY(tr__check_window(node, ndim, window));
  const tr_shape *x = tr__input_shape(net, node, 0);
  char text[TR__SHAPE_BYTES];
  tr_shape out = {ndim + 1, {channels}};
  for (int d = 1; d <= ndim; d++) {
    int i = d + 2 - ndim;
    int64_t padding = window->padding[i], padded, span;
    bool fits = padding <= INT64_MAX / 4 && span_of(window, i, &span) &&
                !tr__add_overflows(x->dims[d], 2 * padding, &padded);
    TR__CHECK_NODE(fits && padded >= span, node, TR_ESHAPE,
                   "a kernel of %lld does not fit into %s with padding %lld "
                   "and dilation %lld",
                   (long long)window->kernel[i], tr__shape_text(x, text),
                   (long long)padding, (long long)window->dilation[i]);
    out.dims[d] = (padded - span) / window->stride[i] + 1;
  }
  node->shape = out;
  TR__CHECK_NODE(tr__shape_is_valid(&node->shape), node, TR_ESHAPE,
                 "output %s is too large", tr__shape_text(&node->shape, text));
  return TR_OK;
}

/* Writes ", kernel 3" or ", kernel 3x5"; nothing where all are `standard`. */
static void describe_extents(
    FILE *out, const char *name, int ndim, const int64_t all[3], int standard)
{
  const int64_t *own = all + 3 - ndim;
  bool is_standard = true, is_one = true;
  for (int i = 0; i < ndim; i++) {
    is_standard = is_standard && own[i] == standard;
    is_one = is_one && own[i] == own[0];
  }
  if (is_standard) {
    return;
  }
  tr__describe_integer(out, name, own[0]);
  for (int i = 1; i < ndim && !is_one; i++) {
    fprintf(out, "x%lld", (long long)own[i]);
  }
}

void tr__describe_window(FILE *out, int ndim, const tr__window *window)
{
  describe_extents(out, "kernel", ndim, window->kernel, 0);
  describe_extents(out, "stride", ndim, window->stride, 1);
  describe_extents(out, "padding", ndim, window->padding, 0);
  describe_extents(out, "dilation", ndim, window->dilation, 1);
  if (window->groups != 1) {
    tr__describe_integer(out, "groups", window->groups);
  }
}

void tr__describe_pool(const tr__node *node, FILE *out)
{
  const tr__pool_opts *opts = node->opts;
  tr__describe_window(out, opts->ndim, &opts->window);
  tr__describe_flag(out, "without padding",
                    opts->average == TR__AVERAGE_INSIDE);
}

tr__tensor tr__volume(tr__tensor t)
{
  int front = 5 - t.ndim;
  for (int i = 4; i >= 2; i--) {
    t.dims[i] = i - front >= 2 ? t.dims[i - front] : 1;
  }
  t.ndim = 5;
  return t;
}

static tr__pool_opts
pool_of(int ndim, const tr__window_opts *opts, int exclude_padding)
{
  tr__pool_opts pool = {.ndim = ndim,
                        .window = tr__window_of(ndim, opts),
                        .average = exclude_padding ? TR__AVERAGE_INSIDE
                                                   : TR__AVERAGE_PADDED};
  tr__default_stride(&pool.window, pool.window.kernel);
  return pool;
}

tr__pool_opts tr__pool1d(const tr_pool1d_opts *opts)
{
  const tr__window_opts window = {.kernel = {opts->kernel, NULL},
                                  .stride = {opts->stride, NULL},
                                  .padding = {opts->padding, NULL}};
  return pool_of(1, &window, opts->exclude_padding);
}

tr__pool_opts tr__pool2d(const tr_pool2d_opts *opts)
{
  const tr__window_opts window = {.kernel = {opts->kernel, opts->kernel_hw},
                                  .stride = {opts->stride, opts->stride_hw},
                                  .padding = {opts->padding, opts->padding_hw}};
  return pool_of(2, &window, opts->exclude_padding);
}

tr__pool_opts tr__pool3d(const tr_pool3d_opts *opts)
{
  const tr__window_opts window = {
      .kernel = {opts->kernel, opts->kernel_dhw},
      .stride = {opts->stride, opts->stride_dhw},
      .padding = {opts->padding, opts->padding_dhw}};
  return pool_of(3, &window, opts->exclude_padding);
}

tr_status tr__infer_pool(const tr_model *net, tr__node *node)
{
  const tr__pool_opts *opts = node->opts;
  const tr__window *window = &opts->window;
  TR_TRY(tr__check_image(net, node, opts->ndim));
  for (int i = 0; i < 3; i++) {
    TR__CHECK_NODE(window->padding[i] <= window->kernel[i] / 2, node, TR_EINVAL,
                   "padding is %lld, expected at most half the kernel, %lld",
                   (long long)window->padding[i],
                   (long long)(window->kernel[i] / 2));
  }
  return tr__infer_window(net, node, opts->ndim, window,
                          tr__input_shape(net, node, 0)->dims[0]);
}

tr_pool3d_opts tr__random_pool(const tr__random *random, int ndim, tr_shape *in)
{
  tr_pool3d_opts opts = {.exclude_padding = tr__random_u32(random, 0) % 2};
  in->ndim = ndim + 1;
  in->dims[0] = 1 + tr__random_u32(random, 1) % 4;
  for (int i = 0; i < ndim; i++) {
    int64_t kernel = 1 + tr__random_u32(random, 2 + i) % 4;
    in->dims[i + 1] = kernel + tr__random_u32(random, 5 + i) % 6;
    opts.kernel_dhw[i] = kernel;
    opts.stride_dhw[i] = tr__random_u32(random, 8 + i) % 4;
    opts.padding_dhw[i] =
        tr__random_u32(random, 11 + i) % (uint32_t)(kernel / 2 + 1);
  }
  return opts;
}
