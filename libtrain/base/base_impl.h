/* Errors, checks and small helpers that the whole library uses. */
#ifndef TR_BASE_IMPL_H
#define TR_BASE_IMPL_H

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <train/base.h>

#define TR__MESSAGE_BYTES 1024
#define TR__NAME_BYTES    96

/* tr__fail - start this thread's trace with a message. Returns status. */
tr_status
tr__fail(tr_status status, const char *file, int line, const char *format, ...)
    TR_PRINTF(4, 5);

#define TR_FAIL(status, ...) tr__fail(status, __FILE__, __LINE__, __VA_ARGS__)

/* Check a condition that a caller may violate, in all builds. The message says
 * what the call expected and what it got. */
#define TR_CHECK(condition, status, ...)                                       \
  do {                                                                         \
    if (!(condition)) {                                                        \
      return TR_FAIL(status, __VA_ARGS__);                                     \
    }                                                                          \
  } while (0)

/* Check a condition that only a bug of the library violates, in debug
 * builds. */
#define TR_ASSERT(condition) assert(condition)

/* The origin of this thread's last failure. */
typedef struct tr__origin {
  tr_status status;
  int rank;    /* the rank where it arose; -1: not known yet */
  bool agreed; /* every rank returns this failure */
  char message[TR__MESSAGE_BYTES];
} tr__origin;

/* tr__error_origin - this thread's last failure, without source lines. */
const tr__origin *tr__error_origin(void);

/* tr__error_set_agreed - mark this thread's failure as agreed and as arisen on
 * `rank`. Unless it arose here, replace its message. */
void tr__error_set_agreed(int rank, bool here, const char *message);

/* tr__error_restore - make an agreed failure this thread's last one again.
 * here: whether it arose on this rank, the opposite of what
 * tr__error_is_elsewhere() said. */
void tr__error_restore(const tr__origin *origin, bool here);

/* tr__error_set_rank - name the rank of a failure that is not agreed. */
void tr__error_set_rank(int rank);

/* tr__error_is_elsewhere - whether the last failure arose on another rank,
 * which reports it. */
bool tr__error_is_elsewhere(void);

/* tr__copy_name - copy a string. Returns false where it does not fit. */
bool tr__copy_name(char *out, size_t bytes, const char *name);

/* tr__int - convert a count to the int that MPI and BLAS take. Callers limit a
 * call to tr__int_limit elements, so this function only asserts the range. */
int tr__int(int64_t count);

/* tr__mul_overflows, tr__add_overflows - return true where the result does not
 * fit into 64 bits. */
static inline bool tr__mul_overflows(int64_t a, int64_t b, int64_t *out)
{
  return __builtin_mul_overflow(a, b, out);
}

static inline bool tr__add_overflows(int64_t a, int64_t b, int64_t *out)
{
  return __builtin_add_overflow(a, b, out);
}

/* A number in an option struct: 0 stands for the default, TR_ZERO for 0. */
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

/* tr__align - round up to a multiple of a power of two. */
static inline size_t tr__align(size_t bytes, size_t alignment)
{
  return (bytes + alignment - 1) & ~(alignment - 1);
}

/* Holds a product of two counts. */
__extension__ typedef __int128 tr__wide;

/* tr__even_split - where range i begins when total is divided into count equal
 * ranges. */
static inline int64_t tr__even_split(int64_t total, int64_t i, int64_t count)
{
  return (int64_t)((tr__wide)total * i / count);
}

/* tr__tree_half - the number of leaves in the first half of a node with 2
 * leaves or more: the largest power of two below their number. */
static inline int64_t tr__tree_half(int64_t leaves)
{
  int64_t power = 1;
  while (2 * power < leaves) {
    power *= 2;
  }
  return power;
}

/* tr__tree_left - the number of ranks for the first half of a node with so many
 * leaves, when each of `ranks` ranks gets a range of leaves that is a node. */
static inline int64_t tr__tree_left(int64_t leaves, int64_t ranks)
{
  int64_t left = tr__tree_half(leaves), right = leaves - left;
  int64_t share = (ranks * left + leaves / 2) / leaves;
  share = tr__max(share, tr__max(1, ranks - right));
  return tr__min(share, tr__min(left, ranks - 1));
}

/* tr__now - seconds of a monotonic clock. */
double tr__now(void);

/* tr__shape_text - write "(1, 28, 28)" into a caller's buffer of
 * TR__SHAPE_BYTES. Returns the buffer. */
#define TR__SHAPE_BYTES 160
const char *tr__shape_text(const tr_shape *shape, char *out);

/* tr__shape_is_valid - whether all extents are positive and their product
 * fits. */
bool tr__shape_is_valid(const tr_shape *shape);

/* tr__shape_equal - whether all extents are equal. */
bool tr__shape_equal(const tr_shape *a, const tr_shape *b);

const char *tr__dtype_name(tr_dtype dtype);

#endif
