#include "backend/cpu/outer_impl.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define NAME(f)      f##_avx512
#define TARGET       __attribute__((target("avx512f")))
#define VECTOR       __m512
#define WIDTH        16
#define LOAD(p)      _mm512_loadu_ps(p)
#define STORE(p, v)  _mm512_storeu_ps(p, v)
#define SET(f)       _mm512_set1_ps(f)
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define ROWS         8
#include "backend/cpu/template_outer.h"

#define NAME(f)      f##_avx2
#define TARGET       __attribute__((target("avx2,fma")))
#define VECTOR       __m256
#define WIDTH        8
#define LOAD(p)      _mm256_loadu_ps(p)
#define STORE(p, v)  _mm256_storeu_ps(p, v)
#define SET(f)       _mm256_set1_ps(f)
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define ROWS         4
#include "backend/cpu/template_outer.h"

static bool has_avx512(void)
{
  return __builtin_cpu_supports("avx512f");
}

static bool has_avx2(void)
{
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

/* Four floats by what every compiler of this field knows as vectors. */
typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));

#define NAME(f) f##_plain
#define TARGET
#define VECTOR       quad
#define WIDTH        4
#define LOAD(p)      (*(const quad *)(p))
#define STORE(p, v)  (*(quad *)(p) = (v))
#define SET(f)       ((quad){(f), (f), (f), (f)})
#define FMA(a, b, c) ((a) * (b) + (c))
#define ROWS         4
#include "backend/cpu/template_outer.h"

static bool everywhere(void)
{
  return true;
}

const tr__cpu_outer_kind tr__cpu_outer_kinds[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, outer_avx512},
    {"avx2", has_avx2, outer_avx2},
#endif
    {"plain", everywhere, outer_plain},
    {NULL, NULL, NULL},
};

tr__cpu_outer_fn tr__cpu_outer_best(void)
{
  const tr__cpu_outer_kind *kind = tr__cpu_outer_kinds;
  while (!kind->is_supported()) {
    kind++;
  }
  return kind->run;
}
