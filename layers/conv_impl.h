/* Code of all convolutions over one, two and three spatial axes. */
#ifndef TR_CONV_IMPL_H
#define TR_CONV_IMPL_H

#include "layers/window_impl.h"

#include <train/conv.h>

/* Options of all convolutions. */
typedef struct tr__conv_opts {
  int ndim;
  int64_t out;
  tr__window window;
  int64_t output_padding[3]; /* of a transposed convolution */
  int no_bias;
} tr__conv_opts;

/* tr__conv_of - options with a convolution's defaults for the window. */
tr__conv_opts tr__conv_of(int ndim, int64_t out, const tr__window_opts *window);

/* tr__check_channels - check out and groups against the input's channels. */
tr_status tr__check_channels(const tr__node *node, int64_t channels);

/* tr__declare_filters - declare weight (rows, columns, kernel...) and bias
 * (out), both uniform in +-1/sqrt(columns kernel). */
tr_status tr__declare_filters(tr_model *net,
                              tr__node *node,
                              int64_t rows,
                              int64_t columns);

/* tr__patches_fit - whether the unrolled image, which a backend may want as
 * workspace for every thread, has a possible size. */
bool tr__patches_fit(const tr__window *window,
                     int64_t channels,
                     const tr_shape *places);

/* The bias and its gradient; absent without bias. */
tr__tensor tr__conv_bias(const tr__pass *run, const tr__node *node);
tr__tensor tr__conv_bias_grad(const tr__pass *run, const tr__node *node);

tr_status tr__conv_infer(tr_model *net, tr__node *node);
void tr__conv_forward(const tr__pass *run, const tr__node *node);
void tr__conv_backward(const tr__pass *run, const tr__node *node);
void tr__conv_describe(const tr__node *node, FILE *out);
tr__flops tr__conv_flops(const tr_model *net, const tr__node *node);

/* tr__add_conv - add the node: the last call of every convolution's layer
 * function. */
tr_node tr__add_conv(tr_model *net,
                     tr_node x,
                     const tr__layer_type *type,
                     const tr__conv_opts *opts,
                     const char *name);

/* tr__random_conv - draw valid options and the shape of an input. */
tr_conv3d_opts
tr__random_conv(const tr__random *random, int ndim, tr_shape *in);

#endif
