/* Exponential moving averages (EMA) of the trained parameters.
 *
 *   e <- e + (1 - decay) (p - e)
 *
 * Source: Polyak and Juditsky 1992, SIAM J. Control Optim. 30, 838-855;
 * torch.optim.swa_utils.get_ema_avg_fn. */
#include "model/access_impl.h"
#include "optim/optimizer_impl.h"

#include <stdlib.h>
#include <train/optim.h>

struct tr_ema {
  tr__store *store; /* borrowed */
  double decay;
  int generation; /* the store's at creation */
  int64_t count;  /* elements */
  void *values;
  bool is_swapped;
};

static size_t bytes_of(const tr_ema *ema)
{
  return (size_t)ema->count * tr_dtype_size(ema->store->ctx->dtype);
}

static tr__tensor average(const tr_ema *ema)
{
  return tr__store_flat(ema->store, ema->values, 0, ema->count);
}

static tr__tensor params(const tr_ema *ema)
{
  return tr__store_flat(ema->store, ema->store->values, 0, ema->count);
}

static bool is_of_this_build(const tr_ema *ema)
{
  return ema->generation == ema->store->generation;
}

static tr_status check_build(const tr_ema *ema)
{
  TR_CHECK(is_of_this_build(ema), TR_ESTATE,
           "the model was built again since these averages were made: destroy "
           "them and make new ones");
  return TR_OK;
}

static void move(tr_ema *ema, double decay)
{
  tr__backend *backend = ema->store->ctx->backend;
  backend->ops.ema_update(&backend->stream,
                          &(tr__ema_update_args){.e = average(ema),
                                                 .p = params(ema),
                                                 .decay = decay});
}

static tr_status create(tr_model *net, double decay, tr_ema **out)
{
  TR_CHECK(tr__model_store(net) != NULL, TR_ESTATE,
           "tr_ema_create before tr_model_build()");
  TR_CHECK(decay >= 0 && decay < 1, TR_EINVAL,
           "tr_ema_create: decay is %g, expected 0 <= decay < 1", decay);
  tr_ema *ema = calloc(1, sizeof *ema);
  TR_CHECK(ema != NULL, TR_ENOMEM, "no memory for averages");
  *out = ema;
  ema->store = tr__model_store(net);
  ema->generation = ema->store->generation;
  ema->count = ema->store->count;
  ema->decay = decay;
  tr__backend *backend = ema->store->ctx->backend;
  TR_TRY(backend->type->alloc(backend, bytes_of(ema), &ema->values));
  /* alloc zeroes the averages, so decay 0 makes them equal the parameters. */
  move(ema, 0);
  return TR_OK;
}

tr_status tr_ema_create(tr_model *net, double decay, tr_ema **out)
{
  *out = NULL;
  tr_status status = create(net, decay, out);
  status = tr__agree(tr__model_context(net)->comm, status);
  if (status != TR_OK) {
    tr_ema_destroy(out);
  }
  return status;
}

tr_status tr_ema_update(tr_ema *ema)
{
  TR_TRY(check_build(ema));
  TR_CHECK(!ema->is_swapped, TR_ESTATE,
           "tr_ema_update while the averages are the parameters: call "
           "tr_ema_swap() first");
  move(ema, ema->decay);
  return TR_OK;
}

void *tr__ema_values(const tr_ema *ema)
{
  return ema->values;
}

tr_status tr__ema_check(const tr_ema *ema, const tr__store *store)
{
  TR_CHECK(ema->store == store, TR_EINVAL,
           "checkpoint: the averages belong to another model");
  TR_TRY(check_build(ema));
  TR_CHECK(!ema->is_swapped, TR_ESTATE,
           "checkpoint while the averages are the parameters: call "
           "tr_ema_swap() first");
  return TR_OK;
}

void tr_ema_swap(tr_ema *ema)
{
  if (!is_of_this_build(ema)) {
    return;
  }
  tr__backend *backend = ema->store->ctx->backend;
  backend->ops.swap(&backend->stream,
                    &(tr__swap_args){.a = params(ema), .b = average(ema)});
  tr__store_changed(ema->store);
  ema->is_swapped = !ema->is_swapped;
}

void tr_ema_destroy(tr_ema **ema)
{
  if (ema == NULL || *ema == NULL) {
    return;
  }
  tr__backend *backend = (*ema)->store->ctx->backend;
  backend->type->wait(&backend->stream);
  backend->type->free(backend, (*ema)->values, bytes_of(*ema));
  free(*ema);
  *ema = NULL;
}
