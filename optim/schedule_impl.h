/* The internal interface of learning-rate schedules. */
#ifndef TR_SCHEDULE_IMPL_H
#define TR_SCHEDULE_IMPL_H

#include "optim/optimizer_impl.h"

#include <train/optim.h>

tr_status tr__schedule_check(const tr_schedule *schedule);

/* tr__schedule_lr - the learning rate of step 0, 1, ... from the base rate,
 * without the factor of TR_SCHEDULE_PLATEAU. */
double tr__schedule_lr(const tr_schedule *schedule, double lr, int64_t step);

/* tr__plateau_report - update the state of TR_SCHEDULE_PLATEAU with one
 * metric. */
void tr__plateau_report(const tr_schedule *schedule,
                        tr__plateau *plateau,
                        double metric);

#endif
