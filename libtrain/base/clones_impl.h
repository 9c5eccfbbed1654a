/* TR__CLONES before a function also compiles it for wider vectors, and the CPU
 * selects a clone at run time. All clones give the same bits, because the
 * library compiles without contraction and the source fixes the order of sums.
 * clang requires static functions whose names are unique in the library.
 * Sanitizer builds have no clones: the selection happens before their run-time
 * library is ready. */
#ifndef TR_CLONES_IMPL_H
#define TR_CLONES_IMPL_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TR__CLONES
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TR__CLONES
#endif
#endif
#if !defined(TR__CLONES) && defined(__x86_64__) && defined(__linux__) &&       \
    defined(__has_attribute)
#if __has_attribute(target_clones)
#define TR__CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#endif
#ifndef TR__CLONES
#define TR__CLONES
#endif

#endif
