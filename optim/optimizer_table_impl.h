/* The list of optimizer types. A new type needs a file of its own, a
 * declaration here, and one line each in optimizer_table.c and meson.build. */
#ifndef TR_OPTIM_TABLE_IMPL_H
#define TR_OPTIM_TABLE_IMPL_H

#include "optim/optimizer_impl.h"

extern const tr__optimizer_type tr__sgd_type;
extern const tr__optimizer_type tr__adam_type;
extern const tr__optimizer_type tr__adamw_type;
extern const tr__optimizer_type tr__rmsprop_type;
extern const tr__optimizer_type tr__adagrad_type;
extern const tr__optimizer_type tr__muon_type;

#endif
