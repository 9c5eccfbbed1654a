/* Learning-rate schedules: the rate of a step.
 *
 * Source: Goyal et al. 2017, arXiv:1706.02677, sec. 2.2 (warm-up); Loshchilov
 * and Hutter 2017, arXiv:1608.03983 (cosine, without restarts); Smith and Topin
 * 2017, arXiv:1708.07120 (one cycle); torch.optim.lr_scheduler. */
#include "optim/schedule_impl.h"

#include <math.h>
#include <train/optim.h>

static bool is_share(double value)
{
  return value >= 0 && isfinite(value);
}

static tr_status check_total(const tr_schedule *s)
{
  TR_CHECK(s->total > s->warmup, TR_EINVAL,
           "schedule: total is %lld steps, expected more than the %lld of "
           "warmup",
           (long long)s->total, (long long)s->warmup);
  return TR_OK;
}

static tr_status check_cycle(const tr_schedule *s)
{
  TR_TRY(check_total(s));
  double T = (double)(s->total - s->warmup);
  double rise = tr__or_default(s->rise, 0.3);
  TR_CHECK(rise * T > 1 && rise < 1, TR_EINVAL,
           "schedule: rise is %g of %g steps, expected more than 1 step and "
           "less than all",
           rise, T);
  return TR_OK;
}

static tr_status check_milestones(const tr_schedule *s)
{
  TR_CHECK(s->milestones[0] > 0, TR_EINVAL,
           "schedule: milestones[0] is %lld, expected at least 1",
           (long long)s->milestones[0]);
  for (int i = 1; i < TR_MAX_MILESTONES && s->milestones[i] != 0; i++) {
    TR_CHECK(s->milestones[i] > s->milestones[i - 1], TR_EINVAL,
             "schedule: milestones[%d] is %lld, expected more than %lld", i,
             (long long)s->milestones[i], (long long)s->milestones[i - 1]);
  }
  return TR_OK;
}

static tr_status check_plateau(const tr_schedule *s)
{
  TR_CHECK(s->patience >= 0 && s->cooldown >= 0 && is_share(s->threshold),
           TR_EINVAL,
           "schedule: patience is %lld, cooldown %lld and threshold %g, "
           "expected at least 0",
           (long long)s->patience, (long long)s->cooldown, s->threshold);
  TR_CHECK(s->gamma < 1, TR_EINVAL,
           "schedule: gamma is %g, expected less than 1", s->gamma);
  return TR_OK;
}

tr_status tr__schedule_check(const tr_schedule *s)
{
  TR_CHECK(s->warmup >= 0, TR_EINVAL,
           "schedule: warmup is %lld steps, expected at least 0",
           (long long)s->warmup);
  TR_CHECK(s->kind == TR_SCHEDULE_STEP || is_share(s->gamma), TR_EINVAL,
           "schedule: gamma is %g, expected at least 0", s->gamma);
  TR_CHECK(is_share(s->start) && is_share(s->end) && is_share(s->power),
           TR_EINVAL,
           "schedule: start is %g, end %g and power %g, expected at least 0",
           s->start, s->end, s->power);
  switch (s->kind) {
  case TR_SCHEDULE_CONSTANT:
  case TR_SCHEDULE_EXPONENTIAL:
    return TR_OK;
  case TR_SCHEDULE_COSINE:
  case TR_SCHEDULE_LINEAR:
  case TR_SCHEDULE_POLYNOMIAL:
    return check_total(s);
  case TR_SCHEDULE_ONE_CYCLE:
    return check_cycle(s);
  case TR_SCHEDULE_MULTISTEP:
    return check_milestones(s);
  case TR_SCHEDULE_PLATEAU:
    return check_plateau(s);
  case TR_SCHEDULE_CALLBACK:
    TR_CHECK(s->rate != NULL, TR_EINVAL, "schedule: rate is NULL");
    return TR_OK;
  case TR_SCHEDULE_STEP:
    TR_CHECK(s->every > 0 && is_share(s->gamma), TR_EINVAL,
             "schedule: every is %lld steps and gamma %g, expected at least 1 "
             "and 0",
             (long long)s->every, s->gamma);
    return TR_OK;
  }
  return TR_FAIL(TR_EINVAL, "schedule: kind is %d, expected 0 to 9",
                 (int)s->kind);
}

