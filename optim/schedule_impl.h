/* Learning-rate schedules. */
#ifndef TR_SCHEDULE_IMPL_H
#define TR_SCHEDULE_IMPL_H

#include "optim/optimizer_impl.h"

#include <train/optim.h>

tr_status tr__schedule_check(const tr_schedule *schedule);

/* tr__schedule_lr - the rate of step 0, 1, ... from the base rate. */
double tr__schedule_lr(const tr_schedule *schedule, double lr, int64_t step);

/* tr__plateau_report - count one report of a schedule by metric. */
void tr__plateau_report(const tr_schedule *schedule,
                        tr__plateau *plateau,
                        double metric);

#endif
