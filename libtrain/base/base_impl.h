/* Errors, checks and small helpers for the library itself. */
#ifndef TR_BASE_IMPL_H
#define TR_BASE_IMPL_H

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <train/base.h>

#define TR__MESSAGE_BYTES 1024
#define TR__NAME_BYTES    96

/* tr__fail - start this thread's trace with a message; returns status. */
tr_status
tr__fail(tr_status status, const char *file, int line, const char *format, ...)
    TR_PRINTF(4, 5);

#define TR_FAIL(status, ...) tr__fail(status, __FILE__, __LINE__, __VA_ARGS__)

/* For mistakes of callers: always on; says what was expected and what came. */
#define TR_CHECK(condition, status, ...)                                       \
  do {                                                                         \
    if (!(condition)) {                                                        \
      return TR_FAIL(status, __VA_ARGS__);                                     \
    }                                                                          \
  } while (0)

/* For our own mistakes: debug builds only. */
#define TR_ASSERT(condition) assert(condition)

/* Where this thread's last failure came from. */
typedef struct tr__origin {
  tr_status status;
  int rank;    /* where it arose; -1: not yet known to be another rank's */
  bool agreed; /* every rank returns it */
  char message[TR__MESSAGE_BYTES];
} tr__origin;

/* tr__error_origin - this thread's last failure, without the source lines. */
const tr__origin *tr__error_origin(void);

/* tr__error_set_agreed - mark the trace as agreed, and as rank's message. */
void tr__error_set_agreed(int rank, bool here, const char *message);

/* tr__error_restore - make an agreed failure the last one again, here: as
 * tr__error_is_elsewhere() said that it was not. */
void tr__error_restore(const tr__origin *origin, bool here);

/* tr__error_set_rank - say where a failure arose that is not agreed on. */
void tr__error_set_rank(int rank);

/* tr__error_is_elsewhere - the last failure arose on another rank, which
 * reports it. */
bool tr__error_is_elsewhere(void);

/* tr__copy_name - copy a string that fits; false where it does not. */
bool tr__copy_name(char *out, size_t bytes, const char *name);

/* tr__int - a count as the int that MPI and BLAS want. Callers cut their work
 * into chunks that fit first (tr__int_limit()), so this only asserts. */
int tr__int(int64_t count);

/* tr__mul_overflows, tr__add_overflows - true where the result does not fit. */
static inline bool tr__mul_overflows(int64_t a, int64_t b, int64_t *out)
{
  return __builtin_mul_overflow(a, b, out);
}

static inline bool tr__add_overflows(int64_t a, int64_t b, int64_t *out)
{
  return __builtin_add_overflow(a, b, out);
}

/* A number of an option struct, 0 of which is the default; TR_ZERO is 0. */
static inline bool tr__is_default(double given)
{
  return given == 0 && !signbit(given);
}

static inline double tr__or_default(double given, double standard)
{
  return given != 0 ? given : tr__is_default(given) ? standard : 0;
}

static inline int64_t tr__min(int64_t a, int64_t b)
{
  return a < b ? a : b;
}

static inline int64_t tr__max(int64_t a, int64_t b)
{
  return a > b ? a : b;
}

/* tr__align - the next multiple of a power of two. */
static inline size_t tr__align(size_t bytes, size_t alignment)
{
  return (bytes + alignment - 1) & ~(alignment - 1);
}

/* Wide enough for a product of two counts. */
__extension__ typedef __int128 tr__wide;

/* tr__even_split - where part i of count equal parts of total begins. */
static inline int64_t tr__even_split(int64_t total, int64_t i, int64_t count)
{
  return (int64_t)((tr__wide)total * i / count);
}

/* tr__tree_half - how many of a node's leaves, 2 or more, are in its first
 * half: the largest power of two below their number. */
static inline int64_t tr__tree_half(int64_t leaves)
{
  int64_t power = 1;
  while (2 * power < leaves) {
    power *= 2;
  }
  return power;
}

/* tr__tree_left - how many of the ranks that share so many leaves, each a run
 * that is a node, share the first half. */
static inline int64_t tr__tree_left(int64_t leaves, int64_t ranks)
{
  int64_t left = tr__tree_half(leaves), right = leaves - left;
  int64_t share = (ranks * left + leaves / 2) / leaves;
  share = tr__max(share, tr__max(1, ranks - right));
  return tr__min(share, tr__min(left, ranks - 1));
}

/* tr__now - seconds of a clock that never goes back. */
double tr__now(void);

/* tr__shape_text - "(1, 28, 28)" into a caller's buffer; returns it. */
#define TR__SHAPE_BYTES 160
const char *tr__shape_text(const tr_shape *shape, char *out);

/* tr__shape_is_valid - all extents positive, the product fits. */
bool tr__shape_is_valid(const tr_shape *shape);

/* tr__shape_equal - the same extents. */
bool tr__shape_equal(const tr_shape *a, const tr_shape *b);

const char *tr__dtype_name(tr_dtype dtype);

#endif