/* Half a cosine wave from a, at share 0, to b, at share 1. */
static double along_cosine(double a, double b, double share)
{
  return b + (a - b) * (1.0 + cos(3.14159265358979323846 * share)) / 2.0;
}

static double one_cycle(const tr_schedule *s, double t, double T)
{
  double start = tr__or_default(s->start, 1.0 / 25);
  double end = tr__or_default(s->end, start / 1e4);
  double top = (tr__or_default(s->rise, 0.3)) * T - 1, last = T - 1;
  if (t <= top) {
    return along_cosine(start, 1, t / top);
  }
  return along_cosine(1, end, fmin((t - top) / (last - top), 1));
}

static int64_t num_milestones(const tr_schedule *s, int64_t t)
{
  int64_t count = 0;
  while (count < TR_MAX_MILESTONES && s->milestones[count] != 0 &&
         s->milestones[count] <= t) {
    count++;
  }
  return count;
}

static double share_of(const tr_schedule *s, int64_t t)
{
  double gamma = tr__or_default(s->gamma, 0.1);
  /* T is a divisor. Without a total, the difference may be 0 or less. */
  double T = (double)tr__max(s->total - s->warmup, 1);
  double done = fmin((double)t / T, 1);
  switch (s->kind) {
  case TR_SCHEDULE_COSINE:
    return along_cosine(1, s->end, done);
  case TR_SCHEDULE_STEP:
    return pow(gamma, (double)(t / s->every));
  case TR_SCHEDULE_MULTISTEP:
    return pow(gamma, (double)num_milestones(s, t));
  case TR_SCHEDULE_EXPONENTIAL:
    return pow(gamma, (double)t);
  case TR_SCHEDULE_LINEAR:
    return tr__or_default(s->start, 1) * (1 - done) + s->end * done;
  case TR_SCHEDULE_POLYNOMIAL:
    return s->end + (1 - s->end) * pow(1 - done, tr__or_default(s->power, 1));
  case TR_SCHEDULE_ONE_CYCLE:
    return one_cycle(s, (double)t, T);
  case TR_SCHEDULE_CALLBACK:
    return s->rate(s->user, t);
  case TR_SCHEDULE_CONSTANT:
  case TR_SCHEDULE_PLATEAU: /* the optimizer keeps its factor as state */
    break;
  }
  return 1;
}

double tr__schedule_lr(const tr_schedule *schedule, double lr, int64_t step)
{
  if (step < schedule->warmup) {
    return lr * (double)(step + 1) / (double)schedule->warmup;
  }
  return lr * share_of(schedule, step - schedule->warmup);
}

/* The threshold is relative to |best|, so it works for any sign. A non-finite
 * metric is no improvement, and any finite one improves on a non-finite
 * best. */
static bool
is_better(const tr_schedule *s, const tr__plateau *plateau, double metric)
{
  double step = tr__or_default(s->threshold, 1e-4) * fabs(plateau->best);
  if (!isfinite(metric)) {
    return false;
  }
  if (plateau->num_reports == 0 || !isfinite(plateau->best)) {
    return true;
  }
  return s->maximise ? metric > plateau->best + step
                     : metric < plateau->best - step;
}

void tr__plateau_report(const tr_schedule *s,
                        tr__plateau *plateau,
                        double metric)
{
  if (is_better(s, plateau, metric)) {
    plateau->best = metric;
    plateau->num_bad = 0;
  } else {
    plateau->num_bad++;
  }
  if (plateau->num_reports == 0) {
    plateau->best = metric;
  }
  plateau->num_reports++;
  if (plateau->cooldown > 0) {
    plateau->cooldown--;
    plateau->num_bad = 0;
  }
  if (plateau->num_bad > s->patience) {
    double gamma = tr__or_default(s->gamma, 0.1);
    plateau->scale = fmax(plateau->scale * gamma, s->end);
    plateau->cooldown = s->cooldown;
    plateau->num_bad = 0;
  }
}
