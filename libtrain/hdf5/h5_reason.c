/* Silences libhdf5 while it is called, and reads its error stack. */
#include "hdf5/h5_impl.h"
#include "hdf5/h5_lock_impl.h"

#include <string.h>

void tr__hdf5_begin(tr__hdf5_section *section)
{
  tr__h5_lock();
  H5Eget_auto2(H5E_DEFAULT, &section->handler, &section->handler_data);
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void tr__hdf5_end(tr__hdf5_section *section)
{
  H5Eclear2(H5E_DEFAULT);
  H5Eset_auto2(H5E_DEFAULT, section->handler, section->handler_data);
  tr__h5_unlock();
}

static herr_t first_reason(unsigned n, const H5E_error2_t *error, void *out)
{
  if (n == 0) {
    snprintf(out, TR__H5_REASON_BYTES, "%s in %s", error->desc,
             error->func_name);
  }
  return 0;
}

const char *tr__h5_reason(char *out)
{
  strcpy(out, "no reason given");
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first_reason, out);
  return out;
}
