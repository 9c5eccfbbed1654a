/* Status codes, error traces, shapes, element types and the functions of a
 * context that every program needs. All other public headers include this
 * one. */
#ifndef TRAIN_BASE_H
#define TRAIN_BASE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TR_VERSION_MAJOR 0
#define TR_VERSION_MINOR 2
#define TR_VERSION_PATCH 0

/* Marks the symbols that programs may use; the library hides all others. */
#if defined(__GNUC__)
#define TR_API                 __attribute__((visibility("default")))
#define TR_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define TR_API
#define TR_PRINTF(text, first)
#endif

/* X(name, number, exit code of a program that ends with this status, text) */
#define TR_STATUS_MAP(X)                                                       \
  X(OK, 0, 0, "success")                                                       \
  X(EUSAGE, 1, 2, "wrong usage")                                               \
  X(EINVAL, 2, 2, "argument out of range")                                     \
  X(ESTATE, 3, 2, "call out of order")                                         \
  X(EDATA, 4, 65, "bad data")                                                  \
  X(ENOINPUT, 5, 66, "missing input")                                          \
  X(EUNSUPPORTED, 6, 69, "not supported here")                                 \
  X(EDEVICE, 7, 69, "device failure")                                          \
  X(ENOMEM, 8, 69, "out of memory")                                            \
  X(ESYSTEM, 9, 71, "system failure")                                          \
  X(ECOMM, 10, 71, "communication failure")                                    \
  X(EIO, 11, 74, "input/output failure")                                       \
  X(ETEMPORARY, 12, 75, "temporary failure")                                   \
  X(ESHAPE, 13, 78, "shapes do not fit")                                       \
  X(EMISMATCH, 14, 78, "configurations differ")                                \
  X(ENUMERIC, 15, 65, "not a finite number")                                   \
  X(ESTOPPED, 16, 85, "stopped on request")

typedef enum tr_status {
#define TR__STATUS_ENUM(name, number, exit_code, text) TR_##name = number,
  TR_STATUS_MAP(TR__STATUS_ENUM)
#undef TR__STATUS_ENUM
} tr_status;

/* Element types. The numbers are part of the checkpoint format. */
typedef enum tr_dtype {
  TR_F32 = 0,  /* IEEE single precision, the default */
  TR_F64 = 1,  /* IEEE double precision */
  TR_I32 = 2,  /* signed 32-bit, for class labels and indices */
  TR_U8 = 3,   /* unsigned bytes */
  TR_BF16 = 4, /* bfloat16: the range of float, 8 bits of precision */
  TR_F16 = 5   /* IEEE half precision: up to 65504, 11 bits of precision */
} tr_dtype;

#define TR_MAX_DIMS 6

/* The number 0 in an option struct whose 0 means "the default":
 *
 *   tr_leaky_relu(net, x, &(tr_leaky_relu_opts){.negative_slope = TR_ZERO});
 *
 * TR_ZERO is the negative zero. So a struct of zeros has all defaults, and
 * every number of type double can be given. Where 0 makes no sense, the call
 * refuses TR_ZERO like any other senseless number. Integers need no such value:
 * where 0 is the default of an integer, 0 has no other meaning. */
#define TR_ZERO (-0.0)

/* The extents of one sample, without the batch: (C, H, W) for an image, (D) for
 * a vector. ndim 0 is a scalar. The order is row-major: the last axis varies
 * fastest. */
typedef struct tr_shape {
  int ndim;
  int64_t dims[TR_MAX_DIMS];
} tr_shape;

/* A process' membership in a job: its communicator, device, threads and seed.
 * tr_context_create() (train/mpi.h) and tr_context_create_auto() create it. */
typedef struct tr_context tr_context;

/* tr_status_name - the name of a status, for example "TR_EDATA".
 *
 * Calls:     local
 * Errors:    none; an unknown number gives "TR_UNKNOWN"
 * Ownership: the string is static
 * Threads:   any thread */
