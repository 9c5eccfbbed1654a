/* The table of all backends: cpu, reference and strict. */
#include "backend/backend_table_impl.h"
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"
#include "backend/strict/strict_impl.h"

#include <string.h>

static const tr__backend_type *const table[] = {
    &tr__cpu_type,
    &tr__reference_type,
    &tr__strict_type,
    NULL,
};

const tr__backend_type *tr__backend_find(const char *name)
{
  for (int i = 0; table[i] != NULL; i++) {
    if (strcmp(table[i]->name, name) == 0) {
      return table[i];
    }
  }
  return NULL;
}

const tr__backend_type *const *tr__backend_table(void)
{
  return table;
}
