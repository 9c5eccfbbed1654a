#include "checkpoint/h5_impl.h"

#include <string.h>

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
