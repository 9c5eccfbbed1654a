/* Counts the labels of a data set per class, and refuses labels that cannot be
 * class numbers. Also warns of samples that look like (height, width,
 * channels). */
#include "data/classes_impl.h"

#include <stdlib.h>
#include <string.h>

/* Labels are refused where more than FACTOR * present + SPARE classes have no
 * sample; `present` counts the classes that have some. This refuses nine digits
 * and a stray 255, masks of 0 and 255, and customer numbers. It accepts labels
 * that use a few hundred classes of a thousand. */
#define FACTOR 8
#define SPARE  16

tr_status tr__classes_add(tr__classes *classes,
                          const char *where,
                          int64_t sample,
                          int64_t label)
{
  TR_CHECK(label >= 0 && label < TR__MAX_CLASSES, TR_EDATA,
           "%s: label of sample %lld is %lld, expected 0 to %d", where,
           (long long)sample, (long long)label, TR__MAX_CLASSES - 1);
  if (label >= classes->size) {
    int64_t size = tr__min(tr__max(2 * label, 256), TR__MAX_CLASSES);
    int64_t *counts =
        realloc(classes->counts, (size_t)size * sizeof *classes->counts);
    TR_CHECK(counts != NULL, TR_ENOMEM, "%s: no memory for %lld classes", where,
             (long long)size);
    memset(counts + classes->size, 0,
           (size_t)(size - classes->size) * sizeof *counts);
    classes->counts = counts;
    classes->size = size;
  }
  classes->counts[label]++;
  classes->num_labels = tr__max(classes->num_labels, label + 1);
  return TR_OK;
}

tr_status
tr__classes_declare(tr__classes *classes, const char *where, int64_t count)
{
  TR_CHECK(classes->declared == 0 || classes->declared == count, TR_EDATA,
           "%s: has %lld columns, expected %lld as in the other split", where,
           (long long)count, (long long)classes->declared);
  classes->declared = count;
  return TR_OK;
}

int64_t tr__classes_count(const tr__classes *classes)
{
  return tr__max(tr__max(classes->num_labels, classes->declared), 2);
}

void tr__classes_release(tr__classes *classes)
{
  free(classes->counts);
  *classes = (tr__classes){0};
}

/* The largest label below another one that has samples; -1: none. */
static int64_t label_below(const tr__classes *classes, int64_t label)
{
  do {
    label--;
  } while (label >= 0 && classes->counts[label] == 0);
  return label;
}

static int64_t first_absent(const tr__classes *classes)
{
  int64_t label = 0;
  while (label < classes->num_labels && classes->counts[label] > 0) {
    label++;
  }
  return label;
}

tr_status tr__classes_judge(const tr__classes *classes,
                            tr_context *ctx,
                            const char *where)
{
  int64_t present = 0, all = classes->num_labels;
  for (int64_t i = 0; i < all; i++) {
    present += classes->counts[i] > 0;
  }
  int64_t absent = all - present, largest = all - 1;
  if (absent == 0 || classes->declared > 0) {
    return TR_OK;
  }
  int64_t next = label_below(classes, largest);
  TR_CHECK(
      absent <= FACTOR * present + SPARE, TR_EDATA,
      "%s: only %lld of the classes 0 to %lld have samples (the largest "
      "label is %lld, on %lld samples, the next is %lld): expected classes "
      "numbered 0, 1, 2 and so on (in Python: numpy.unique(y, "
      "return_inverse=True)[1]), and no mark for missing ones",
      where, (long long)present, (long long)largest, (long long)largest,
      (long long)classes->counts[largest], (long long)next);
  if (ctx == NULL) {
    return TR_OK;
  }
  if (absent == 1 && classes->counts[0] == 0) {
    tr__warn_root(
        ctx,
        "%s: the labels are 1 to %lld and none is 0: %lld classes are "
        "made, and class 0 has no sample; subtract 1 from the labels",
        where, (long long)largest, (long long)all);
    return TR_OK;
  }
  tr__warn_root(
      ctx,
      "%s: %lld of the classes 0 to %lld have no sample, the first of "
      "them %lld (the largest label is on %lld samples)",
      where, (long long)absent, (long long)largest,
      (long long)first_absent(classes), (long long)classes->counts[largest]);
  return TR_OK;
}

static bool is_channels(int64_t extent)
{
  return extent == 1 || extent == 3 || extent == 4;
}

void tr__warn_layout(tr_context *ctx, const char *where, const tr_shape *shape)
{
  enum { LEAST_SIDE = 5, MOST_RATIO = 4 };
  char text[TR__SHAPE_BYTES];
  const int64_t *d = shape->dims;
  bool is_image = shape->ndim == 3 && is_channels(d[2]) && !is_channels(d[0]) &&
                  d[0] >= LEAST_SIDE && d[1] >= LEAST_SIDE &&
                  d[0] <= MOST_RATIO * d[1] && d[1] <= MOST_RATIO * d[0];
  if (is_image) {
    tr__warn_root(ctx,
                  "%s: samples of %s are read as %lld channels of %lld x %lld, "
                  "but look like (height, width, channels); in Python: "
                  "x.transpose(0, 3, 1, 2)",
                  where, tr__shape_text(shape, text), (long long)d[0],
                  (long long)d[1], (long long)d[2]);
  }
}
