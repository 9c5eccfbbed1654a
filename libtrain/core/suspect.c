/* Bad samples: the search for the sample that spoils a loss.
 *
 * After a senseless loss, a rank searches the batch that it has just computed
 * and keeps the name of the first bad sample. The code that reports the loss
 * asks all ranks for theirs. While losses make sense, a rank checks its inputs
 * only, and only for numbers that are far too large. */
#include "core/suspect_impl.h"

#include "base/locale_impl.h"
#include "core/dataset_impl.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Most warnings of a rank: data may have very many bad samples. */
enum { MOST_WARNINGS = 5 };

/* Most searches of a rank that find no fault: its large numbers may be
 * right. */
enum { MOST_VAIN = 8 };

/* Numbers below this have no fault. 65504 is the largest number of float16. */
static double harmless(tr_dtype compute)
{
  return compute == TR_F16 ? 65504 : 9e18;
}

static double largest(tr_dtype compute)
{
  return compute == TR_F64 ? DBL_MAX : compute == TR_F16 ? 65504 : FLT_MAX;
}

/* Values that data sets write where a value is missing. */
static const char *missing_value(double value, bool is_strict)
{
  static const struct {
    float value;
    const char *name;
  } table[] = {{9.96920996838686905e36f, "NetCDF's fill value"},
               {1e37f, "ROMS' fill value"},
               {1e20f, "CMIP's missing value"},
               {-1e34f, "Ferret's missing value"}};
  int count = is_strict ? (int)(sizeof table / sizeof table[0]) : 1;
  for (int i = 0; i < count && fabs(value) < FLT_MAX; i++) {
    if ((float)value == table[i].value) {
      return table[i].name;
    }
  }
  return NULL;
}

bool tr__number_fault(double value,
                      tr_dtype compute,
                      bool is_strict,
                      char out[TR__FAULT_BYTES])
{
  double most = largest(compute);
  if (!isfinite(value)) {
    tr__format(out, TR__FAULT_BYTES, "is %g", isnan(value) ? NAN : value);
    return true;
  }
  if (fabs(value) > most) {
    tr__format(out, TR__FAULT_BYTES, "is %g, more than %s holds (%g)", value,
               tr__dtype_name(compute), most);
    return true;
  }
  const char *missing = missing_value(value, is_strict);
  if (missing != NULL) {
    tr__format(out, TR__FAULT_BYTES, "is %g, %s", value, missing);
    return true;
  }
  if (is_strict && compute != TR_F16 && fabs(value) > sqrt(most)) {
    tr__format(out, TR__FAULT_BYTES, "is %g, whose square %s cannot hold",
               value, tr__dtype_name(compute));
    return true;
  }
  return false;
}

double tr__number_at(const tr__numbers *numbers, int64_t i)
{
  return numbers->dtype == TR_F64 ? ((const double *)numbers->values)[i]
                                  : (double)((const float *)numbers->values)[i];
}

/* Whether any number of a range is NaN or at least `most`. */
static bool is_any_large(const tr__numbers *numbers,
                         int64_t begin,
                         int64_t end,
                         double most)
{
  int found = 0;
  if (numbers->dtype == TR_F64) {
    const double *values = numbers->values;
    for (int64_t i = begin; i < end; i++) {
      found |= !(fabs(values[i]) < most);
    }
    return found != 0;
  }
  const float *values = numbers->values;
  float limit = (float)most;
  for (int64_t i = begin; i < end; i++) {
    found |= !(fabsf(values[i]) < limit);
  }
  return found != 0;
}

int64_t
tr__first_fault(const tr__numbers *numbers, tr_dtype compute, bool is_strict)
{
  enum { RUN = 1024 };
  char fault[TR__FAULT_BYTES];
  for (int64_t begin = 0; begin < numbers->count; begin += RUN) {
    int64_t end = tr__min(begin + RUN, numbers->count);
    if (!is_any_large(numbers, begin, end, harmless(compute))) {
      continue;
    }
    for (int64_t i = begin; i < end; i++) {
      if (tr__number_fault(tr__number_at(numbers, i), compute, is_strict,
                           fault)) {
        return i;
      }
    }
  }
  return -1;
}

/* The loader that delivered a batch; NULL where the program made it. */
static const tr__source *find_source(const tr_context *ctx,
                                     const tr_batch *batch)
{
  const tr__source *source = ctx->sources;
  while (source != NULL &&
         (source->x == NULL || source->x != batch->inputs[0])) {
    source = source->next;
  }
  return source;
}

