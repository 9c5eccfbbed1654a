/* The reference as a backend, and window geometry that does not depend on the
 * type. Each op is complete when its call returns. */
#include "backend/cpu_ref/reference_impl.h"
#include "backend/host_memory_impl.h"
#include "backend/tree_impl.h"
#include "core/ops/operands_impl.h"

#include <stdlib.h>
#include <string.h>

/* Without memory for the fp32 copies the result is NaN, which the checks of the
 * step find. */
static void run_wide(tr__op which, const void *args)
{
  size_t bytes = tr__fp32_bytes(which, args);
  void *scratch = malloc(bytes > 0 ? bytes : 1);
  if (scratch != NULL) {
    tr__fp32_run(which, args, scratch, tr__ref_run);
  } else {
    const tr__tensor *first = args;
    memset(first->data, 0xff,
           (size_t)tr__tensor_count(first) * tr_dtype_size(first->dtype));
  }
  free(scratch);
}

#define DISPATCH(op)                                                           \
  static void op(tr__stream *stream, const tr__##op##_args *args)              \
  {                                                                            \
    (void)stream;                                                              \
    const tr__tensor *first = (const tr__tensor *)args;                        \
    if (first->dtype == TR_F64) {                                              \
      tr__ref_##op##_f64(args);                                                \
    } else if (tr__op_has_16bit(TR__OP_##op, args)) {                          \
      run_wide(TR__OP_##op, args);                                             \
    } else {                                                                   \
      TR_ASSERT(first->dtype == TR_F32);                                       \
      tr__ref_##op##_f32(args);                                                \
    }                                                                          \
  }
TR__OPS(DISPATCH)
#undef DISPATCH

tr__ops tr__ref_ops(void)
{
#define SLOT(op) .op = op,
  return (tr__ops){.version = TR__OPS_VERSION, TR__OPS(SLOT)};
#undef SLOT
}

void tr__ref_run(tr__op which, const void *args)
{
  switch (which) {
#define CASE(op)                                                               \
  case TR__OP_##op:                                                            \
    op(NULL, args);                                                            \
    break;
    TR__OPS(CASE)
#undef CASE
  case TR__NUM_OPS:
    break;
  }
}

void tr__valid_places(int64_t range[2],
                      int64_t places,
                      int64_t extent,
                      int64_t stride,
                      int64_t shift)
{
  /* 0 <= place * stride + shift < extent */
  int64_t first = shift < 0 ? (-shift + stride - 1) / stride : 0;
  int64_t past = extent > shift ? (extent - shift + stride - 1) / stride : 0;
  range[0] = tr__min(first, places);
  range[1] = tr__max(range[0], tr__min(past, places));
}

void tr__tap_shift(int64_t shift[3], const tr__window *window, int64_t tap)
{
  for (int i = 2; i >= 0; i--) {
    int64_t at = tap % window->kernel[i];
    tap /= window->kernel[i];
    shift[i] = at * window->dilation[i] - window->padding[i];
  }
}

int64_t tr__image_row(const tr__tensor *image,
                      const tr__tensor *out,
                      const tr__window *window,
                      const int64_t shift[3],
                      int64_t row)
{
  int64_t p = out->dims[2] == 1 ? 0 : row / out->dims[3];
  int64_t d = p * window->stride[0] + shift[0];
  int64_t h = (row - p * out->dims[3]) * window->stride[1] + shift[1];
  bool is_inside = d >= 0 && d < image->dims[2] && h >= 0 && h < image->dims[3];
  return is_inside ? d * image->dims[3] + h : -1;
}

int64_t tr__pool_span(int64_t span[2],
                      const tr__avgpool_forward_args *args,
                      int i,
                      int64_t place)
{
  int64_t extent = args->x.dims[i + 2], places = args->y.dims[i + 2];
  if (args->average == TR__AVERAGE_ADAPTIVE) {
    span[0] = place * extent / places;
    span[1] = ((place + 1) * extent + places - 1) / places;
    return span[1] - span[0];
  }
  const tr__window *w = &args->window;
  int64_t begin = place * w->stride[i] - w->padding[i];
  int64_t end = tr__min(begin + w->kernel[i], extent + w->padding[i]);
  int64_t padded = end - begin;
  span[0] = tr__max(begin, 0);
  span[1] = tr__max(span[0], tr__min(end, extent));
  return args->average == TR__AVERAGE_PADDED ? padded : span[1] - span[0];
}

/* Bytes of an element in the precision in which the op works. */
static size_t working_size(const tr__tensor *t)
{
  return t->dtype == TR_F64 ? sizeof(double) : sizeof(float);
}

/* Bytes of the im2col columns of one image and group. */
static size_t columns(const tr__tensor *w, const tr__tensor *y)
{
  return tr__align(
      (size_t)(tr__tensor_row(w) * tr__places(y)) * working_size(w), 64);
}

static size_t sums(const tr__shards *shards, const tr__tensor *dw)
{
  return tr__tree_bytes(shards,
                        (size_t)tr__tensor_count(dw) * working_size(dw));
}

size_t tr__ref_chunk_bytes(const tr__shards *shards, size_t bytes)
{
  return tr__tree_bytes(shards, TR__REF_CHUNK * bytes);
}

/* Scratch bytes of the sums of norms, the same on every backend. */
static size_t norm_sums(tr__op op, const void *args)
{
  if (op == TR__OP_norm_backward_weight) {
    const tr__norm_backward_weight_args *a = args;
    return tr__ref_chunk_bytes(&a->shards, working_size(&a->dw)) *
           (size_t)tr__ref_chunks(tr__tensor_count(&a->dw));
  }
  const tr__tensor *x = args;
  const tr__shards *shards =
      op == TR__OP_batchnorm_sums
          ? &((const tr__batchnorm_sums_args *)args)->shards
          : &((const tr__batchnorm_backward_sums_args *)args)->shards;
  return tr__ref_chunk_bytes(shards, 4 * sizeof(double)) *
         (size_t)tr__ref_chunks(x->dims[1]);
}

tr__muon_scratch tr__ref_muon_scratch(const tr__tensor *p)
{
  int64_t R = p->dims[0], C = tr__tensor_row(p), n = tr__min(R, C);
  size_t size = tr_dtype_size(p->dtype);
  size_t matrix = tr__align((size_t)R * (size_t)C * size, 64);
  size_t square = tr__align((size_t)n * (size_t)n * size, 64);
  return (tr__muon_scratch){.next = matrix,
                            .gram = 2 * matrix,
                            .poly = 2 * matrix + square,
                            .bytes = 2 * (matrix + square)};
}

size_t tr__ref_workspace(tr__backend *backend, tr__op op, const void *args)
{
  (void)backend;
  if (op == TR__OP_conv_forward) {
    const tr__conv_forward_args *a = args;
    return columns(&a->w, &a->y);
  }
  if (op == TR__OP_conv_backward_input) {
    const tr__conv_backward_input_args *a = args;
    return columns(&a->w, &a->dy);
  }
  if (op == TR__OP_conv_backward_weight) {
    const tr__conv_backward_weight_args *a = args;
    return columns(&a->dw, &a->dy) + sums(&a->shards, &a->dw);
  }
  if (op == TR__OP_linear_backward_weight) {
    const tr__linear_backward_weight_args *a = args;
    return sums(&a->shards, &a->dw);
  }
  if (op == TR__OP_embedding_backward) {
    const tr__embedding_backward_args *a = args;
    return sums(&a->shards, &a->dw);
  }
  if (op == TR__OP_position_backward) {
    const tr__position_backward_args *a = args;
    return sums(&a->shards, &a->dw);
  }
  if (op == TR__OP_attention_forward) {
    /* One query's row of scores, in double. */
    const tr__attention_forward_args *a = args;
    return (size_t)a->qkv.dims[1] * sizeof(double);
  }
  if (op == TR__OP_norm_backward_weight || op == TR__OP_batchnorm_sums ||
      op == TR__OP_batchnorm_backward_sums) {
    return norm_sums(op, args);
  }
  if (op == TR__OP_muon_update) {
    const tr__muon_update_args *a = args;
    return tr__ref_muon_scratch(&a->p).bytes;
  }
  return 0;
}

static tr_status create(tr__threads *pool, tr__backend **out)
{
  *out = calloc(1, sizeof **out);
  TR_CHECK(*out != NULL, TR_ENOMEM, "cannot allocate the reference backend");
  **out = (tr__backend){
      .type = &tr__reference_type, .ops = tr__ref_ops(), .pool = pool};
  (*out)->stream.backend = *out;
  return TR_OK;
}

static void destroy(tr__backend *backend)
{
  free(backend);
}

const tr__backend_type tr__reference_type = {
    .name = "reference",
    .create = create,
    .destroy = destroy,
    .alloc = tr__host_alloc,
    .free = tr__host_free,
    .upload = tr__host_upload,
    .download = tr__host_download,
    .wait = tr__host_wait,
    .host_view = tr__host_view,
    .workspace = tr__ref_workspace,
};
