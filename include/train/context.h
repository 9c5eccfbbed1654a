/* Contexts: creating and destroying a process' membership in a job, with its
 * options. */
#ifndef TRAIN_CONTEXT_H
#define TRAIN_CONTEXT_H

#include <train/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tr_log_level { TR_LOG_INFO = 0, TR_LOG_WARNING = 1 } tr_log_level;

/* Receives one line of the log without its line end. */
typedef void (*tr_log_fn)(void *user, tr_log_level level, const char *line);

/* Zero-initialise; every zero is the default. */
typedef struct tr_context_opts {
  int threads;        /* threads of this rank; 0: the CPUs on which it may run,
                         divided by the ranks that use them */
  uint64_t seed;      /* seed of everything random in this context */
  const char *device; /* "cpu" (default), "reference" (plain C) or "strict"
                         (the reference behind a memory wall, for tests) */
  tr_dtype dtype;     /* TR_F32 (default), TR_F64, or TR_BF16 or TR_F16: mixed
                         precision, see tr_context_create_f() */
  tr_log_fn log;      /* receives the lines of the log; NULL: stdout, warnings
                         to stderr */
  void *log_user;     /* first argument of log */
  int64_t virtual_shards; /* number of shards of every batch in reproducible
                             mode, see tr_context_create_f(); 0: none */
  const char *trace_path; /* file for the timeline of all ranks, as JSON for the
                             trace viewers of browsers; rank 0 writes it at the
                             end of tr_trainer_fit() and of the context. It has
                             the newest 65,536 events of each rank; NULL:
                             none */
  tr_dtype wire; /* type of gradients in messages: TR_BF16, or 0: the type of
                    the gradients; see tr_context_create_f() */
  double stall_timeout; /* seconds for which ranks may wait for one that does
                           not come; 0: 120, negative: for ever. See below */
} tr_context_opts;

/* tr_context_create_f - a context on a Fortran communicator handle.
 *
 * While contexts of the device "cpu" exist, the library sets the process'
 * OpenBLAS to one thread, because the threads of the context do the work. So
 * the host's own calls of BLAS between two steps have one thread too. The last
 * tr_context_destroy() restores the previous number. A host that sets another
 * number in between must set it back to 1 before the next step. Each thread of
 * a context maps an OpenBLAS buffer of 128 MiB, which it does not use
 * completely; without room for the buffers the call fails with TR_ENOMEM.
 *
 * A host may trap IEEE exceptions (feenableexcept(), gfortran's -ffpe-trap):
 * finite numbers raise invalid operation, division by zero or overflow only
 * where the result itself is not finite. Inf and NaN do raise them: after a
 * loss that diverges, and with TR_F16 after a loss scale that is too large.
 *
 * A job whose ranks wait in vain ends by itself. With more than one rank, each
 * rank has a watchdog thread, which mostly sleeps and sends no message. Where
 * its rank has waited in one collective call for opts->stall_timeout without
 * progress, one line on stderr names the missing rank and its phase, and the
 * process ends with 71 by _exit(), whereupon the launcher ends the job. Ranks
 * of a node that wait in different calls can never meet; they end with 78 at
 * once. Of the ranks on other nodes, a watchdog knows only the one whose
 * message its rank awaits.
 *
 * Only waiting counts, not computing. Set the limit above the longest time by
 * which one rank may come later than another, such as a solver's work between
 * two steps that only some ranks have, or announce the work with
 * tr_context_work_begin(). Saving and resuming may take ten times the limit, an
 * evaluation as long as its batches progress, inference as long as its calls
 * end, and the work of a rank for which others wait in tr_context_destroy() as
 * long as its process runs. Time during which the whole job is suspended does
 * not count.
 *
 * Mixed precision, opts->dtype TR_BF16 or TR_F16: activations, their gradients,
 * and the weights that products read have 16 bits; sums have 32. Parameters,
 * their gradients, losses, statistics, every array of the caller, and
 * checkpoints are float, as with TR_F32. TR_F16 scales losses: see
 * tr_optimizer_loss_scale().
 *
 * With opts->wire TR_BF16 gradients travel as bfloat16, so that messages have
 * half the bytes. Each rank rounds its gradients (to the nearest, ties to even)
 * before it sends them; the receiver adds them in float and rounds the sum once
 * more for the way back. All ranks get the same numbers. Rounding applies to
 * messages only: not to the shared memory of a node, and over several nodes to
 * the sums of each node. The library never rounds losses, weights of samples,
 * BatchNorm's sums, and the parameters that shard_state gathers. The bits
 * depend on the number of ranks, so reproducible mode refuses it.
 *
 * Reproducible mode, opts->virtual_shards V: the global batch is divided into V
 * shards, and all sums over samples follow one fixed tree over these shards. So
 * the same seed gives the same parameters, bit for bit, on any number of ranks
 * up to V, on the same type of CPU. V is at least the number of ranks; the load
 * is even where V is a power of two times their number. BatchNorm then takes
 * its statistics over all ranks. Callers who make their own batches ask
 * tr_batch_range() which samples are theirs.
 *
 * Where a launcher reports several processes but MPI_COMM_WORLD has one rank,
 * the launcher belongs to another MPI, and every process would train on its
 * own: the call fails with TR_EMISMATCH, exit code 78. A context on
 * MPI_COMM_SELF is allowed. LIBTRAIN_ALLOW_SINGLE_RANK=1 in the environment
 * allows all others, for a program of one rank inside another launcher's job.
 *
 * comm  [in]   MPI_Comm_c2f() of an intracommunicator, which the call
 *              duplicates
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

/* tr_context_create_auto - a context for this program, with or without a
 * launcher.
 *
 * Under a launcher (mpirun, srun) the context spans all of its processes. The
 * call initialises MPI unless the program has, and tr_context_destroy() then
 * finalises it. Without a launcher the context is one rank, and the call does
 * not initialise MPI. Where the call fails after it has initialised MPI, the
 * library finalises MPI at the program's end.
 *
 * Calls:     collective on all processes of the launcher
 * Errors:    as tr_context_create() in train/mpi.h
 * Ownership: *out is owned by the caller
 * Threads:   one thread per context */
TR_API tr_status tr_context_create_auto(const tr_context_opts *opts,
                                        tr_context **out);

/* tr_context_destroy - release a context, after all objects made with it.
 *
 * No rank returns before all ranks have called it. Ranks wait for a rank of
 * their node that still works for itself, such as one that writes or plots
 * results, as long as its process runs, and for ranks of other nodes up to ten
 * times opts->stall_timeout.
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
