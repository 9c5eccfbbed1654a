/* Contexts: a process' part of a job. */
#ifndef TRAIN_CONTEXT_H
#define TRAIN_CONTEXT_H

#include <train/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tr_log_level { TR_LOG_INFO = 0, TR_LOG_WARNING = 1 } tr_log_level;

/* Receives one line without its line end. */
typedef void (*tr_log_fn)(void *user, tr_log_level level, const char *line);

/* Zero-initialise; every zero is the default. */
typedef struct tr_context_opts {
  int threads;        /* threads of this rank; 0: this rank's share of the CPUs
                         that it may run on */
  uint64_t seed;      /* of everything random in this context */
  const char *device; /* "cpu" (default), "reference" (plain C) or "strict"
                         (the reference behind a memory wall, for tests) */
  tr_dtype dtype;     /* TR_F32 (default), TR_F64, or TR_BF16 or TR_F16: mixed
                         precision, see tr_context_create_f() */
  tr_log_fn log;      /* where lines go; NULL: stdout, warnings to stderr */
  void *log_user;     /* passed to log */
  int64_t virtual_shards; /* cut every batch into so many parts, whatever the
                             number of ranks: see tr_context_create_f(); 0: none
                             */
  const char *trace_path; /* what all ranks did when, as JSON for the trace
                             viewers of browsers; rank 0 writes it at the end
                             of tr_trainer_fit() and of the context. The newest
                             65,536 events of each rank; NULL: no trace */
  tr_dtype wire; /* in which gradients travel between ranks: TR_BF16, or 0: as
                    they are; see tr_context_create_f() */
  double stall_timeout; /* seconds that ranks may wait for one that does not
                           come; 0: 120, negative: for ever. See below */
} tr_context_opts;

/* tr_context_create_f - a context on a Fortran communicator handle.
 *
 * The process' OpenBLAS has one thread while there are contexts of the device
 * "cpu", whose own threads do the work, so a host's own calls of BLAS between
 * two steps have one thread too; the last tr_context_destroy() gives it back
 * the number that it had. A host that sets another number in between has to set
 * it back to 1 before the next step. Each thread of a context maps a buffer of
 * OpenBLAS' of 128 MiB, of which it uses a part; without room for them the
 * context is refused with TR_ENOMEM.
 *
 * A host may trap IEEE exceptions (feenableexcept(), gfortran's -ffpe-trap):
 * finite numbers raise no invalid operation, division by zero or overflow but
 * where the result itself is none. Inf and NaN do: of a loss that diverges, and
 * with TR_F16 of a loss scale that is too large.
 *
 * A job whose ranks wait in vain ends by itself. With more than one rank a
 * thread of each watches, mostly asleep and without a message: where the rank
 * has waited in one collective call for opts->stall_timeout while nothing got
 * on, one line on stderr names the rank that has not come and the phase that it
 * is in, and the process ends with 71 by _exit(), upon which the launcher ends
 * the job. Ranks of a node that wait in different calls can never meet: they
 * end with 78 at once. Of ranks of other nodes only the one is known whose
 * message is awaited.
 *
 * Only waiting counts, not computing: set the limit to more than the longest
 * time by which one rank may come later than another, such as a solver's work
 * between two steps that only some ranks have, or say so by
 * tr_context_work_begin(). Saving and resuming may take ten times as long, an
 * evaluation as long as its batches get on, inference as long as calls of it
 * end, the work of a rank that others wait for in tr_context_destroy() as long
 * as its process runs; and time in which the whole job is suspended does not
 * count.
 *
 * Mixed precision, opts->dtype TR_BF16 or TR_F16: values between layers, their
 * gradients, and the weights that products read are of 16 bits, sums are of 32.
 * Parameters, their gradients, losses, statistics, and every array that the
 * caller gives or gets are float, as with TR_F32, and so are checkpoints.
 * TR_F16 scales its losses: see tr_optimizer_loss_scale().
 *
 * With opts->wire TR_BF16 each rank's gradients are rounded to bfloat16 (to the
 * nearest, ties to even) for their way to the rank that adds them, summed in
 * float, and rounded once more for the way back, so that messages have half the
 * bytes; all ranks get the same. Only what travels is rounded: in the shared
 * memory of a node nothing is, and over several nodes the sums of each node
 * are. Losses, weights of samples, BatchNorm's sums and the parameters that
 * shard_state hands round are never. The bits depend on the number of ranks, so
 * it is refused in reproducible mode.
 *
 * Reproducible mode, opts->virtual_shards V: the global batch is cut into V
 * parts, and all sums over samples follow one fixed tree over these parts, so
 * that the same seed gives the same parameters, bit for bit, on any number of
 * ranks up to V, on the same type of CPU. V is at least the number of ranks;
 * ranks are loaded evenly where it is a power of two times theirs. BatchNorm
 * takes its statistics over all ranks then. Callers who make their own batches
 * ask tr_batch_range() which samples are theirs.
 *
 * Where a launcher says that it started several processes, but MPI_COMM_WORLD
 * is one rank, the launcher is that of another MPI, and every process would
 * train for itself: TR_EMISMATCH, exit code 78. A context on MPI_COMM_SELF is
 * meant to be alone, and LIBTRAIN_ALLOW_SINGLE_RANK=1 in the environment allows
 * all others too, for a program of one rank inside another launcher's job.
 *
 * comm  [in]   MPI_Comm_c2f() of an intracommunicator; it is duplicated
 * opts  [in]   options, or NULL for the defaults
 * out   [out]  the new context, NULL on failure
 *
 * Calls:     collective on comm
 * Errors:    as tr_context_create() in train/mpi.h
 * Ownership: *out is owned by the caller
 * Threads:   one thread per context */
TR_API tr_status tr_context_create_f(int comm,
                                     const tr_context_opts *opts,
                                     tr_context **out);

/* tr_context_create_auto - a context for whatever started this program.
 *
 * Under a launcher (mpirun, srun) the context is on all of its processes, and
 * MPI is initialised here, and finalised by tr_context_destroy(), if nobody has
 * done so. Without a launcher the context is one rank and MPI is not
 * initialised, unless the program did. Where creating fails, MPI that was
 * initialised here is finalised at the program's end.
 *
 * Calls:     collective on all processes of the launcher
 * Errors:    as tr_context_create() in train/mpi.h
 * Ownership: *out is owned by the caller
 * Threads:   one thread per context */
TR_API tr_status tr_context_create_auto(const tr_context_opts *opts,
                                        tr_context **out);

/* tr_context_destroy - release a context; the last object to go.
 *
 * No rank returns before all have come; one that works on for itself, such as
 * one that writes or plots what was learnt, is waited for without a limit, as
 * long as its process runs.
 *
 * Calls:     collective on the context's communicator
 * Errors:    none; ctx and *ctx may be NULL
 * Ownership: *ctx is released and set to NULL
 * Threads:   one thread per context */
TR_API void tr_context_destroy(tr_context **ctx);

#ifdef __cplusplus
}
#endif

#endif
