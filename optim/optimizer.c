/* What all optimizers share: creation, the step, the schedule. */
#include "base/optimizer_impl.h"
#include "optim/schedule_impl.h"

#include <math.h>
#include <stdlib.h>

static tr_status check(tr_model *net, const tr_optimizer *wanted)
{
  const char *name = wanted->type->name;
  const tr__hyper *hyper = &wanted->hyper;
  TR_CHECK(tr__model_store(net) != NULL, TR_ESTATE,
           "tr_%s_create before tr_model_build()", name);
  TR_CHECK(hyper->lr > 0 && isfinite(hyper->lr), TR_EINVAL,
           "%s: lr is %g, expected more than 0", name, hyper->lr);
  TR_CHECK(hyper->weight_decay >= 0 && isfinite(hyper->weight_decay), TR_EINVAL,
           "%s: weight_decay is %g, expected at least 0", name,
           hyper->weight_decay);
  TR_CHECK(hyper->momentum >= 0 && isfinite(hyper->momentum), TR_EINVAL,
           "%s: momentum is %g, expected at least 0", name, hyper->momentum);
  TR_CHECK(hyper->beta1 >= 0 && hyper->beta1 < 1 && hyper->beta2 >= 0 &&
               hyper->beta2 < 1,
           TR_EINVAL,
           "%s: betas are %g and %g, expected 0 <= beta < 1; start from "
           "tr_%s_defaults()",
           name, hyper->beta1, hyper->beta2, name);
  TR_CHECK(hyper->eps >= 0 && isfinite(hyper->eps), TR_EINVAL,
           "%s: eps is %g, expected at least 0", name, hyper->eps);
  return tr__schedule_check(&wanted->schedule);
}

static size_t slot_bytes(const tr_optimizer *opt)
{
  return (size_t)opt->slot_count * tr_dtype_size(opt->store->ctx->dtype);
}

static tr_status
create(tr_model *net, const tr_optimizer *wanted, tr_optimizer **out)
{
  TR_TRY(check(net, wanted));
  tr_optimizer *opt = malloc(sizeof *opt);
  TR_CHECK(opt != NULL, TR_ENOMEM, "no memory for an optimizer");
  *opt = *wanted;
  opt->store = tr__model_store(net);
  opt->slot_count = opt->store->count;
  opt->generation = opt->store->generation;
  *out = opt;
  tr__backend *backend = opt->store->ctx->backend;
  for (int i = 0; i < opt->num_slots; i++) {
    TR_TRY(backend->type->alloc(backend, slot_bytes(opt), &opt->slots[i]));
  }
  return TR_OK;
}

tr_status tr__optimizer_create(tr_model *net,
                               const tr_optimizer *wanted,
                               tr_optimizer **out)
{
  *out = NULL;
  tr__comm *comm = tr__model_context(net)->comm;
  tr_status status = create(net, wanted, out);
  char *text = tr__optimizer_text(wanted);
  if (status == TR_OK && text == NULL) {
    status = TR_FAIL(TR_ENOMEM, "no memory for an optimizer's options");
  }
  status = tr__agree(comm, status);
  if (status == TR_OK) {
    status = tr__agree_text(comm, "optimizers", text);
  }
  free(text);
  if (status != TR_OK) {
    tr_optimizer_destroy(out);
  }
  return status;
}

tr_status tr__optimizer_check(const tr_optimizer *opt)
{
  TR_CHECK(opt->generation == opt->store->generation, TR_ESTATE,
           "%s: the model was built again since this optimizer was made: "
           "destroy it and make a new one",
           opt->type->name);
  return TR_OK;
}

void tr_optimizer_destroy(tr_optimizer **opt)
{
  if (opt == NULL || *opt == NULL) {
    return;
  }
  tr__backend *backend = (*opt)->store->ctx->backend;
  backend->type->wait(&backend->stream);
  for (int i = 0; i < (*opt)->num_slots; i++) {
    backend->type->free(backend, (*opt)->slots[i], slot_bytes(*opt));
  }
  free(*opt);
  *opt = NULL;
}

char *tr__optimizer_text(const tr_optimizer *opt)
{
  char *text = NULL;
  size_t bytes = 0;
  FILE *out = open_memstream(&text, &bytes);
  if (out == NULL) {
    return NULL;
  }
  const tr__hyper *hyper = &opt->hyper;
  const tr_schedule *schedule = &opt->schedule;
  fprintf(out, "optimizer %s\n", opt->type->name);
  fprintf(out, "lr %.17g\nmomentum %.17g\n", hyper->lr, hyper->momentum);
  fprintf(out, "beta1 %.17g\nbeta2 %.17g\n", hyper->beta1, hyper->beta2);
  fprintf(out, "eps %.17g\nweight_decay %.17g\n", hyper->eps,
          hyper->weight_decay);
  fprintf(out, "schedule %d warmup %lld total %lld every %lld gamma %.17g\n",
          (int)schedule->kind, (long long)schedule->warmup,
          (long long)schedule->total, (long long)schedule->every,
          schedule->gamma);
  if (fclose(out) != 0) {
    free(text);
    return NULL;
  }
  return text;
}

double tr_optimizer_lr(const tr_optimizer *opt)
{
  return tr__schedule_lr(&opt->schedule, opt->hyper.lr, opt->num_steps);
}

int64_t tr_optimizer_num_steps(const tr_optimizer *opt)
{
  return opt->num_steps;
}

void tr__optimizer_set_steps(tr_optimizer *opt, int64_t num_steps)
{
  opt->num_steps = num_steps;
  opt->store->num_steps = num_steps;
}

/* The numbers of this step, behind those that forward wrote. */
static void upload_numbers(const tr_optimizer *opt)
{
  double t = (double)(opt->num_steps + 1);
  const tr__step_block block = {.lr = tr_optimizer_lr(opt),
                                .correction1 = 1.0 - pow(opt->hyper.beta1, t),
                                .correction2 = 1.0 - pow(opt->hyper.beta2, t),
                                .first = opt->num_steps == 0};
  size_t skip = offsetof(tr__step_block, lr);
  tr__backend *backend = opt->store->ctx->backend;
  backend->type->upload(&backend->stream, (char *)opt->store->block + skip,
                        (const char *)&block + skip, sizeof block - skip);
}

tr_status tr_optimizer_step(tr_optimizer *opt)
{
  tr__store *store = opt->store;
  tr_context *ctx = store->ctx;
  TR_TRY(tr__optimizer_check(opt));
  TR_CHECK(!store->grads_are_clear, TR_ESTATE,
           "tr_optimizer_step before tr_model_backward()");
  TR_CHECK(store->grads_are_reduced || ctx->comm->size == 1, TR_ESTATE,
           "tr_optimizer_step before tr_model_allreduce_grads()");
  if (ctx->pending != TR_OK) {
    return TR_FAIL(ctx->pending, "%s", ctx->pending_message);
  }
  upload_numbers(opt);
  opt->type->update(opt, 0, store->count);
  opt->num_steps++;
  store->num_steps++;
  store->grads_are_clear = true;
  store->num_batches = 0;
  store->grads_are_reduced = false;
  return TR_OK;
}
