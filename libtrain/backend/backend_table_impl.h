/* Finds a backend by its name. */
#ifndef TR_BACKEND_TABLE_IMPL_H
#define TR_BACKEND_TABLE_IMPL_H

#include "core/backend_impl.h"

/* tr__backend_find - the backend with this name, or NULL. */
const tr__backend_type *tr__backend_find(const char *name);

/* tr__backend_table - all backends, ended by NULL; for tests. */
const tr__backend_type *const *tr__backend_table(void);

#endif
