/* What the trainer asks of a model and its data besides training. */
#ifndef TR_EVALUATE_IMPL_H
#define TR_EVALUATE_IMPL_H

#include <train/data.h>
#include <train/model.h>

#include <stdbool.h>

/* tr__has_accuracy - only what names classes can be right or wrong. */
bool tr__has_accuracy(const tr_model *net);

/* tr__check_samples - a batch carries no shape, so that of its data set has to
 * fit the model; loader may be NULL. */
tr_status tr__check_samples(const tr_model *net, const tr_loader *loader);

/* tr__evaluate - see tr_trainer_evaluate(). */
tr_status
tr__evaluate(tr_model *net, tr_loader *loader, double *loss, double *accuracy);

#endif
