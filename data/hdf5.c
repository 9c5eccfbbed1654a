/* Samples from an HDF5 file. */
#include "data/data_impl.h"

tr_status tr__hdf5_open_local(tr_context *ctx,
                              const char *path,
                              const char *split,
                              tr_dataset **out)
{
  (void)ctx;
  (void)split;
  *out = NULL;
  return TR_FAIL(TR_EUNSUPPORTED, "%s: HDF5", path);
}

tr_status tr_hdf5_open(tr_context *ctx,
                       const char *path,
                       const char *split,
                       tr_dataset **out)
{
  tr_dataset *data = NULL;
  tr_status status = tr__hdf5_open_local(ctx, path, split, &data);
  return tr__dataset_agree(ctx, status, data, out);
}