/* An element before its conversion to the context's type: read the sample
 * again, as doubles. Returns the number of the batch where reading fails, or
 * where the program has put another number into the batch. */
static double
original(const tr__source *source, int64_t row, const tr__looked *in, int64_t i)
{
  tr_dataset wide = *source->data;
  int64_t count = tr_shape_count(&wide.shape);
  const tr__numbers numbers = {.values = in->values, .dtype = in->dtype};
  double value = tr__number_at(&numbers, row * in->elements + i);
  if (isnan(value) ||
      in->elements != (in->is_target ? wide.target_values : count)) {
    return value;
  }
  double *x = calloc((size_t)count, sizeof *x);
  double *y = calloc((size_t)wide.target_values, sizeof *y);
  wide.dtype = wide.dtype == TR_I32 ? TR_I32 : TR_F64;
  wide.target_dtype = wide.target_dtype == TR_I32 ? TR_I32 : TR_F64;
  if (x != NULL && y != NULL &&
      wide.type->read(&wide, &source->ids[row], 1, x, y) == TR_OK) {
    double read = in->is_target ? y[i] : x[i];
    bool is_same =
        isinf(value) ? fabs(read) > FLT_MAX : !(read < value || read > value);
    value = is_same ? read : value;
  }
  free(x);
  free(y);
  return value;
}

/* "nan.h5 (train): sample 17, element 3 of x is nan" */
static void name_sample(const tr_context *ctx,
                        const tr_batch *batch,
                        const tr__looked *in,
                        int64_t at,
                        char *out,
                        size_t bytes)
{
  const tr__source *source = find_source(ctx, batch);
  int64_t row = at / in->elements, i = at % in->elements;
  char fault[TR__FAULT_BYTES] = "is not finite", whose[32] = "";
  const tr__numbers numbers = {.values = in->values, .dtype = in->dtype};
  tr__number_fault(tr__number_at(&numbers, at), ctx->compute, true, fault);
  if (source == NULL) {
    snprintf(out, bytes,
             "sample %lld of rank %d's part of the batch, element %lld of "
             "%s[%d] %s",
             (long long)row, ctx->comm->rank, (long long)i,
             in->is_target ? "targets" : "inputs", in->ordinal, fault);
    return;
  }
  tr__number_fault(original(source, row, in, i), ctx->compute, true, fault);
  if (source->data->counts != NULL) {
    snprintf(whose, sizeof whose, " of rank %d", ctx->comm->rank);
  }
  snprintf(out, bytes, "%s: sample %lld%s, element %lld of %s %s",
           source->data->name, (long long)source->ids[row], whose, (long long)i,
           in->is_target ? "its target" : "x", fault);
}

static bool counts(const tr_context *ctx, const tr_batch *batch, int64_t row)
{
  const tr__numbers weights = {.values = batch->weights, .dtype = ctx->dtype};
  return batch->weights == NULL || tr__number_at(&weights, row) != 0;
}

/* The first fault of an array in a sample whose weight is not 0. */
static int64_t
search(const tr_context *ctx, const tr_batch *batch, const tr__looked *in)
{
  for (int64_t row = 0; row < batch->count; row++) {
    const tr__numbers sample = {.values = (const char *)in->values +
                                          (size_t)(row * in->elements) *
                                              tr_dtype_size(in->dtype),
                                .dtype = in->dtype,
                                .count = in->elements};
    int64_t at = counts(ctx, batch, row)
                     ? tr__first_fault(&sample, ctx->compute, true)
                     : -1;
    if (at >= 0) {
      return row * in->elements + at;
    }
  }
  return -1;
}

bool tr__suspect_look(tr_context *ctx,
                      const tr_batch *batch,
                      const tr__looked *arrays,
                      int num_arrays,
                      int64_t step)
{
  for (int k = 0; k < num_arrays; k++) {
    const tr__looked *in = &arrays[k];
    bool has_numbers = in->dtype == TR_F32 || in->dtype == TR_F64;
    int64_t at = has_numbers ? search(ctx, batch, in) : -1;
    if (at < 0) {
      continue;
    }
    tr__suspect *suspect = &ctx->suspect;
    suspect->step = step;
    suspect->is_told = false;
    name_sample(ctx, batch, in, at, suspect->text, sizeof suspect->text);
    return true;
  }
  return false;
}

