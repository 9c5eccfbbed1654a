/* CRC32C (Castagnoli): reflected polynomial 0x82f63b78; the state is inverted
 * at the start and at the end. Source: RFC 3720, appendix B.4. */
#include "checkpoint/seal_impl.h"

#include <string.h>

#define POLYNOMIAL 0x82f63b78u

uint32_t tr__crc32c_portable(uint32_t crc, const void *data, size_t bytes)
{
  /* A table for four bits has 16 entries and is cheap to build at each call, so
   * no table has to be kept. This version runs only where the processor lacks
   * the instruction. */
  uint32_t table[16];
  for (uint32_t i = 0; i < 16; i++) {
    uint32_t value = i;
    for (int bit = 0; bit < 4; bit++) {
      value = (value >> 1) ^ (value & 1 ? POLYNOMIAL : 0);
    }
    table[i] = value;
  }
  const unsigned char *p = data;
  crc = ~crc;
  for (size_t i = 0; i < bytes; i++) {
    crc ^= p[i];
    crc = (crc >> 4) ^ table[crc & 15];
    crc = (crc >> 4) ^ table[crc & 15];
  }
  return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t
crc32c_sse42(uint32_t crc, const void *data, size_t bytes)
{
  const unsigned char *p = data;
  uint64_t state = ~crc;
  for (; bytes >= 8; bytes -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    state = __builtin_ia32_crc32di(state, word);
  }
  for (; bytes > 0; bytes--, p++) {
    state = __builtin_ia32_crc32qi((uint32_t)state, *p);
  }
  return ~(uint32_t)state;
}
#endif

uint32_t tr__crc32c(uint32_t crc, const void *data, size_t bytes)
{
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) {
    return crc32c_sse42(crc, data, bytes);
  }
#endif
  return tr__crc32c_portable(crc, data, bytes);
}
