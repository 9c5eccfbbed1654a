/* In place of the compiler's library: the instruction sets that this program
 * believes the CPU has, so that every clone of a function can be tested on one
 * machine. FEATURES are bits of GCC's enum processor_features. */
#include <stdint.h>

struct cpu_model {
  uint32_t vendor, type, subtype, features[1];
};

extern struct cpu_model __cpu_model;
extern uint32_t __cpu_features2[1];
int __cpu_indicator_init(void);

struct cpu_model __cpu_model = {.features = {FEATURES}};
uint32_t __cpu_features2[1];

int __cpu_indicator_init(void)
{
  return 0;
}
