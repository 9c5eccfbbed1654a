/* Evaluation, and the check that a data set fits a model. */
#ifndef TR_EVALUATE_IMPL_H
#define TR_EVALUATE_IMPL_H

#include <train/data.h>
#include <train/model.h>

#include <stdbool.h>

/* tr__has_accuracy - whether targets are classes, which can be right or wrong.
 */
bool tr__has_accuracy(const tr_model *net);

/* tr__check_samples - check that a loader's data set fits the model, because a
 * batch carries no shape. loader may be NULL. */
tr_status tr__check_samples(const tr_model *net, const tr_loader *loader);

/* tr__evaluate - see tr_trainer_evaluate(). */
tr_status
tr__evaluate(tr_model *net, tr_loader *loader, double *loss, double *accuracy);

#endif
