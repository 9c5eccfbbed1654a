/* The interface of an optimizer type, and the state of an optimizer: named
 * slots, which are arenas like that of the parameters, or with ZeRO stage 1
 * this rank's partition of one. A step updates slice by slice. */
#ifndef TR_OPTIMIZER_IMPL_H
#define TR_OPTIMIZER_IMPL_H

#include "base/random_impl.h"
#include "model/access_impl.h"
#include "sync/partition_impl.h"

#include <train/optim.h>

#define TR__MAX_SLOTS 4

/* The smallest unit of parameters that one update call may process. */
typedef enum tr__grain {
  TR__GRAIN_ELEMENT,
  TR__GRAIN_TENSOR,
  TR__GRAIN_MATRIX
} tr__grain;

/* A contiguous range of the arenas that one update call processes with the same
 * learning rate and weight decay. */
typedef struct tr__slice {
  int64_t offset, count; /* elements */
  double lr_scale, weight_decay;
  int64_t rows, columns; /* of a matrix, for TR__GRAIN_MATRIX; else 0 */
  int64_t slot;          /* index of its first element in this rank's slots */
} tr__slice;

typedef struct tr__optimizer_type {
  const char *name; /* appears in checkpoints */
  tr__grain grain;
  int num_slots;
  const char *slots[TR__MAX_SLOTS]; /* names in checkpoints */
  bool divides; /* the update divides by a root of squares, plus eps */

  /* update - update one slice of the parameters. */
  void (*update)(tr_optimizer *opt, const tr__slice *slice);

  /* check - validate the type's own options; NULL: it has none. */
  tr_status (*check)(const tr_optimizer *wanted);

  /* workspace - bytes of scratch memory that update needs. Reads opt->slices.
   * NULL: none. */
  size_t (*workspace)(const tr_optimizer *opt);

  /* random_create - for the generic tests: an optimizer with valid random
   * options of its own, and the options `update`. */
  tr_status (*random_create)(tr_model *net,
                             const tr__random *random,
                             const tr_update_opts *update,
                             tr_optimizer **out);
} tr__optimizer_type;

/* The hyperparameters of all types; each type reads its own. */
typedef struct tr__hyper {
  double lr, momentum, dampening, beta1, beta2, alpha, eps, weight_decay;
  double lr_decay, first_sum;
  int nesterov, centered;
  double adamw_lr, adamw_weight_decay; /* Muon: of AdamW's parameters */
  tr_muon_scale scale;
} tr__hyper;

/* The state of TR_SCHEDULE_PLATEAU. Checkpoints contain it. */
typedef struct tr__plateau {
  double best;         /* best metric so far */
  double scale;        /* factor of the learning rate */
  int64_t num_bad;     /* consecutive reports without improvement */
  int64_t cooldown;    /* coming reports that num_bad does not count */
  int64_t num_reports; /* 0: best has no meaning yet */
} tr__plateau;

struct tr_optimizer {
  const tr__optimizer_type *type;
  tr_model *net; /* borrowed, like its store and step */
  tr__store *store;
  tr__step_state *step;
  tr__hyper hyper;
  tr_schedule schedule;
  tr__plateau plateau;
  double lr_scale;       /* factor of the learning rate; in checkpoints */
  int64_t num_rollbacks; /* roll-backs of this run; in checkpoints */
  double clip_norm;      /* 0: none */
  tr_nonfinite on_nonfinite;
  int num_slots;              /* slots in use: 0 for SGD without momentum */
  void *slots[TR__MAX_SLOTS]; /* arenas of slot_count elements */
  int64_t slot_count;         /* store->count at creation, or the elements of
                                 this rank's partition */
  tr__partition *partition;   /* owned; NULL: every rank has the whole state */
  bool is_counted;            /* the store's state_bytes include this state */
  int generation;             /* the store's generation at creation */
  const char *slot_names[TR__MAX_SLOTS];
  int64_t num_steps;
  tr__slice *slices; /* cover the arena in ascending order; owned */
  int num_slices;
  tr__slice *own_slices; /* what this rank updates of them; owned */
  int num_own_slices;
  void *norm_sums;         /* from sum_squares; NULL: nothing needs the norm */
  int64_t *first_sum;      /* [store->num_trained], index of each parameter's
                              first sum in norm_sums; owned */
  int64_t growth_interval; /* finite steps until the loss scale doubles; 0: it
                              is constant */
  int64_t num_sums;
  void *workspace; /* all updates use it in turn */
  size_t workspace_bytes;
};

/* tr__optimizer_create - check that options are equal on all ranks and allocate
 * the slots. Collective. Where wanted->slot_names are NULL, slots have the
 * names in the type. */
tr_status tr__optimizer_create(tr_model *net,
                               const tr_optimizer *wanted,
                               const tr_update_opts *update,
                               tr_optimizer **out);

/* tr__optimizer_make_slices - set opt->slices for update's parameter groups. */
tr_status tr__optimizer_make_slices(tr_optimizer *opt,
                                    const tr_update_opts *update);

/* tr__optimizer_partition - set opt->own_slices: all slices, or with `shards`
 * (ZeRO stage 1) those of this rank's partition. With `shards` collective on
 * the model's communicator. */
tr_status
tr__optimizer_partition(tr_model *net, tr_optimizer *opt, bool shards);

/* tr__optimizer_unpartition - free own_slices and the partition. */
void tr__optimizer_unpartition(tr_optimizer *opt);

/* tr__optimizer_next_slice - iterate over what this rank owns of a parameter,
 * without padding. *at is the iterator, from 0. Returns false at the end. */
bool tr__optimizer_next_slice(const tr_optimizer *opt,
                              const tr__param *param,
                              int *at,
                              tr__slice *out);

/* tr__optimizer_gather_slot - gather a parameter's values of slot i on rank 0.
 *
 * out  [out]  on rank 0 param->count elements on the host; elsewhere NULL
 *
 * Collective where the state is partitioned; otherwise rank 0 alone calls it. A
 * rank whose device fails returns the failure after all messages, so that no
 * other rank hangs. */
tr_status tr__optimizer_gather_slot(const tr_optimizer *opt,
                                    int i,
                                    const tr__param *param,
                                    void *out);

/* tr__optimizer_slot - a slice of slot i; absent where it is not in use. */
tr__tensor
tr__optimizer_slot(const tr_optimizer *opt, int i, const tr__slice *slice);

/* tr__ema_values - the averages, an arena of store->count elements.
 * TR__EMA_SLOT is its name in checkpoints. */
#define TR__EMA_SLOT "ema"
void *tr__ema_values(const tr_ema *ema);

/* tr__ema_check - check that a checkpoint of this store may contain these
 * averages. TR_EINVAL: they belong to another model. TR_ESTATE: the model was
 * built again, or they are swapped with the parameters. */
tr_status tr__ema_check(const tr_ema *ema, const tr__store *store);

/* tr__optimizer_table - all optimizer types, NULL at the end. */
const tr__optimizer_type *const *tr__optimizer_table(void);

/* tr__optimizer_check - TR_ESTATE where the model was built again since. */
tr_status tr__optimizer_check(const tr_optimizer *opt);

/* tr__optimizer_text - type, hyperparameters, schedule and slices as lines.
 * Allocated with malloc; NULL without memory. */
char *tr__optimizer_text(const tr_optimizer *opt);

/* The counters in the step block that the device keeps; in checkpoints. */
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

/* tr__optimizer_set_steps - set the number of steps done, to resume a run. */
void tr__optimizer_set_steps(tr_optimizer *opt, int64_t num_steps);

#endif
