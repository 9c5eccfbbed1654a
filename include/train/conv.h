/* Convolutions. An image is (C, W), (C, H, W) or (C, D, H, W) per sample.
 * Zero-initialise option structs: every zero means the default. A single number
 * applies to all axes; a number other than 0 in the array beside it applies to
 * its axis instead. */
#ifndef TRAIN_CONV_H
#define TRAIN_CONV_H

#include <train/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tr_conv1d_opts {
  int64_t out;      /* output channels; required */
  int64_t kernel;   /* elements of the filter; required */
  int64_t stride;   /* 0: 1 */
  int64_t padding;  /* zeros on each side */
  int64_t dilation; /* distance between the elements of the filter; 0: 1 */
  int64_t groups;   /* number of groups with separate channels; 0: 1 */
  int no_bias;      /* 1: without bias */
  const char *name; /* name of the layer; NULL: "conv1d_1", "conv1d_2", ... */
} tr_conv1d_opts;

/* tr_conv1d - cross-correlation of sequences with a set of filters.
 *
 *   y[n,k,p] = b[k] + sum over c,i of
 *              x[n, c, p*stride + i*dilation - padding] * W[k,c,i]
 *
 *   x (N, C, L), W (out, C/groups, kernel), b (out),
 *   y (N, out, (L + 2 padding - dilation (kernel - 1) - 1)/stride + 1)
 *
 * Output channels of group g depend on the input channels of group g only.
 * Initial values of W and b are uniform in +-1/sqrt(C/groups kernel).
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.Conv1d */
TR_API tr_node tr_conv1d(tr_model *net, tr_node x, const tr_conv1d_opts *opts);

typedef struct tr_conv2d_opts {
  int64_t out;      /* output channels; required */
  int64_t kernel;   /* height and width of the filter; required */
  int64_t stride;   /* 0: 1 */
  int64_t padding;  /* zeros on each side */
  int no_bias;      /* 1: without bias */
  const char *name; /* name of the layer; NULL: "conv2d_1", "conv2d_2", ... */
  int64_t dilation; /* distance between the elements of the filter; 0: 1 */
  int64_t groups;   /* number of groups with separate channels; 0: 1 */
  int64_t kernel_hw[2], stride_hw[2], padding_hw[2], dilation_hw[2];
} tr_conv2d_opts;

/* tr_conv2d - cross-correlation of images with a set of filters.
 *
 *   y[n,k,h,w] = b[k] + sum over c,i,j of W[k,c,i,j] *
 *                x[n, c, h*stride + i*dilation - padding,
 *                        w*stride + j*dilation - padding]
 *
 *   x (N, C, H, W), W (out, C/groups, kernel, kernel), b (out),
 *   y (N, out, (H + 2 padding - dilation (kernel - 1) - 1)/stride + 1,
 *              likewise W)
 *
 * Output channels of group g depend on the input channels of group g only.
 * Initial values of W and b are uniform in +-1/sqrt(C/groups kernel^2).
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.Conv2d */
TR_API tr_node tr_conv2d(tr_model *net, tr_node x, const tr_conv2d_opts *opts);

typedef struct tr_conv3d_opts {
  int64_t out;      /* output channels; required */
  int64_t kernel;   /* depth, height and width of the filter; required */
  int64_t stride;   /* 0: 1 */
  int64_t padding;  /* zeros on each side */
  int64_t dilation; /* distance between the elements of the filter; 0: 1 */
  int64_t groups;   /* number of groups with separate channels; 0: 1 */
  int no_bias;      /* 1: without bias */
  const char *name; /* name of the layer; NULL: "conv3d_1", "conv3d_2", ... */
  int64_t kernel_dhw[3], stride_dhw[3], padding_dhw[3], dilation_dhw[3];
} tr_conv3d_opts;

/* tr_conv3d - cross-correlation of volumes with a set of filters: tr_conv2d()
 * with one more axis.
 *
 *   x (N, C, D, H, W), W (out, C/groups, kernel, kernel, kernel), b (out)
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.Conv3d */
TR_API tr_node tr_conv3d(tr_model *net, tr_node x, const tr_conv3d_opts *opts);

typedef struct tr_conv_transpose2d_opts {
  int64_t out;            /* output channels; required */
  int64_t kernel;         /* height and width of the filter; required */
  int64_t stride;         /* 0: 1 */
  int64_t padding;        /* removed from each side of the output */
  int64_t output_padding; /* added to one side of the output; less than the
                             stride or the dilation */
  int64_t dilation;       /* distance between the elements of the filter; 0:
                             1 */
  int64_t groups;         /* number of groups with separate channels; 0: 1 */
  int no_bias;            /* 1: without bias */
  const char *name;       /* name of the layer; NULL: "conv_transpose2d_1",
                             ... */
  int64_t kernel_hw[2], stride_hw[2], padding_hw[2], output_padding_hw[2],
      dilation_hw[2];
} tr_conv_transpose2d_opts;

/* tr_conv_transpose2d - the transpose of tr_conv2d(), which enlarges images.
 *
 *   y[n,k,h,w] = b[k] + sum of x[n,c,p,q] W[c,k,i,j] over all c,p,q,i,j with
 *                p*stride + i*dilation - padding = h, likewise w
 *
 *   x (N, C, P, Q), W (C, out/groups, kernel, kernel), b (out),
 *   y (N, out, (P - 1) stride - 2 padding + dilation (kernel - 1) +
 *              output_padding + 1, likewise Q)
 *
 * Initial values of W and b are uniform in +-1/sqrt(out/groups kernel^2).
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.ConvTranspose2d */
TR_API tr_node tr_conv_transpose2d(tr_model *net,
                                   tr_node x,
                                   const tr_conv_transpose2d_opts *opts);

#ifdef __cplusplus
}
#endif

#endif
