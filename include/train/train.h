/* libtrain: train neural networks inside MPI programs.
 *
 * This header includes the whole public interface except tr_context_create() on
 * a communicator: that is in train/mpi.h because it needs mpi.h. */
#ifndef TRAIN_TRAIN_H
#define TRAIN_TRAIN_H

#include <train/activation.h>
#include <train/base.h>
#include <train/checkpoint.h>
#include <train/context.h>
#include <train/conv.h>
#include <train/cpp.h>
#include <train/data.h>
#include <train/inference.h>
#include <train/init.h>
#include <train/layers.h>
#include <train/loss.h>
#include <train/metrics.h>
#include <train/model.h>
#include <train/norm.h>
#include <train/optim.h>
#include <train/pool.h>
#include <train/sequence.h>
#include <train/shape.h>
#include <train/trainer.h>

#endif
