/* The interface of an optimizer: named slots over the parameter arena. */
#ifndef TR_OPTIMIZER_IMPL_H
#define TR_OPTIMIZER_IMPL_H

#include "base/random_impl.h"
#include "model/access_impl.h"
#include "sync/partition_impl.h"

#include <train/optim.h>

#define TR__MAX_SLOTS 4

/* The smallest unit that an update may be cut into. */
typedef enum tr__grain {
  TR__GRAIN_ELEMENT,
  TR__GRAIN_TENSOR,
  TR__GRAIN_MATRIX
} tr__grain;

/* A run of neighbours in the arenas that are updated with the same numbers. */
typedef struct tr__slice {
  int64_t offset, count; /* elements */
  double lr_scale, weight_decay;
  int64_t rows, columns; /* where the grain is a matrix and this is one; or 0 */
  int64_t slot;          /* of its first element in this rank's slots */
} tr__slice;

typedef struct tr__optimizer_type {
  const char *name; /* part of checkpoints */
  tr__grain grain;
  int num_slots;
  const char *slots[TR__MAX_SLOTS]; /* names in checkpoints */
  bool divides;                     /* by a root of squares, plus eps */

  /* update - one slice of the arena. */
  void (*update)(tr_optimizer *opt, const tr__slice *slice);

  /* check - of numbers that only this type has; NULL: there are none. */
  tr_status (*check)(const tr_optimizer *wanted);

  /* workspace - bytes of scratch that update wants, once the slices are cut;
   * NULL: none. */
  size_t (*workspace)(const tr_optimizer *opt);

  /* For the generic tests: an optimizer with legal random options, and these
   * ones of all optimizers. */
  tr_status (*random_create)(tr_model *net,
                             const tr__random *random,
                             const tr_update_opts *update,
                             tr_optimizer **out);
} tr__optimizer_type;

/* Numbers of all optimizers; each uses what it knows. */
typedef struct tr__hyper {
  double lr, momentum, dampening, beta1, beta2, alpha, eps, weight_decay;
  double lr_decay, first_sum;
  int nesterov, centered;
  double adamw_lr, adamw_weight_decay; /* of what is no matrix */
  tr_muon_scale scale;
} tr__hyper;

/* Where a schedule by metric stands; saved with the run. */
typedef struct tr__plateau {
  double best;         /* metric so far */
  double scale;        /* of the rate */
  int64_t num_bad;     /* reports without improvement */
  int64_t cooldown;    /* reports for which none is counted */
  int64_t num_reports; /* 0: best means nothing */
} tr__plateau;

struct tr_optimizer {
  const tr__optimizer_type *type;
  tr_model *net; /* borrowed, as what follows of it */
  tr__store *store;
  tr__step_state *step;
  tr__hyper hyper;
  tr_schedule schedule;
  tr__plateau plateau;
  double lr_scale;       /* of the rate; saved with the run */
  int64_t num_rollbacks; /* of the run; saved with it */
  double clip_norm;      /* 0: none */
  tr_nonfinite on_nonfinite;
  int num_slots;              /* in use: 0 for SGD without momentum */
  void *slots[TR__MAX_SLOTS]; /* arenas of slot_count elements */
  int64_t slot_count;       /* store->count at creation, or this rank's share */
  tr__partition *partition; /* owned; NULL: all ranks have all of the state */
  bool is_counted;          /* in the store's state_bytes */
  int generation;           /* the store's at creation */
  const char *slot_names[TR__MAX_SLOTS];
  int64_t num_steps;
  tr__slice *slices; /* cover the arena in ascending order; owned */
  int num_slices;
  tr__slice *own_slices; /* of them, this rank's; owned */
  int num_own_slices;
  void *norm_sums;    /* of sum_squares, NULL where nobody wants the norm */
  int64_t *first_sum; /* [store->num_trained], of each parameter; owned */
  int64_t growth_interval; /* of the loss scale, in good steps; 0: it stays */
  int64_t num_sums;
  void *workspace; /* of the type's updates, one after the other */
  size_t workspace_bytes;
};

/* tr__optimizer_create - agree on the options, allocate the slots. Slots are
 * named as in the type where wanted->slot_names are NULL. */
tr_status tr__optimizer_create(tr_model *net,
                               const tr_optimizer *wanted,
                               const tr_update_opts *update,
                               tr_optimizer **out);

/* tr__optimizer_make_slices - the slices for these groups, into opt. */
tr_status tr__optimizer_make_slices(tr_optimizer *opt,
                                    const tr_update_opts *update);

/* tr__optimizer_partition - the slices that this rank updates, into opt: all,
 * or its share. With `shards` collective on the model's communicator. */
tr_status
tr__optimizer_partition(tr_model *net, tr_optimizer *opt, bool shards);

/* tr__optimizer_unpartition - forget them. */
void tr__optimizer_unpartition(tr_optimizer *opt);

/* tr__optimizer_next_slice - what part *at of this rank has of a parameter,
 * without padding; *at goes on. False: there is no more. Start from 0. */
bool tr__optimizer_next_slice(const tr_optimizer *opt,
                              const tr__param *param,
                              int *at,
                              tr__slice *out);

/* tr__optimizer_gather_slot - a parameter's values of slot i, to rank 0.
 *
 * out  [out]  on rank 0 param->count elements on the host; elsewhere NULL
 *
 * Collective where the state is spread, else of rank 0 alone. A failure of this
 * rank's device is returned when all have what they wait for. */
tr_status tr__optimizer_gather_slot(const tr_optimizer *opt,
                                    int i,
                                    const tr__param *param,
                                    void *out);

/* tr__optimizer_slot - a slice of slot i; absent where it is not in use. */
tr__tensor
tr__optimizer_slot(const tr_optimizer *opt, int i, const tr__slice *slice);

/* tr__ema_values - the averages, an arena of store->count elements, whose name
 * in checkpoints is TR__EMA_SLOT. */
#define TR__EMA_SLOT "ema"
void *tr__ema_values(const tr_ema *ema);

/* tr__ema_check - may these averages of this store be saved and loaded? */
tr_status tr__ema_check(const tr_ema *ema, const tr__store *store);

/* tr__optimizer_table - all optimizer types, NULL at the end. */
const tr__optimizer_type *const *tr__optimizer_table(void);

/* tr__optimizer_check - TR_ESTATE where the model was built again since. */
tr_status tr__optimizer_check(const tr_optimizer *opt);

/* tr__optimizer_text - kind, numbers and schedule as lines. */
char *tr__optimizer_text(const tr_optimizer *opt);

/* What updates count on the device: saved with the run. */
typedef struct tr__scaler {
  double num_skipped, loss_scale, good_steps;
} tr__scaler;
_Static_assert(offsetof(tr__step_block, good_steps) -
                       offsetof(tr__step_block, num_skipped) ==
                   2 * sizeof(double),
               "a tr__scaler is copied into the step block");
tr_status tr__optimizer_get_scaler(const tr_optimizer *opt, tr__scaler *out);
void tr__optimizer_set_scaler(tr_optimizer *opt, const tr__scaler *scaler);

/* tr__optimizer_step - tr_optimizer_step(); may_defer: see
 * tr__sync_gather_values(). */
tr_status tr__optimizer_step(tr_optimizer *opt, bool may_defer);

/* tr__optimizer_set_steps - continue at a step of an earlier run. */
void tr__optimizer_set_steps(tr_optimizer *opt, int64_t num_steps);

#endif