TR_API const char *tr_status_name(tr_status status);

/* tr_status_text - a short text that explains a status.
 *
 * Calls:     local
 * Errors:    none; an unknown number gives "unknown status"
 * Ownership: the string is static
 * Threads:   any thread */
TR_API const char *tr_status_text(tr_status status);

/* tr_status_exit_code - the exit code for a program that ends with a status.
 *
 * 0 success, 2 usage, 65 bad data, 66 missing input, 69 this machine cannot run
 * it, 71 system or communication, 74 input/output, 75 temporary, 78
 * configuration mismatch, 85 stopped on request (start it again).
 *
 * Calls:     local
 * Errors:    none; an unknown number gives 70
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API int tr_status_exit_code(tr_status status);

/* tr_error_message - the message of the last failing call on this thread.
 *
 * Calls:     local
 * Errors:    none; "" before any failure
 * Ownership: borrowed until the next failing call on this thread
 * Threads:   each thread has its own */
TR_API const char *tr_error_message(void);

/* tr_error_set - start this thread's trace with a message of the program.
 *
 * Returns status. A program that calls it before tr_context_agree() passes its
 * own failure to all ranks.
 *
 * Calls:     local
 * Errors:    none of its own
 * Ownership: message is borrowed for the call
 * Threads:   each thread has its own trace */
TR_API tr_status tr_error_set(tr_status status, const char *message);

/* tr_error_print - write the message and the rank of the last failure.
 *
 * Where the environment has LIBTRAIN_TRACE, it also writes the source lines
 * that passed the failure on.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: stream is borrowed for the call
 * Threads:   each thread has its own trace */
TR_API void tr_error_print(FILE *stream);

/* tr_error_push - add a source line to this thread's trace; TR_TRY calls it.
 *
 * Returns status, so that it can stand in a return statement.
 *
 * Calls:     local
 * Errors:    none of its own
 * Ownership: file must be a static string
 * Threads:   each thread has its own trace */
TR_API tr_status tr_error_push(tr_status status, const char *file, int line);

/* tr_error_exit - end the program with the exit code of a failure; TR_MUST
 * calls it.
 *
 * It prints the trace once, on the rank where the failure arose. It calls
 * MPI_Finalize where all ranks agreed on the failure and MPI_Abort otherwise,
 * so that no rank waits for this one.
 *
 * Calls:     local; does not return
 * Errors:    none
 * Ownership: nothing is released: the process ends
 * Threads:   the thread whose call failed */
TR_API void tr_error_exit(tr_status status, const char *file, int line);

/* Return a failure from the calling function, whose type is tr_status. */
#define TR_TRY(expression)                                                     \
  do {                                                                         \
    tr_status tr__status = (expression);                                       \
    if (tr__status != TR_OK) {                                                 \
      return tr_error_push(tr__status, __FILE__, __LINE__);                    \
    }                                                                          \
  } while (0)

/* On failure, set the local variable `status` and go to the clean-up label. */
#define TR_TRY_GOTO(expression, label)                                         \
  do {                                                                         \
    status = (expression);                                                     \
    if (status != TR_OK) {                                                     \
      tr_error_push(status, __FILE__, __LINE__);                               \
      goto label;                                                              \
    }                                                                          \
  } while (0)

/* End the program on failure. For programs, not for libraries. */
#define TR_MUST(expression)                                                    \
  do {                                                                         \
    tr_status tr__status = (expression);                                       \
    if (tr__status != TR_OK) {                                                 \
      tr_error_exit(tr__status, __FILE__, __LINE__);                           \
    }                                                                          \
  } while (0)

