/* The parts of saving and resuming that tests reach into. */
#ifndef TR_CHECKPOINT_IMPL_H
#define TR_CHECKPOINT_IMPL_H

#include "checkpoint/run_identity_impl.h"
#include "data/loader_impl.h"
#include "model/access_impl.h"
#include "optim/optimizer_impl.h"

#include <train/checkpoint.h>

/* What rank 0 keeps with a model between saves: the image that was laid out,
 * and the lock of the directory. */
typedef struct tr__checkpoint_cache {
  tr__run_dir dir;
  bool has_dir;
  tr__image *image;
  tr__identity identity; /* a new one, or that of what was resumed */
} tr__checkpoint_cache;

/* tr__checkpoint_cache_of - a model's cache, made at the first call. */
tr_status tr__checkpoint_cache_of(tr_model *net, tr__checkpoint_cache **out);

/* A job that was killed has gone within so many seconds; a job that still
 * trains has not. */
#define TR__LOCK_WAIT_S 8.0

/* tr__checkpoint_lock - hold a directory's lock from now on; anew where the
 * lock file, or the directory, is another one by now. */
tr_status tr__checkpoint_lock(tr__checkpoint_cache *cache,
                              const tr__file_ops *ops,
                              const char *dir);

/* tr__checkpoint_claim - what a save will need, at the start: a directory that
 * is there, is not in use and can be written. On rank 0, as what follows. */
tr_status tr__checkpoint_claim(const tr__file_ops *ops,
                               const char *dir,
                               const tr_checkpoint *run);

/* tr__checkpoint_begin - make it durable whose directory it is from now on,
 * where it does not say so already. */
tr_status tr__checkpoint_begin(const tr__file_ops *ops,
                               const char *dir,
                               const tr_checkpoint *run);

/* tr__checkpoint_check - what save and resume ask of their arguments. */
tr_status tr__checkpoint_check(const tr_context *ctx,
                               const char *dir,
                               const tr_checkpoint *run);

/* The numbers of a run, in the order in which ranks exchange them.
 * X(name) is the data set /state/<name>. plateau_best, plateau_scale and
 * lr_scale and loss_scale are the bits of doubles. */
#define TR__STATE_NUMBERS(X)                                                   \
  X(format)                                                                    \
  X(step)                                                                      \
  X(seed)                                                                      \
  X(world)                                                                     \
  X(params_hash)                                                               \
  X(has_loader)                                                                \
  X(loader_seed)                                                               \
  X(epoch)                                                                     \
  X(done)                                                                      \
  X(num_samples)                                                               \
  X(batch)                                                                     \
  X(shuffle)                                                                   \
  X(plateau_best)                                                              \
  X(plateau_scale)                                                             \
  X(plateau_bad)                                                               \
  X(plateau_cooldown)                                                          \
  X(plateau_reports)

/* Those that older checkpoints do not have: then they are 0. */
#define TR__LATER_NUMBERS(X)                                                   \
  X(lr_scale)                                                                  \
  X(rollbacks)                                                                 \
  X(skipped)                                                                   \
  X(loss_scale)                                                                \
  X(good_steps)                                                                \
  X(virtual_shards)                                                            \
  X(started)                                                                   \
  X(deal)

typedef struct tr__run_numbers {
#define TR__STATE_FIELD(name) int64_t name;
  TR__STATE_NUMBERS(TR__STATE_FIELD)
  TR__LATER_NUMBERS(TR__STATE_FIELD)
#undef TR__STATE_FIELD
} tr__run_numbers;

/* Its texts, in the order in which a file has them. X(name) is the data set
 * /state/<name>:
 *   library    version that wrote it
 *   model      tr__model_text()
 *   slots      the optimizer's kind and the names of its slots
 *   optimizer  tr__optimizer_text()
 *   layers     tr__model_options_text(): older checkpoints have neither this
 *              nor what follows
 *   context    what of the context decides bits
 *   numbering  how the data set numbers what its samples hold; "": as given */
#define TR__RUN_TEXTS(X)                                                       \
  X(library)                                                                   \
  X(model)                                                                     \
  X(slots)                                                                     \
  X(optimizer)                                                                 \
  X(layers)                                                                    \
  X(context)                                                                   \
  X(numbering)

typedef struct tr__run_texts {
#define TR__TEXT_FIELD(name) char *name;
  TR__RUN_TEXTS(TR__TEXT_FIELD)
#undef TR__TEXT_FIELD
} tr__run_texts;

/* tr__run_texts_make - the texts of a run; release them also on failure. */
tr_status tr__run_texts_make(const tr_checkpoint *run, tr__run_texts *out);
void tr__run_texts_release(tr__run_texts *texts);

/* tr__param_set_name - "/params/<param>", or with a slot
 * "/optim/<param>/<slot>". */
void tr__param_set_name(const tr__param *param, const char *slot, char *out);

/* Values, slots and averages. */
#define TR__MAX_ARENAS (2 + TR__MAX_SLOTS)

/* tr__num_arenas, tr__arena_of, tr__arena_slot - the arenas of a checkpoint: 0
 * is that of the parameters, k > 0 that of the optimizer's slot k - 1, the last
 * one behind them that of averages, where there are any. */
int tr__num_arenas(const tr_checkpoint *run);
void *tr__arena_of(const tr_checkpoint *run, int k);
const char *tr__arena_slot(const tr_checkpoint *run, int k);

/* tr__arena_is_partitioned - each rank has its share of it only: a file has all
 * of it, in any case. */
bool tr__arena_is_partitioned(const tr_checkpoint *run, int k);

/* tr__first_not_finite - the index of the first Inf or NaN, -1 where all
 * values are finite; for TR_F32 and TR_F64. */
int64_t tr__first_not_finite(tr_dtype dtype, const void *values, int64_t count);

/* tr__checkpoint_save_with - tr_checkpoint_save() with the system calls given,
 * which stay with the model's cache until the next save. */
tr_status tr__checkpoint_save_with(tr_context *ctx,
                                   const tr__file_ops *ops,
                                   const char *dir,
                                   const tr_checkpoint *run);

/* tr__check_drift - TR_ESYSTEM where the parameters are not the same on all
 * ranks, naming those that differ from most. Collective. */
tr_status tr__check_drift(tr__comm *comm, tr_model *net);

/* Which checkpoint was read; save 0: none was there. */
typedef struct tr__resumed {
  int64_t step, save;
} tr__resumed;

/* tr__checkpoint_resume_from - tr_checkpoint_resume() that says what it took.
 *
 * is_own  only what this run has saved or was resumed from, not what another
 *         one has left in the directory */
tr_status tr__checkpoint_resume_from(tr_context *ctx,
                                     const char *dir,
                                     const tr_checkpoint *run,
                                     bool is_own,
                                     tr__resumed *out);

/* tr__checkpoint_resume_with - tr_checkpoint_resume() with the system calls
 * given, which stay with the model's cache until the next save. */
tr_status tr__checkpoint_resume_with(tr_context *ctx,
                                     const tr__file_ops *ops,
                                     const char *dir,
                                     const tr_checkpoint *run);

#endif
