/* What the files of checkpoint save and resume have in common: the state of a
 * run as numbers, texts and arenas, what rank 0 keeps between two saves, and
 * the entry points with which tests replace the system calls. */
#ifndef TR_CHECKPOINT_IMPL_H
#define TR_CHECKPOINT_IMPL_H

#include "checkpoint/run_identity_impl.h"
#include "data/loader_impl.h"
#include "model/access_impl.h"
#include "optim/optimizer_impl.h"

#include <train/checkpoint.h>

/* What rank 0 keeps with a model between two saves: the laid-out image, and the
 * lock of the directory. */
typedef struct tr__checkpoint_cache {
  tr__run_dir dir;
  bool has_dir;
  tr__image *image;
  tr__identity identity; /* a new one, or that of the resumed run */
} tr__checkpoint_cache;

/* tr__checkpoint_cache_of - the cache of a model. The first call makes it. */
tr_status tr__checkpoint_cache_of(tr_model *net, tr__checkpoint_cache **out);

/* Seconds to wait for the lock: a killed job has disappeared within this time,
 * a job that still trains has not. */
#define TR__LOCK_WAIT_S 8.0

/* tr__checkpoint_lock - lock a directory and keep the lock. Locks again if the
 * directory or its lock file has been replaced since. */
tr_status tr__checkpoint_lock(tr__checkpoint_cache *cache,
                              const tr__file_ops *ops,
                              const char *dir);

/* tr__checkpoint_claim - check at the start what a save will need: the
 * directory exists, no other job uses it, and this process can write to it.
 * Call it on rank 0 only. */
tr_status tr__checkpoint_claim(const tr__file_ops *ops,
                               const char *dir,
                               const tr_checkpoint *run);

/* tr__checkpoint_begin - write durably which run owns the directory from now
 * on, unless the directory already says so. Call it on rank 0 only. */
tr_status tr__checkpoint_begin(const tr__file_ops *ops,
                               const char *dir,
                               const tr_checkpoint *run);

/* tr__checkpoint_check - check the arguments of save and resume. */
tr_status tr__checkpoint_check(const tr_context *ctx,
                               const char *dir,
                               const tr_checkpoint *run);

/* The numbers of a run, in the order in which rank 0 broadcasts them. X(name)
 * is the data set /state/<name>. plateau_best, plateau_scale, lr_scale and
 * loss_scale are the bits of doubles. */
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

/* Numbers that older checkpoints lack: they are read as 0. */
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

/* The texts of a run, in the order in which a file has them. X(name) is the
 * data set /state/<name>:
 *   library    version that wrote it
 *   model      tr__model_text()
 *   slots      the optimizer's kind and the names of its slots
 *   optimizer  tr__optimizer_text()
 *   layers     tr__model_options_text(): older checkpoints lack this and
 *              all that follows
 *   context    the options of the context that decide bits
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

/* tr__run_texts_make - make a run's texts. Release them also on failure. */
tr_status tr__run_texts_make(const tr_checkpoint *run, tr__run_texts *out);
void tr__run_texts_release(tr__run_texts *texts);

/* tr__param_set_name - "/params/<param>", or with a slot
 * "/optim/<param>/<slot>". */
void tr__param_set_name(const tr__param *param, const char *slot, char *out);

/* Parameters, optimizer slots and averages. */
#define TR__MAX_ARENAS (2 + TR__MAX_SLOTS)

/* tr__num_arenas, tr__arena_of, tr__arena_slot - the arenas of a checkpoint:
 * arena 0 holds the parameters, arena k > 0 the optimizer's slot k - 1. If the
 * run has averages, theirs is the last. */
int tr__num_arenas(const tr_checkpoint *run);
void *tr__arena_of(const tr_checkpoint *run, int k);
const char *tr__arena_slot(const tr_checkpoint *run, int k);

/* tr__arena_is_partitioned - whether each rank owns only its partition of the
 * arena (ZeRO). A file always holds the whole arena. */
bool tr__arena_is_partitioned(const tr_checkpoint *run, int k);

/* tr__first_not_finite - the index of the first Inf or NaN, -1 if all values
 * are finite. For TR_F32 and TR_F64. */
int64_t tr__first_not_finite(tr_dtype dtype, const void *values, int64_t count);

/* tr__checkpoint_save_with - tr_checkpoint_save() with the given system calls.
 * The model's cache keeps using them until the next save. */
tr_status tr__checkpoint_save_with(tr_context *ctx,
                                   const tr__file_ops *ops,
                                   const char *dir,
                                   const tr_checkpoint *run);

/* tr__check_drift - TR_ESYSTEM if the parameters are not the same on all ranks.
 * The message names the ranks that differ from the majority. Collective. */
tr_status tr__check_drift(tr__comm *comm, tr_model *net);

/* The checkpoint that was read. save is 0 if there was none. */
typedef struct tr__resumed {
  int64_t step, save;
} tr__resumed;

/* tr__checkpoint_resume_from - tr_checkpoint_resume() that also returns which
 * checkpoint it read.
 *
 * is_own  consider only what this run has saved or was resumed from, not the
 *         checkpoints of other runs in the directory */
tr_status tr__checkpoint_resume_from(tr_context *ctx,
                                     const char *dir,
                                     const tr_checkpoint *run,
                                     bool is_own,
                                     tr__resumed *out);

/* tr__checkpoint_resume_with - tr_checkpoint_resume() with the given system
 * calls. The model's cache keeps using them until the next save. */
tr_status tr__checkpoint_resume_with(tr_context *ctx,
                                     const tr__file_ops *ops,
                                     const char *dir,
                                     const tr_checkpoint *run);

#endif
