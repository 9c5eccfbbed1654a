/* Kernels for sums of outer products (outer_impl.h), made from template_outer.h
 * for AVX-512, AVX2 and plain vectors. The CPU decides which of them run. */
#include "backend/cpu/linear/outer_impl.h"

#include "backend/cpu/cpu_impl.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))

AVX2 static inline __m256i first_of_8(int64_t n)
{
  const __m256i order = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), order);
}

#define NAME(f)             f##_avx2
#define TARGET              AVX2
#define VECTOR              __m256
#define WIDTH               8
#define LOAD(p)             _mm256_loadu_ps(p)
#define STORE(p, v)         _mm256_storeu_ps(p, v)
#define SET(f)              _mm256_set1_ps(f)
#define FMA(a, b, c)        _mm256_fmadd_ps(a, b, c)
#define MASK                __m256i
#define MASK_OF(n)          first_of_8(n)
#define LOAD_SOME(p, m)     _mm256_maskload_ps(p, m)
#define STORE_SOME(p, v, m) _mm256_maskstore_ps(p, m, v)
#define ROWS                4
#define VECTORS             2
#define TREE_ROWS           4
#define TREE_VECTORS        2
#include "backend/cpu/linear/template_outer.h"

#define NAME(f)             f##_avx512
#define TARGET              __attribute__((target("avx512f")))
#define VECTOR              __m512
#define WIDTH               16
#define LOAD(p)             _mm512_loadu_ps(p)
#define STORE(p, v)         _mm512_storeu_ps(p, v)
#define SET(f)              _mm512_set1_ps(f)
#define FMA(a, b, c)        _mm512_fmadd_ps(a, b, c)
#define MASK                __mmask16
#define MASK_OF(n)          ((__mmask16)((1u << (n)) - 1))
#define LOAD_SOME(p, m)     _mm512_maskz_loadu_ps(m, p)
#define STORE_SOME(p, v, m) _mm512_mask_storeu_ps(p, m, v)
#define ROWS                8
#define VECTORS             2
#define TREE_ROWS           8
#define TREE_VECTORS        1
#include "backend/cpu/linear/template_outer.h"

/* Up to 8 columns need no wider vectors than AVX2; the bits are the same. */
static void sum_block_wide(const tr__cpu_outer *of, const tr__cpu_block *out)
{
  if (out->columns <= 8) {
    sum_block_avx2(of, out);
  } else {
    sum_block_avx512(of, out);
  }
}

static bool has_avx2(void)
{
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
  return __builtin_cpu_supports("avx512f") && has_avx2();
}
#endif

/* Four floats, by the vector extension that GCC and clang have in common. */
typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));

static inline quad load_some(const float *from, int64_t count)
{
  quad v = {0, 0, 0, 0};
  for (int i = 0; i < count; i++) {
    v[i] = from[i];
  }
  return v;
}

static inline void store_some(float *to, quad v, int64_t count)
{
  for (int i = 0; i < count; i++) {
    to[i] = v[i];
  }
}

#define NAME(f) f##_plain
#define TARGET
#define VECTOR              quad
#define WIDTH               4
#define LOAD(p)             (*(const quad *)(p))
#define STORE(p, v)         (*(quad *)(p) = (v))
#define SET(f)              ((quad){(f), (f), (f), (f)})
#define FMA(a, b, c)        ((a) * (b) + (c))
#define MASK                int64_t
#define MASK_OF(n)          (n)
#define LOAD_SOME(p, m)     load_some(p, m)
#define STORE_SOME(p, v, m) store_some(p, v, m)
#define ROWS                4
#define VECTORS             2
#define TREE_ROWS           4
#define TREE_VECTORS        2
#include "backend/cpu/linear/template_outer.h"

static bool everywhere(void)
{
  return true;
}

const tr__cpu_outer_kind tr__cpu_outer_kinds[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, sum_block_wide},
    {"avx2", has_avx2, sum_block_avx2},
#endif
    {"plain", everywhere, sum_block_plain},
    {NULL, NULL, NULL},
};

static const tr__cpu_outer_kind *best(void)
{
  const tr__cpu_outer_kind *kind = tr__cpu_outer_kinds;
  while (!kind->is_supported()) {
    kind++;
  }
  return kind;
}

tr__cpu_outer_fn tr__cpu_outer_best(void)
{
  return best()->run;
}

const char *tr__cpu_kernels_name(void)
{
  return best()->name;
}
