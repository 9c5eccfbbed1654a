/* What the convolutions of one, two and three extents share. */
#ifndef TR_CONV_IMPL_H
#define TR_CONV_IMPL_H

#include "layers/window_impl.h"

#include <train/conv.h>

/* The options of all of them. */
typedef struct tr__conv_opts {
  int ndim;
  int64_t out;
  tr__window window;
  int64_t output_padding[3]; /* of a transposed one */
  int no_bias;
} tr__conv_opts;

/* tr__conv_of - a window with the defaults of a convolution. */
tr__conv_opts tr__conv_of(int ndim, int64_t out, const tr__window_opts *window);

/* tr__check_channels - out and groups against the input's channels. */
tr_status tr__check_channels(const tr__node *node, int64_t channels);

/* tr__declare_filters - weight (rows, columns, kernel...) and bias (out), both
 * uniform in +-1/sqrt(columns kernel). */
tr_status tr__declare_filters(tr_model *net,
                              tr__node *node,
                              int64_t rows,
                              int64_t columns);

/* tr__patches_fit - is the unrolled image, which backends may want as
 * workspace for every thread, of a size that can be? */
bool tr__patches_fit(const tr__window *window,
                     int64_t channels,
                     const tr_shape *places);

/* The second parameter and its gradient; absent where there is no bias. */
tr__tensor tr__conv_bias(const tr__pass *run, const tr__node *node);
tr__tensor tr__conv_bias_grad(const tr__pass *run, const tr__node *node);

tr_status tr__conv_infer(tr_model *net, tr__node *node);
void tr__conv_forward(const tr__pass *run, const tr__node *node);
void tr__conv_backward(const tr__pass *run, const tr__node *node);
void tr__conv_describe(const tr__node *node, FILE *out);
tr__flops tr__conv_flops(const tr_model *net, const tr__node *node);

/* tr__add_conv - the node that a builder ends in. */
tr_node tr__add_conv(tr_model *net,
                     tr_node x,
                     const tr__layer_type *type,
                     const tr__conv_opts *opts,
                     const char *name);

/* tr__random_conv - random legal options, and the shape of an input. */
tr_conv3d_opts
tr__random_conv(const tr__random *random, int ndim, tr_shape *in);

#endif
