/* The classes that the labels of a data set name: counting them, and refusing
 * labels that cannot be class numbers. */
#ifndef TR_CLASSES_IMPL_H
#define TR_CLASSES_IMPL_H

#include "data/data_impl.h"

typedef struct tr__classes {
  int64_t *counts;    /* samples of each class up to the largest label */
  int64_t size;       /* allocated length of counts */
  int64_t num_labels; /* the largest label + 1 */
  int64_t declared;   /* number of one-hot columns; 0: not one-hot */
} tr__classes;

/* tr__classes_add - count one label. TR_EDATA where it is out of range. */
tr_status tr__classes_add(tr__classes *classes,
                          const char *where,
                          int64_t sample,
                          int64_t label);

/* tr__classes_declare - the data itself says how many classes there are.
 * TR_EDATA where two splits say different numbers. */
tr_status
tr__classes_declare(tr__classes *classes, const char *where, int64_t count);

/* tr__classes_count - the number of classes, at least 2. */
int64_t tr__classes_count(const tr__classes *classes);

/* tr__classes_judge - refuse labels with gaps that no class numbers have
 * (TR_EDATA), and warn of classes without a sample. A declared number of
 * classes always passes.
 *
 * ctx  where warnings go; NULL: no warnings */
tr_status tr__classes_judge(const tr__classes *classes,
                            tr_context *ctx,
                            const char *where);

void tr__classes_release(tr__classes *classes);

/* tr__warn_layout - warn where samples look like (height, width, channels). */
void tr__warn_layout(tr_context *ctx, const char *where, const tr_shape *shape);

#endif
