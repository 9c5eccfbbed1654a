/* The interface of an optimizer: named slots over the parameter arena. */
#ifndef TR_OPTIMIZER_IMPL_H
#define TR_OPTIMIZER_IMPL_H

#include "base/random_impl.h"
#include "base/store_impl.h"

#include <train/optim.h>

#define TR__MAX_SLOTS 4

/* The smallest unit that an update may be cut into. */
typedef enum tr__grain {
  TR__GRAIN_ELEMENT,
  TR__GRAIN_TENSOR,
  TR__GRAIN_MATRIX
} tr__grain;

typedef struct tr__optimizer_type {
  const char *name; /* part of checkpoints */
  tr__grain grain;
  int num_slots;
  const char *slots[TR__MAX_SLOTS]; /* names in checkpoints */

  /* update - one slice of the arena: elements offset..offset+count-1. */
  void (*update)(tr_optimizer *opt, int64_t offset, int64_t count);

  /* For the generic tests: an optimizer with legal random options. */
  tr_status (*random_create)(tr_model *net,
                             const tr__random *random,
                             tr_optimizer **out);
} tr__optimizer_type;

/* Numbers of all optimizers; each uses what it knows. */
typedef struct tr__hyper {
  double lr, momentum, beta1, beta2, eps, weight_decay;
} tr__hyper;

struct tr_optimizer {
  const tr__optimizer_type *type;
  tr__store *store; /* borrowed */
  tr__hyper hyper;
  tr_schedule schedule;
  int num_slots;              /* in use: 0 for SGD without momentum */
  void *slots[TR__MAX_SLOTS]; /* arenas of slot_count elements */
  int64_t slot_count;         /* store->count at creation */
  int generation;             /* the store's at creation */
  int64_t num_steps;
};

/* tr__optimizer_create - agree on the options, allocate the slots. */
tr_status tr__optimizer_create(tr_model *net,
                               const tr_optimizer *wanted,
                               tr_optimizer **out);

/* tr__optimizer_table - all optimizer types, NULL at the end. */
const tr__optimizer_type *const *tr__optimizer_table(void);

/* tr__optimizer_check - TR_ESTATE where the model was built again since. */
tr_status tr__optimizer_check(const tr_optimizer *opt);

/* tr__optimizer_text - kind, numbers and schedule as lines. */
char *tr__optimizer_text(const tr_optimizer *opt);

/* tr__optimizer_set_steps - continue at a step of an earlier run. */
void tr__optimizer_set_steps(tr_optimizer *opt, int64_t num_steps);

#endif
