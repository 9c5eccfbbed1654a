/* Learning-rate schedules. */
#ifndef TR_SCHEDULE_IMPL_H
#define TR_SCHEDULE_IMPL_H

#include "base/base_impl.h"

#include <train/optim.h>

tr_status tr__schedule_check(const tr_schedule *schedule);

/* tr__schedule_lr - the rate of step 0, 1, ... from the base rate. */
double tr__schedule_lr(const tr_schedule *schedule, double lr, int64_t step);

#endif
