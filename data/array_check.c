/* What tr_array_open() refuses: wrong options, labels out of range, bad
 * targets, and doubles that are declared float32. */
#include "core/suspect_impl.h"
#include "data/array_impl.h"

#include <string.h>

tr_dtype tr__array_dtype(const tr_context *ctx, const tr_array_opts *opts)
{
  return opts->single ? TR_F32 : opts->dtype == TR_F64 ? TR_F64 : ctx->dtype;
}

bool tr__array_has_classes(const tr_array_opts *opts)
{
  bool has_none = opts->y == NULL && opts->targets == NULL;
  return opts->y != NULL || (has_none && opts->num_classes > 0);
}

static tr_status check_classes(const tr_array_opts *opts)
{
  TR_CHECK(opts->num_classes > 0 && opts->num_classes <= TR__MAX_CLASSES,
           TR_EINVAL, "array: num_classes is %lld, expected 1 to %d",
           (long long)opts->num_classes, TR__MAX_CLASSES);
  for (int64_t i = 0; i < opts->num_samples; i++) {
    TR_CHECK(opts->y[i] >= 0 && opts->y[i] < opts->num_classes, TR_EDATA,
             "array: label of sample %lld is %d, expected 0 to %lld",
             (long long)i, opts->y[i], (long long)opts->num_classes - 1);
  }
  return TR_OK;
}

static tr_status check_numbers(const tr_context *ctx, const tr_array_opts *opts)
{
  TR_CHECK(tr__shape_is_valid(&opts->target_shape), TR_EINVAL,
           "array: target_shape has an extent that is not positive, or too "
           "many");
  TR_CHECK(opts->num_classes == 0, TR_EINVAL,
           "array: num_classes is %lld, expected 0 with targets",
           (long long)opts->num_classes);
  int64_t values = tr_shape_count(&opts->target_shape);
  const tr__numbers targets = {.values = opts->targets,
                               .dtype = tr__array_dtype(ctx, opts),
                               .count = opts->num_samples * values};
  int64_t bad = tr__first_fault(&targets, ctx->dtype, false);
  if (bad < 0) {
    return TR_OK;
  }
  char fault[TR__FAULT_BYTES] = "";
  tr__number_fault(tr__number_at(&targets, bad), ctx->dtype, false, fault);
  return TR_FAIL(TR_EDATA, "array: sample %lld, element %lld of its target %s",
                 (long long)(bad / values), (long long)(bad % values), fault);
}

/* Are these doubles that are read as float32? The test looks at the first 256
 * pairs of words. The low word of a double holds the last bits of its fraction,
 * which are random: as float32 their exponents reach every eighth of the range.
 * The high words leave half of the eighths empty or more. No float32 data
 * alternate like this. */
static bool looks_double(const void *values, int64_t count)
{
  enum { MOST = 256, FEWEST = 64, EIGHTHS = 8 };
  int64_t pairs = tr__min(MOST, count / 2);
  int seen[2][EIGHTHS] = {{0}}, empty[2] = {0};
  for (int64_t i = 0; i < 2 * pairs; i++) {
    uint32_t bits;
    memcpy(&bits, (const char *)values + 4 * i, sizeof bits);
    seen[i % 2][bits >> 28 & (EIGHTHS - 1)]++;
  }
  for (int k = 0; k < EIGHTHS; k++) {
    empty[0] += seen[0][k] < pairs / 32;
    empty[1] += seen[1][k] < pairs / 32;
  }
  return pairs >= FEWEST && empty[0] == 0 && empty[1] >= EIGHTHS / 2;
}

static tr_status check_types(const tr_context *ctx, const tr_array_opts *opts)
{
  TR_CHECK(opts->dtype == TR_F32 || opts->dtype == TR_F64, TR_EINVAL,
           "array: dtype is %d, expected TR_F64, or 0 for the context's type",
           (int)opts->dtype);
  TR_CHECK((opts->single == 0 || opts->single == 1) &&
               !(opts->single && opts->dtype == TR_F64),
           TR_EINVAL,
           "array: single is %d with dtype %s, expected 0, or 1 "
           "alone",
           opts->single, tr__dtype_name(opts->dtype));
  TR_CHECK(opts->distributed == 0 || opts->distributed == 1, TR_EINVAL,
           "array: distributed is %d, expected 0 or 1", opts->distributed);
  if (tr__array_dtype(ctx, opts) != TR_F32 || opts->num_samples == 0) {
    return TR_OK;
  }
  int64_t inputs = opts->num_samples * tr_shape_count(&opts->shape);
  TR_CHECK(!looks_double(opts->x, inputs), TR_EDATA,
           "array: x is taken for float32, but its numbers look like float64: "
           "set .dtype = TR_F64 for doubles");
  TR_CHECK(
      opts->targets == NULL ||
          !looks_double(opts->targets, opts->num_samples *
                                           tr_shape_count(&opts->target_shape)),
      TR_EDATA,
      "array: targets are taken for float32, but their numbers look like "
      "float64: set .dtype = TR_F64 for doubles");
  return TR_OK;
}

tr_status tr__array_check(const tr_context *ctx, const tr_array_opts *opts)
{
  TR_CHECK(opts != NULL, TR_EINVAL, "array: options are missing");
  bool is_empty = opts->distributed && opts->num_samples == 0;
  TR_CHECK(is_empty || (opts->x != NULL &&
                        (opts->y != NULL) != (opts->targets != NULL)),
           TR_EINVAL, "array: x and either y or targets are required");
  TR_CHECK(opts->num_samples > 0 || is_empty, TR_EINVAL,
           "array: num_samples is %lld, expected 1 or more%s",
           (long long)opts->num_samples,
           opts->num_samples == 0 ? ", or 0 with distributed" : "");
  TR_CHECK(tr__shape_is_valid(&opts->shape), TR_EINVAL,
           "array: shape has an extent that is not positive, or too many");
  TR_TRY(check_types(ctx, opts));
  return tr__array_has_classes(opts) ? check_classes(opts)
                                     : check_numbers(ctx, opts);
}
