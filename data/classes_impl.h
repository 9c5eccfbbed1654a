/* Which classes the labels of a data set name, and whether they can be meant.
 */
#ifndef TR_CLASSES_IMPL_H
#define TR_CLASSES_IMPL_H

#include "data/data_impl.h"

typedef struct tr__classes {
  int64_t *counts; /* samples of each class up to the largest label */
  int64_t size;
  int64_t num_labels; /* the largest label + 1 */
  int64_t declared;   /* by the number of columns; 0: not */
} tr__classes;

/* tr__classes_add - count one label; TR_EDATA where it is out of range. */
tr_status tr__classes_add(tr__classes *classes,
                          const char *where,
                          int64_t sample,
                          int64_t label);

/* tr__classes_declare - the data says how many classes there are. */
tr_status
tr__classes_declare(tr__classes *classes, const char *where, int64_t count);

/* tr__classes_count - how many there are, 2 at least. */
int64_t tr__classes_count(const tr__classes *classes);

/* tr__classes_judge - refuse labels with gaps that nobody can mean, and warn of
 * classes that no sample has.
 *
 * ctx  that warnings go to; NULL: nowhere */
tr_status tr__classes_judge(const tr__classes *classes,
                            tr_context *ctx,
                            const char *where);

void tr__classes_release(tr__classes *classes);

/* tr__warn_layout - warn where samples look like (height, width, channels). */
void tr__warn_layout(tr_context *ctx, const char *where, const tr_shape *shape);

#endif