/* Whether an input holds a number large enough to be a fault. */
static bool
has_large(const tr_context *ctx, const tr_batch *batch, const tr__looked *in)
{
  const tr__numbers numbers = {.values = in->values, .dtype = in->dtype};
  bool has_numbers = in->dtype == TR_F32 || in->dtype == TR_F64;
  return has_numbers && !in->is_target &&
         is_any_large(&numbers, 0, batch->count * in->elements,
                      harmless(ctx->compute));
}

void tr__suspect_glance(tr_context *ctx,
                        const tr_batch *batch,
                        const tr__looked *arrays,
                        int num_arrays,
                        int64_t step)
{
  tr__suspect *suspect = &ctx->suspect;
  for (int k = 0; k < num_arrays; k++) {
    if (suspect->num_warnings >= MOST_WARNINGS ||
        suspect->num_vain >= MOST_VAIN) {
      return;
    }
    if (!has_large(ctx, batch, &arrays[k])) {
      continue;
    }
    if (tr__suspect_look(ctx, batch, &arrays[k], 1, step)) {
      tr__suspect_warn(ctx, "the loss does not show it");
    } else {
      suspect->num_vain++;
    }
  }
}

bool tr__suspect_is_new(const tr_context *ctx)
{
  return ctx->suspect.step > 0 && !ctx->suspect.is_told;
}

void tr__suspect_warn(tr_context *ctx, const char *consequence)
{
  tr__suspect *suspect = &ctx->suspect;
  if (!tr__suspect_is_new(ctx)) {
    return;
  }
  suspect->is_told = true;
  suspect->num_warnings += suspect->num_warnings <= MOST_WARNINGS;
  if (suspect->num_warnings <= MOST_WARNINGS) {
    tr__warn_here(ctx, "step %lld: %s; %s%s", (long long)suspect->step,
                  suspect->text, consequence,
                  suspect->num_warnings == MOST_WARNINGS
                      ? "; bad samples are not named from here on"
                      : "");
  }
}

/* Writes "the loss of step 3 is nan". The value of a gradient is not known.
 * Step 0 stands for an evaluation. */
static void describe(const tr__senseless *found, char out[TR__FAULT_BYTES])
{
  char value[32] = "not finite", where[48] = "the evaluation";
  if (!isnan(found->value)) {
    tr__format(value, sizeof value, "%g", found->value);
  } else if (strcmp(found->what, "gradient") != 0) {
    snprintf(value, sizeof value, "nan"); /* whatever its sign */
  }
  if (found->step > 0) {
    snprintf(where, sizeof where, "step %lld", (long long)found->step);
  }
  snprintf(out, TR__FAULT_BYTES, "the %s of %s is %s", found->what, where,
           value);
}

tr_status tr__suspect_blame(tr_context *ctx, const tr__senseless *found)
{
  tr__comm *comm = ctx->comm;
  tr__suspect *suspect = &ctx->suspect;
  bool is_recent = suspect->step > 0 && suspect->step >= found->step - 1;
  int64_t rank = is_recent ? comm->rank : comm->size;
  TR_TRY(comm->type->reduce_i64(comm, &rank, 1, TR__MIN));
  if (rank == comm->size) {
    return TR_OK;
  }
  char *text = suspect->text;
  TR_TRY(comm->type->broadcast(comm, text, sizeof suspect->text, (int)rank));
  suspect->step = 0;
  suspect->blamed = found->step;
  char message[TR__MESSAGE_BYTES], what[TR__FAULT_BYTES];
  describe(found, what);
  snprintf(message, sizeof message, "%s: %s%s", what, text, found->effect);
  TR_FAIL(found->status, "%s", message);
  tr__error_set_agreed((int)rank, rank == comm->rank, message);
  return found->status;
}

/* Before the first update the learning rate cannot be the cause. */
tr_status tr__suspect_fail(tr_context *ctx, const tr__senseless *found)
{
  char what[TR__FAULT_BYTES], advice[128];
  TR_TRY(tr__suspect_blame(ctx, found));
  describe(found, what);
  tr__format(advice, sizeof advice, "lower the rate (lr is %g)", found->lr);
  return tr__agree(
      ctx->comm,
      TR_FAIL(found->status, "%s%s; %s", what, found->effect,
              found->step > 1
                  ? advice
                  : "no update has been made, so it is not the rate: look at "
                    "the scale of inputs and targets and at the first values"));
}
