/* The options of an optimizer as text, which ranks compare at creation and
 * checkpoints contain. */
#include "base/locale_impl.h"
#include "optim/optimizer_impl.h"

#include <stdio.h>
#include <stdlib.h>

/* The text cannot contain the function of TR_SCHEDULE_CALLBACK, only its
 * kind. */
static void print_schedule(const tr_schedule *s, FILE *out)
{
  fprintf(out, "schedule %d warmup %lld total %lld every %lld gamma %.17g\n",
          (int)s->kind, (long long)s->warmup, (long long)s->total,
          (long long)s->every, s->gamma);
  fprintf(out, "start %.17g end %.17g power %.17g rise %.17g\n", s->start,
          s->end, s->power, s->rise);
  fprintf(out, "patience %lld cooldown %lld threshold %.17g maximise %d\n",
          (long long)s->patience, (long long)s->cooldown, s->threshold,
          s->maximise);
  fprintf(out, "milestones");
  for (int i = 0; i < TR_MAX_MILESTONES && s->milestones[i] != 0; i++) {
    fprintf(out, " %lld", (long long)s->milestones[i]);
  }
  fprintf(out, "\n");
}

static void print_slices(const tr_optimizer *opt, FILE *out)
{
  fprintf(out, "clip_norm %.17g on_nonfinite %d\n", opt->clip_norm,
          (int)opt->on_nonfinite);
  for (int i = 0; i < opt->num_slices; i++) {
    const tr__slice *slice = &opt->slices[i];
    fprintf(out, "elements %lld to %lld lr_scale %.17g weight_decay %.17g",
            (long long)slice->offset,
            (long long)(slice->offset + slice->count - 1), slice->lr_scale,
            slice->weight_decay);
    if (slice->rows > 0) {
      fprintf(out, " matrix %lld %lld", (long long)slice->rows,
              (long long)slice->columns);
    }
    fprintf(out, "\n");
  }
}

static void print_optimizer(const tr_optimizer *opt, FILE *out)
{
  const tr__hyper *hyper = &opt->hyper;
  fprintf(out, "optimizer %s\n", opt->type->name);
  fprintf(out, "lr %.17g\nmomentum %.17g\n", hyper->lr, hyper->momentum);
  fprintf(out, "beta1 %.17g\nbeta2 %.17g\n", hyper->beta1, hyper->beta2);
  fprintf(out, "eps %.17g\nweight_decay %.17g\n", hyper->eps,
          hyper->weight_decay);
  fprintf(out, "dampening %.17g\nnesterov %d\n", hyper->dampening,
          hyper->nesterov);
  fprintf(out, "alpha %.17g\ncentered %d\n", hyper->alpha, hyper->centered);
  fprintf(out, "lr_decay %.17g\nfirst_sum %.17g\n", hyper->lr_decay,
          hyper->first_sum);
  fprintf(out, "scale %d adamw_lr %.17g adamw_weight_decay %.17g\n",
          (int)hyper->scale, hyper->adamw_lr, hyper->adamw_weight_decay);
  print_schedule(&opt->schedule, out);
  print_slices(opt, out);
}

char *tr__optimizer_text(const tr_optimizer *opt)
{
  char *text = NULL;
  size_t bytes = 0;
  FILE *out = open_memstream(&text, &bytes);
  if (out == NULL) {
    return NULL;
  }
  locale_t before = tr__locale_begin();
  print_optimizer(opt, out);
  tr__locale_end(before);
  if (fclose(out) != 0) {
    free(text);
    return NULL;
  }
  return text;
}
