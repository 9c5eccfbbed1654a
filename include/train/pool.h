/* Pools. An image is (C, W), (C, H, W) or (C, D, H, W) per sample.
 * Zero-initialise option structs: every zero means the default. A single number
 * applies to all axes; a number other than 0 in the array beside it applies to
 * its axis instead. */
#ifndef TRAIN_POOL_H
#define TRAIN_POOL_H

#include <train/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tr_pool1d_opts {
  int64_t kernel;      /* elements of the window; required */
  int64_t stride;      /* 0: the kernel */
  int64_t padding;     /* at most half the kernel; it never is the maximum */
  int exclude_padding; /* 1: an average divides by the elements inside the
                          image; 0: by those inside the padded image */
} tr_pool1d_opts;

typedef struct tr_pool2d_opts {
  int64_t kernel;      /* height and width of the window; required */
  int64_t stride;      /* 0: the kernel */
  int64_t padding;     /* at most half the kernel; it never is the maximum */
  int exclude_padding; /* 1: an average divides by the elements inside the
                          image; 0: by those inside the padded image */
  int64_t kernel_hw[2], stride_hw[2], padding_hw[2];
} tr_pool2d_opts;

typedef struct tr_pool3d_opts {
  int64_t kernel;      /* depth, height and width of the window; required */
  int64_t stride;      /* 0: the kernel */
  int64_t padding;     /* at most half the kernel; it never is the maximum */
  int exclude_padding; /* 1: an average divides by the elements inside the
                          image; 0: by those inside the padded image */
  int64_t kernel_dhw[3], stride_dhw[3], padding_dhw[3];
} tr_pool3d_opts;

/* tr_maxpool1d - the largest value of each window.
 *
 *   x (N, C, W) -> y (N, C, (W + 2 padding - kernel)/stride + 1)
 *
 * The first largest value in row-major order gets the gradient.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.MaxPool1d */
TR_API tr_node tr_maxpool1d(tr_model *net,
                            tr_node x,
                            const tr_pool1d_opts *opts);

/* tr_maxpool2d - the largest value of each window.
 *
 *   x (N, C, H, W) -> y (N, C, (H + 2 padding - kernel)/stride + 1, likewise W)
 *
 * The first largest value in row-major order gets the gradient.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.MaxPool2d */
TR_API tr_node tr_maxpool2d(tr_model *net,
                            tr_node x,
                            const tr_pool2d_opts *opts);

/* tr_maxpool3d - the largest value of each window.
 *
 *   x (N, C, D, H, W) -> y (N, C, (D + 2 padding - kernel)/stride + 1,
 *                              likewise H and W)
 *
 * The first largest value in row-major order gets the gradient.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.MaxPool3d */
TR_API tr_node tr_maxpool3d(tr_model *net,
                            tr_node x,
                            const tr_pool3d_opts *opts);

/* tr_avgpool1d - the mean of each window.
 *
 *   x (N, C, W) -> y (N, C, (W + 2 padding - kernel)/stride + 1)
 *
 * Padding counts as zeros unless exclude_padding is 1.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.AvgPool1d; count_include_pad is
 *            the opposite of exclude_padding */
TR_API tr_node tr_avgpool1d(tr_model *net,
                            tr_node x,
                            const tr_pool1d_opts *opts);

/* tr_avgpool2d - the mean of each window.
 *
 *   x (N, C, H, W) -> y (N, C, (H + 2 padding - kernel)/stride + 1, likewise W)
 *
 * Padding counts as zeros unless exclude_padding is 1.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.AvgPool2d; count_include_pad is
 *            the opposite of exclude_padding */
TR_API tr_node tr_avgpool2d(tr_model *net,
                            tr_node x,
                            const tr_pool2d_opts *opts);

/* tr_avgpool3d - the mean of each window.
 *
 *   x (N, C, D, H, W) -> y (N, C, (D + 2 padding - kernel)/stride + 1,
 *                              likewise H and W)
 *
 * Padding counts as zeros unless exclude_padding is 1.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.AvgPool3d; count_include_pad is
 *            the opposite of exclude_padding */
TR_API tr_node tr_avgpool3d(tr_model *net,
                            tr_node x,
                            const tr_pool3d_opts *opts);

typedef struct tr_adaptive_pool_opts {
  int64_t out;         /* extent of the output along each axis; required */
  int64_t out_each[3]; /* where not 0, the extent of its axis, outermost first
                          and without the channels */
} tr_adaptive_pool_opts;

/* tr_adaptive_avgpool - means over windows that cover an image of any size, (C,
 * W), (C, H, W) or (C, D, H, W), so that the output has the given extents.
 *
 *   y[n,c,p,...] = mean of x[n,c,h,...] over h in
 *                  floor(p H / P) .. ceil((p + 1) H / P) - 1, likewise W, D
 *
 *   x (N, C, H, W) -> y (N, C, P, Q)
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.AdaptiveAvgPool1d, AdaptiveAvgPool2d,
 *            AdaptiveAvgPool3d */
TR_API tr_node tr_adaptive_avgpool(tr_model *net,
                                   tr_node x,
                                   const tr_adaptive_pool_opts *opts);

/* tr_global_avgpool2d - the mean of each channel: x (N, C, H, W) -> y (N, C).
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_ESHAPE
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.nn.AdaptiveAvgPool2d(1) and Flatten */
TR_API tr_node tr_global_avgpool2d(tr_model *net, tr_node x);

/* tr_global_maxpool2d - the largest value of each channel: x (N, C, H, W) ->
 * y (N, C). The first one in row-major order gets the gradient.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_ESHAPE
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.nn.AdaptiveMaxPool2d(1) and Flatten */
TR_API tr_node tr_global_maxpool2d(tr_model *net, tr_node x);

#ifdef __cplusplus
}
#endif

#endif
