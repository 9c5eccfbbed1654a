/* All optimizers. A new one is its own file, a declaration here, and a line in
 * optimizer_table.c and meson.build. */
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
