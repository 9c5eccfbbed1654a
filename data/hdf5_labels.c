/* Class labels of an HDF5 file: whole numbers or one-hot rows, read in blocks
 * of rows, checked and counted. */
#include "data/hdf5_labels_impl.h"

#include <math.h>
#include <stdlib.h>

#define VALUES_AT_ONCE 65536

/* Advice for targets that are not classes. */
#define ADVICE "numbers to be predicted are given by tr_array_open()"

typedef struct reader {
  tr__hdf5_array y;
  bool is_float;
  int64_t columns;
  int64_t at_once; /* rows */
  void *values;    /* int64_t, or double where is_float */
  int32_t *labels;
} reader;

static tr_status check_extents(const tr__hdf5_array *y, const tr__hdf5_array *x)
{
  TR_CHECK(y->ndim >= 1, TR_EDATA, "%s: is a single value, expected an array",
           y->where);
  TR_CHECK(y->ndim <= 2 || y->row == 1, TR_EDATA,
           "%s: has %d extents, expected 1: a class for each sample (" ADVICE
           ")",
           y->where, y->ndim);
  TR_CHECK(x == NULL || y->dims[0] == x->dims[0], TR_EDATA,
           "%s: has %lld labels, expected %lld as in x", y->where,
           (long long)y->dims[0], (long long)x->dims[0]);
  TR_CHECK(y->row <= TR__MAX_CLASSES, TR_EDATA,
           "%s: has %lld columns, expected 1, or one of up to %d classes",
           y->where, (long long)y->row, TR__MAX_CLASSES);
  return TR_OK;
}

/* Value i of the block last read, as an integer. TR_EDATA where a float is not
 * whole. */
static tr_status whole(const reader *r, int64_t i, int64_t sample, int64_t *out)
{
  if (!r->is_float) {
    *out = ((const int64_t *)r->values)[i];
    return TR_OK;
  }
  double value = ((const double *)r->values)[i];
  TR_CHECK(value == rint(value) && fabs(value) < 1e18, TR_EDATA,
           "%s: label of sample %lld is %g, expected a whole number: classes "
           "are 0, 1, 2 and so on; " ADVICE,
           r->y.where, (long long)sample, value);
  *out = (int64_t)value;
  return TR_OK;
}

/* The index of the single 1 in a one-hot row. TR_EDATA for any other row. */
static tr_status
place_of_one(const reader *r, int64_t row, int64_t sample, int64_t *out)
{
  int64_t ones = 0, others = 0, value = 0;
  for (int64_t j = 0; j < r->columns; j++) {
    TR_TRY(whole(r, row * r->columns + j, sample, &value));
    *out = value == 1 ? j : *out;
    ones += value == 1;
    others += value != 1 && value != 0;
  }
  TR_CHECK(ones == 1 && others == 0, TR_EDATA,
           "%s: has 2 extents, expected 1, or rows of one 1 and zeros: that of "
           "sample %lld is not (in Python: y.argmax(1), if the largest is the "
           "class; " ADVICE ")",
           r->y.where, (long long)sample);
  return TR_OK;
}

static tr_status
read_piece(reader *r, int64_t first, int64_t count, tr__classes *classes)
{
  TR_TRY(tr__hdf5_read(&r->y, first, count,
                       r->is_float ? TR__HDF5_AS_F64 : TR__HDF5_AS_I64,
                       r->values));
  for (int64_t i = 0; i < count; i++) {
    int64_t label = 0;
    TR_TRY((r->columns > 1 ? place_of_one : whole)(r, i, first + i, &label));
    TR_TRY(tr__classes_add(classes, r->y.where, first + i, label));
    if (r->labels != NULL) {
      r->labels[first + i] = (int32_t)label;
    }
  }
  return TR_OK;
}

static tr_status read_all(reader *r, bool is_kept, tr__classes *classes)
{
  const tr__hdf5_array *y = &r->y;
  r->is_float = y->type.class == TR__HDF5_FLOAT;
  r->columns = y->row;
  r->at_once = tr__max(VALUES_AT_ONCE / r->columns, 1);
  r->values = malloc((size_t)(r->at_once * r->columns) * sizeof(int64_t));
  if (is_kept) {
    r->labels = malloc((size_t)y->dims[0] * sizeof *r->labels);
  }
  TR_CHECK(r->values != NULL && (!is_kept || r->labels != NULL), TR_ENOMEM,
           "%s: no memory for %lld labels", y->where, (long long)y->dims[0]);
  for (int64_t i = 0; i < y->dims[0]; i += r->at_once) {
    TR_TRY(read_piece(r, i, tr__min(r->at_once, y->dims[0] - i), classes));
  }
  if (r->columns > 1) {
    TR_TRY(tr__classes_declare(classes, y->where, r->columns));
  }
  return TR_OK;
}

tr_status tr__hdf5_add_labels(tr__hdf5_file *file,
                              const char *name,
                              const tr__hdf5_array *x,
                              int32_t **labels,
                              tr__classes *classes)
{
  reader r = {0};
  tr_status status;
  TR_TRY_GOTO(tr__hdf5_open_array(
                  file, name, &(tr__hdf5_want){.missing = TR_ENOINPUT}, &r.y),
              done);
  TR_TRY_GOTO(check_extents(&r.y, x), done);
  TR_TRY_GOTO(read_all(&r, labels != NULL, classes), done);
done:
  tr__hdf5_close_array(&r.y);
  free(r.values);
  if (labels != NULL) {
    *labels = r.labels;
  }
  return status;
}
