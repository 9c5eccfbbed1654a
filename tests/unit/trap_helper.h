/* A host that traps IEEE exceptions: what raises one ends the program with its
 * name. Threads that are created afterwards trap too. */
#ifndef TR_TRAP_HELPER_H
#define TR_TRAP_HELPER_H

#include "test.h"

#include <fenv.h>
#include <signal.h>
#include <unistd.h>

enum { TRAPS = FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW };

/* What runs; static, since a signal handler reads it. */
static char trap_subject[160] = "nothing";

static inline void trap_report(int number, siginfo_t *info, void *context)
{
  (void)number;
  (void)context;
  const char *kind = info->si_code == FPE_FLTDIV   ? "division by zero"
                     : info->si_code == FPE_FLTOVF ? "overflow"
                                                   : "invalid operation";
  char line[256];
  int length =
      snprintf(line, sizeof line, "\nnot ok - %s in %s\n", kind, trap_subject);
  ssize_t written = write(STDOUT_FILENO, line, (size_t)length);
  _exit(written < 0 ? 2 : 1);
}

static inline void traps_on(void)
{
  struct sigaction action = {.sa_flags = SA_SIGINFO};
  action.sa_sigaction = trap_report;
  sigaction(SIGFPE, &action, NULL);
  feclearexcept(FE_ALL_EXCEPT);
  feenableexcept(TRAPS);
}

static inline void traps_off(void)
{
  fedisableexcept(TRAPS);
  feclearexcept(FE_ALL_EXCEPT);
}

static inline void trap_name(const char *device, tr_dtype dtype, const char *of)
{
  static const char *const names[] = {[TR_F32] = "float32",
                                      [TR_F64] = "float64",
                                      [TR_BF16] = "bfloat16",
                                      [TR_F16] = "float16"};
  snprintf(trap_subject, sizeof trap_subject, "%s, %s, %s", of, device,
           names[dtype]);
}

#endif
