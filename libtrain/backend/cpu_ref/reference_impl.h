/* The reference: every op in plain C, in float and in double from one source.
 * It is the oracle for all other backends, which may call its parts. */
#ifndef TR_REFERENCE_IMPL_H
#define TR_REFERENCE_IMPL_H

#include "base/backend_impl.h"

extern const tr__backend_type tr__reference_type;

/* One function per op and type, for example tr__ref_fill_f32(). */
#define TR__REF_DECLARE(op)                                                    \
  void tr__ref_##op##_f32(const tr__##op##_args *args);                        \
  void tr__ref_##op##_f64(const tr__##op##_args *args);
TR__OPS(TR__REF_DECLARE)
#undef TR__REF_DECLARE

/* tr__ref_run - an op, in the precision of its first tensor, at once. */
void tr__ref_run(tr__op op, const void *args);

/* Sums per channel are made in chunks of channels, so that threads can share
 * them; the chunks do not depend on threads. */
enum { TR__REF_CHUNK = 16 };

static inline int64_t tr__ref_chunks(int64_t channels)
{
  return (channels + TR__REF_CHUNK - 1) / TR__REF_CHUNK;
}

/* tr__ref_chunk_bytes - scratch of one chunk, `bytes` per channel. */
size_t tr__ref_chunk_bytes(const tr__shards *shards, size_t bytes);

/* One chunk of each of these ops. */
#define TR__REF_CHUNK_OPS(X)                                                   \
  X(norm_backward_weight)                                                      \
  X(batchnorm_sums)                                                            \
  X(batchnorm_backward_sums)
#define TR__REF_DECLARE(op)                                                    \
  void tr__ref_##op##_chunk_f32(const tr__##op##_args *args, int64_t chunk);   \
  void tr__ref_##op##_chunk_f64(const tr__##op##_args *args, int64_t chunk);
TR__REF_CHUNK_OPS(TR__REF_DECLARE)
#undef TR__REF_DECLARE

/* tr__ref_ops - the table of all ops; a backend overrides what it has. */
tr__ops tr__ref_ops(void);

size_t tr__ref_workspace(tr__backend *backend, tr__op op, const void *args);

/* The part of an image that is unrolled: channels and rows of the output. */
typedef struct tr__patch {
  int64_t channels[2]; /* first and one past the last */
  int64_t rows[2];
} tr__patch;

/* tr__ref_im2col - each column holds what one output place sees of the image.
 *
 *   col[(c i j), (p q)] <- x[c, p stride + i - padding, q stride + j - padding]
 *
 * 0 outside the image. x (C, H, W) and y (K, P, Q) give extents by their
 * tensors, w the kernel; image points to one image. */
void tr__ref_im2col_f32(float *col,
                        const float *image,
                        const tr__tensor *x,
                        const tr__tensor *y,
                        const tr__window *window,
                        const tr__patch *patch);
void tr__ref_im2col_f64(double *col,
                        const double *image,
                        const tr__tensor *x,
                        const tr__tensor *y,
                        const tr__window *window,
                        const tr__patch *patch);

/* tr__ref_col2im - the transpose: adds each element of col to the place of the
 * image that im2col takes it from. */
void tr__ref_col2im_f32(float *image,
                        const float *col,
                        const tr__tensor *x,
                        const tr__tensor *y,
                        const tr__window *window,
                        const tr__patch *patch);
void tr__ref_col2im_f64(double *image,
                        const double *col,
                        const tr__tensor *x,
                        const tr__tensor *y,
                        const tr__window *window,
                        const tr__patch *patch);

#endif
