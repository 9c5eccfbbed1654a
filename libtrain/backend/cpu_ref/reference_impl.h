/* The reference: every op in plain C, in float and in double from one source.
 * It is the oracle for all other backends, which may call its parts. */
#ifndef TR_REFERENCE_IMPL_H
#define TR_REFERENCE_IMPL_H

#include "core/backend_impl.h"

extern const tr__backend_type tr__reference_type;

/* One function per op and type: tr__ref_<op>_f32 and tr__ref_<op>_f64. */
#define TR__REF_DECLARE(op)                                                    \
  void tr__ref_##op##_f32(const tr__##op##_args *args);                        \
  void tr__ref_##op##_f64(const tr__##op##_args *args);
TR__OPS(TR__REF_DECLARE)
#undef TR__REF_DECLARE

/* tr__ref_run - an op, in the precision of its first tensor, at once. */
void tr__ref_run(tr__op op, const void *args);

typedef void (*tr__op_fn)(tr__op op, const void *args);

/* tr__fp32_run - an op some of whose operands are of 16 bits: `run` with copies
 * of these in scratch memory of tr__fp32_bytes() bytes. */
size_t tr__fp32_bytes(tr__op op, const void *args);
void tr__fp32_run(tr__op op, const void *args, void *scratch, tr__op_fn run);

/* Sums per channel are made in chunks of channels, so that threads can share
 * them; the chunks do not depend on threads. */
enum { TR__REF_CHUNK = 16 };

static inline int64_t tr__ref_chunks(int64_t channels)
{
  return (channels + TR__REF_CHUNK - 1) / TR__REF_CHUNK;
}

/* tr__ref_chunk_bytes - scratch of one chunk, `bytes` per channel. */
size_t tr__ref_chunk_bytes(const tr__shards *shards, size_t bytes);

/* One chunk of each of these ops; `wide` is where operands of 16 bits are
 * widened (room for the floats of two of the chunk's runs that lie together),
 * NULL where there are none. */
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

/* Scratch of muon_update for p (R, C), n the smaller of both: where, in bytes,
 * x and its successor (R, C), s and its polynomial (n, n) begin. */
typedef struct tr__muon_scratch {
  size_t x, next, gram, poly, bytes;
} tr__muon_scratch;

tr__muon_scratch tr__ref_muon_scratch(const tr__tensor *p);

/* tr__ref_muon_begin - m and, in x, what is to be orthogonalised, of `count`
 * elements from `begin` on; returns their sum of squares.
 * tr__ref_muon_end - p from what x has become. */
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

/* tr__ref_ops - the table of all ops; a backend overrides what it has. */
tr__ops tr__ref_ops(void);

size_t tr__ref_workspace(tr__backend *backend, tr__op op, const void *args);

/* tr__places - places of one channel of a volume (N, C, D, H, W). */
static inline int64_t tr__places(const tr__tensor *t)
{
  return t->dims[2] * t->dims[3] * t->dims[4];
}

/* The part of an image that is unrolled: channels of the image, and rows of
 * the output, which are counted through all its D. */
typedef struct tr__patch {
  int64_t channels[2]; /* first and one past the last */
  int64_t rows[2];
} tr__patch;

/* tr__valid_places - where one element of the window lies inside the image:
 * at the outputs range[0]..range[1]-1 of `places`. extent: of the image;
 * shift: of the element against the window's origin, without padding. */
void tr__valid_places(int64_t range[2],
                      int64_t places,
                      int64_t extent,
                      int64_t stride,
                      int64_t shift);

/* tr__taps - elements of a window; tr__tap_shift - where element number `tap`
 * lies against output place 0 in the image, along each axis. */
static inline int64_t tr__taps(const tr__window *w)
{
  return w->kernel[0] * w->kernel[1] * w->kernel[2];
}

void tr__tap_shift(int64_t shift[3], const tr__window *window, int64_t tap);

/* tr__image_row - the row of a channel, d H + h, that an element of the window
 * meets at output row `row`; -1 outside the image. */
int64_t tr__image_row(const tr__tensor *image,
                      const tr__tensor *out,
                      const tr__window *window,
                      const int64_t shift[3],
                      int64_t row);

/* tr__pool_span - the elements of the image along extent i that the window
 * at `place` averages: span[0]..span[1]-1, and by how many to divide. */
int64_t tr__pool_span(int64_t span[2],
                         const tr__avgpool_forward_args *args,
                         int i,
                         int64_t place);

/* tr__ref_im2col - each column holds what one output place sees of the image.
 *
 *   col[(c, tap), place] <- x[c, place * stride + shift of the tap]
 *
 * 0 outside the image. x (N, C, D, H, W) and y (N, K, P, Q, R) give extents by
 * their tensors; image points to one image. */
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
