/* The table of all optimizer types, over which the generic tests iterate. */
#include "optim/optimizer_table_impl.h"

const tr__optimizer_type *const *tr__optimizer_table(void)
{
  static const tr__optimizer_type *const table[] = {
      &tr__sgd_type,
      &tr__adam_type,
      &tr__adamw_type,
      &tr__rmsprop_type,
      &tr__adagrad_type,
      &tr__muon_type,
      NULL,
  };
  return table;
}
