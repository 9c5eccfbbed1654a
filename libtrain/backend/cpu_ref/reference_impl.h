/* The reference backend: every op in plain C, in float and in double from one
 * source. All other backends are tested against it and may call its functions.
 */
#ifndef TR_REFERENCE_IMPL_H
#define TR_REFERENCE_IMPL_H

#include "core/backend_impl.h"

extern const tr__backend_type tr__reference_type;

/* Each op has one function per type: tr__ref_<op>_f32 and tr__ref_<op>_f64. */
#define TR__REF_DECLARE(op)                                                    \
  void tr__ref_##op##_f32(const tr__##op##_args *args);                        \
  void tr__ref_##op##_f64(const tr__##op##_args *args);
TR__OPS(TR__REF_DECLARE)
#undef TR__REF_DECLARE

/* tr__ref_run - run an op at once, in double if its first tensor is double,
 * else in single precision. */
void tr__ref_run(tr__op op, const void *args);

typedef void (*tr__op_fn)(tr__op op, const void *args);

/* tr__fp32_run - run an op with 16-bit operands: call `run` with fp32 copies of
 * these, then round its output. `scratch` has tr__fp32_bytes() bytes. */
size_t tr__fp32_bytes(tr__op op, const void *args);
void tr__fp32_run(tr__op op, const void *args, void *scratch, tr__op_fn run);

/* Sums per channel are split into blocks of TR__REF_CHUNK channels (a "chunk"
 * in names), one task each. The blocks do not depend on the number of threads.
 */
enum { TR__REF_CHUNK = 16 };

static inline int64_t tr__ref_chunks(int64_t channels)
{
  return (channels + TR__REF_CHUNK - 1) / TR__REF_CHUNK;
}

/* tr__ref_chunk_bytes - scratch bytes of one block, for `bytes` per channel. */
size_t tr__ref_chunk_bytes(const tr__shards *shards, size_t bytes);

/* These ops for one block of channels. `wide`, NULL without 16-bit operands,
 * has room for fp32 copies of two contiguous runs of the block's elements. A
 * run is the block's channels in one group or, in BatchNorm, one plane. */
#define TR__REF_CHUNK_OPS(X)                                                   \
  X(norm_backward_weight)                                                      \
  X(batchnorm_sums)                                                            \
  X(batchnorm_backward_sums)
#define TR__REF_DECLARE(op)                                                    \
  void tr__ref_##op##_chunk_f32(const tr__##op##_args *args, int64_t chunk,    \
                                void *wide);                                   \
  void tr__ref_##op##_chunk_f64(const tr__##op##_args *args, int64_t chunk,    \
                                void *wide);
TR__REF_CHUNK_OPS(TR__REF_DECLARE)
#undef TR__REF_DECLARE

/* Scratch memory of muon_update for p (R, C), n = min(R, C): byte offsets of x
 * and its successor (R, C), of s and its polynomial (n, n), and the total. */
typedef struct tr__muon_scratch {
  size_t x, next, gram, poly, bytes;
} tr__muon_scratch;

tr__muon_scratch tr__ref_muon_scratch(const tr__tensor *p);

/* tr__ref_muon_begin - update m and set x to the matrix that is to be
 * orthogonalised, for `count` elements from `begin` on. Returns the sum of
 * squares of these elements of x. tr__ref_muon_end - update p from the
 * orthogonalised x. */
double tr__ref_muon_begin_f32(const tr__muon_update_args *args,
                              float *x,
                              int64_t begin,
                              int64_t count);
double tr__ref_muon_begin_f64(const tr__muon_update_args *args,
                              double *x,
                              int64_t begin,
                              int64_t count);
void tr__ref_muon_end_f32(const tr__muon_update_args *args,
                          const float *x,
                          int64_t begin,
                          int64_t count);
void tr__ref_muon_end_f64(const tr__muon_update_args *args,
                          const double *x,
                          int64_t begin,
                          int64_t count);

/* tr__ref_ops - the op table of the reference. Other backends begin with it and
 * replace the ops that they have. */
tr__ops tr__ref_ops(void);

/* tr__ref_workspace - the `workspace` slot of the reference, in bytes. */
size_t tr__ref_workspace(tr__backend *backend, tr__op op, const void *args);

/* tr__places - elements of one channel of a volume (N, C, D, H, W). */
static inline int64_t tr__places(const tr__tensor *t)
{
  return t->dims[2] * t->dims[3] * t->dims[4];
}

/* The region that im2col unrolls: channels of the image and rows of the output.
 * Output rows are numbered through all depths. */
typedef struct tr__patch {
  int64_t channels[2]; /* first and one past the last */
  int64_t rows[2];
} tr__patch;

/* tr__valid_places - outputs range[0]..range[1]-1, of `places`, at which one
 * element of the window lies inside the image, along one axis. extent: of the
 * image; shift: image index of this element at output 0 (tr__tap_shift). */
void tr__valid_places(int64_t range[2],
                      int64_t places,
                      int64_t extent,
                      int64_t stride,
                      int64_t shift);

/* tr__taps - number of elements of a window. tr__tap_shift - image index, along
 * each axis, of window element `tap` at output place 0; negative in the
 * padding. */
static inline int64_t tr__taps(const tr__window *w)
{
  return w->kernel[0] * w->kernel[1] * w->kernel[2];
}

void tr__tap_shift(int64_t shift[3], const tr__window *window, int64_t tap);

/* tr__image_row - the image row d H + h of a channel that a window element
 * reads at output row `row`; -1 if it lies outside the image. */
int64_t tr__image_row(const tr__tensor *image,
                      const tr__tensor *out,
                      const tr__window *window,
                      const int64_t shift[3],
                      int64_t row);

/* tr__pool_span - the image elements span[0]..span[1]-1 along spatial axis i
 * that the window at `place` averages. Returns the divisor for this axis. */
int64_t tr__pool_span(int64_t span[2],
                      const tr__avgpool_forward_args *args,
                      int i,
                      int64_t place);

/* tr__ref_im2col - each column of col holds the image elements that the window
 * reads at one output place.
 *
 *   col[(c, tap), place] <- x[c, place * stride + shift of the tap]
 *
 * Elements outside the image are 0. x (N, C, D, H, W) and y (N, K, P, Q, R)
 * give only extents; `image` points to one image. */
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

void tr__ref_im2col_u16(uint16_t *col,
                        const uint16_t *image,
                        const tr__tensor *x,
                        const tr__tensor *y,
                        const tr__window *window,
                        const tr__patch *patch);

/* tr__ref_col2im - the transpose of im2col: add each element of col to the
 * image element from which im2col copies it. */
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
