/* Learning-rate schedules: the rate of a step.
 *
 * Source: Goyal et al. 2017, arXiv:1706.02677, sec. 2.2 (warm-up); Loshchilov
 * and Hutter 2017, arXiv:1608.03983 (cosine, without restarts). */
#include "optim/schedule_impl.h"

#include <math.h>
#include <train/optim.h>

tr_status tr__schedule_check(const tr_schedule *schedule)
{
  TR_CHECK(schedule->warmup >= 0, TR_EINVAL,
           "schedule: warmup is %lld steps, expected at least 0",
           (long long)schedule->warmup);
  switch (schedule->kind) {
  case TR_SCHEDULE_CONSTANT:
    return TR_OK;
  case TR_SCHEDULE_COSINE:
    TR_CHECK(schedule->total > schedule->warmup, TR_EINVAL,
             "schedule: total is %lld steps, expected more than the %lld of "
             "warmup",
             (long long)schedule->total, (long long)schedule->warmup);
    return TR_OK;
  case TR_SCHEDULE_STEP:
    TR_CHECK(schedule->every > 0 && schedule->gamma >= 0 &&
                 isfinite(schedule->gamma),
             TR_EINVAL,
             "schedule: every is %lld steps and gamma %g, expected at least 1 "
             "and 0",
             (long long)schedule->every, schedule->gamma);
    return TR_OK;
  }
  return TR_FAIL(TR_EINVAL, "schedule: kind is %d, expected 0 to 2",
                 (int)schedule->kind);
}

double tr__schedule_lr(const tr_schedule *schedule, double lr, int64_t step)
{
  if (step < schedule->warmup) {
    return lr * (double)(step + 1) / (double)schedule->warmup;
  }
  int64_t t = step - schedule->warmup;
  if (schedule->kind == TR_SCHEDULE_COSINE) {
    int64_t total = schedule->total - schedule->warmup;
    double share = t < total ? (double)t / (double)total : 1.0;
    return lr * (1.0 + cos(3.14159265358979323846 * share)) / 2.0;
  }
  if (schedule->kind == TR_SCHEDULE_STEP) {
    double gamma = schedule->gamma == 0 ? 0.1 : schedule->gamma;
    return lr * pow(gamma, (double)(t / schedule->every));
  }
  return lr;
}
