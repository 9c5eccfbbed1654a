/* Loss and accuracy of the last batch over all ranks, from the sums in the
 * tail. */
#include "core/suspect_impl.h"
#include "sync/sync_impl.h"

#include <math.h>
#include <string.h>

static double element(tr_dtype dtype, const void *values, int i)
{
  return dtype == TR_F64 ? ((const double *)values)[i]
                         : (double)((const float *)values)[i];
}

tr_status tr__read_tail(tr_model *net, const void *tail)
{
  double raw[TR__TAIL_COUNT];
  tr__backend *backend = net->ctx->backend;
  size_t bytes = TR__TAIL_COUNT * tr_dtype_size(net->ctx->dtype);
  TR_TRY(backend->type->download(&backend->stream, raw, tail, bytes));
  for (int i = 0; i < TR__TAIL_COUNT; i++) {
    net->known[i] = element(net->ctx->dtype, raw, i);
  }
  return TR_OK;
}

tr_status tr__loss_local_sums(tr_model *net, double *sums)
{
  TR_TRY(tr__read_tail(net, net->sums));
  memcpy(sums, net->known, TR__TAIL_FAILED * sizeof *sums);
  net->step.has_global_sums = false;
  return TR_OK;
}

/* Makes net->known the global sums of the last forward. Sends messages only
 * where no all-reduce of gradients has brought these sums already. */
static tr_status know_sums(tr_model *net, const char *call)
{
  TR_CHECK(net->step.activations != TR__ACTIVATIONS_NONE && net->num_losses > 0,
           TR_ESTATE, "%s before tr_model_forward(), or without a loss", call);
  if (net->step.has_global_sums) {
    return TR_OK;
  }
  tr__comm *comm = net->ctx->comm;
  TR_TRY(tr__agree(comm, tr__read_tail(net, net->sums)));
  TR_TRY(tr__comm_sum(comm, net->ctx->dtype, net->known, TR__TAIL_FAILED));
  net->step.has_global_sums = true;
  return TR_OK;
}

static double weighted_mean(const tr_model *net, double sum)
{
  double weight = net->known[TR__TAIL_WEIGHT];
  return weight != 0 ? sum / weight : 0;
}

tr_status tr__loss_mean(tr_model *net, double *loss)
{
  *loss = 0;
  TR_TRY(know_sums(net, "tr_model_loss"));
  *loss = weighted_mean(net, tr__tail_loss(net->known));
  return TR_OK;
}

tr_status tr_model_loss(tr_model *net, double *loss)
{
  TR_TRY(tr__loss_mean(net, loss));
  if (!(fabs(*loss) < TR__SENSELESS_MEAN)) {
    tr__suspect_warn(net->ctx, "the loss has no sense");
  }
  return TR_OK;
}

tr_status tr_model_accuracy(tr_model *net, double *accuracy)
{
  *accuracy = 0;
  TR_TRY(know_sums(net, "tr_model_accuracy"));
  *accuracy = weighted_mean(net, net->known[TR__TAIL_CORRECT]);
  return TR_OK;
}