/* tr_dtype_size - bytes of one element.
 *
 * Calls:     local
 * Errors:    none; an unknown type gives 0
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API size_t tr_dtype_size(tr_dtype dtype);

/* tr_shape_of - a shape from its extents, for example
 * tr_shape_of(3, (int64_t[]){1, 28, 28}).
 *
 * Calls:     local
 * Errors:    none; ndim outside 0..TR_MAX_DIMS gives a shape with ndim -1,
 *            which every call that takes a shape refuses
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API tr_shape tr_shape_of(int ndim, const int64_t *dims);

/* tr_shape_count - the number of elements: the product of the extents.
 *
 * Calls:     local
 * Errors:    none; -1 for a shape with a negative extent or an overflow
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API int64_t tr_shape_count(const tr_shape *shape);

/* tr_version - "major.minor.patch" of the library that runs.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: the string is static
 * Threads:   any thread */
TR_API const char *tr_version(void);

/* tr_version_print - one line for everything on which results may depend:
 * libtrain, MPI, BLAS, HDF5, and the vector instructions of this CPU's kernels.
 *
 * Calls:     local; allowed before MPI_Init()
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API void tr_version_print(FILE *out);

/* tr_context_rank - this process' rank in the context's communicator.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API int tr_context_rank(const tr_context *ctx);

/* tr_context_size - the number of processes in the context's communicator.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API int tr_context_size(const tr_context *ctx);

/* tr_context_agree - make one rank's failure the failure of all ranks.
 *
 * Each rank passes its own status. All ranks return TR_OK if all passed TR_OK,
 * and otherwise the status and the message of the lowest rank that failed. Call
 * it after work that can fail on a single rank and before all ranks depend on
 * its success.
 *
 * Calls:     collective on the context's communicator
 * Errors:    the agreed status; TR_ECOMM
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API tr_status tr_context_agree(tr_context *ctx, tr_status status);

/* tr_context_request_stop - ask all ranks to stop after the current step.
 *
 * The request of one rank is enough. The next all-reduce of gradients carries
 * it, so all ranks stop after the same step. The call is safe in a signal
 * handler.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread, and signal handlers */
TR_API void tr_context_request_stop(tr_context *ctx);

/* tr_context_stop_agreed - whether the ranks have agreed to stop.
 *
 * Returns 1 on all ranks from the step on whose all-reduce carried a request. A
 * loop over a loader needs no such call, because tr_loader_next() then ends
 * with TR_ESTOPPED; a loop over the program's own batches does.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API int tr_context_stop_agreed(const tr_context *ctx);

/* tr_context_work_begin - announce that this rank begins work of the program's
 * own.
 *
 *   if (tr_context_rank(ctx) == 0) {
 *     tr_context_work_begin(ctx);
 *     write_plots();                  (the other ranks go on, and wait)
 *     tr_context_work_end(ctx);
 *   }
 *
 * Until tr_context_work_end() the other ranks of this node wait as long as this
 * process runs: opts->stall_timeout does not apply. The library does not detect
 * an endless loop of the program, but it still names a process that is stopped.
 * The calls nest. tr_context_destroy() needs no announcement: it waits for
 * every rank that runs outside of the library. Ranks of other nodes see
 * neither, and keep their usual limit, in tr_context_destroy() ten times the
 * limit.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API void tr_context_work_begin(tr_context *ctx);

/* tr_context_work_end - announce that the work of tr_context_work_begin() is
 * done.
 *
 * Calls:     local
 * Errors:    none; without tr_context_work_begin() it does nothing
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API void tr_context_work_end(tr_context *ctx);

/* tr_context_is_saving - whether this rank is committing a checkpoint at this
 * moment.
 *
 * For signal handlers that end the process at a second signal: ending it during
 * a save loses the new checkpoint, but never the one before.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread, and signal handlers */
TR_API int tr_context_is_saving(const tr_context *ctx);

/* tr_log_root - write a line to the context's log, from rank 0 only.
 *
 * Calls:     local; ranks other than 0 return at once
 * Errors:    none
 * Ownership: the text is borrowed for the call
 * Threads:   any thread */
TR_API void tr_log_root(tr_context *ctx, const char *format, ...)
    TR_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif

#endif
