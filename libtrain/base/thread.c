/* Starting a thread with a fixed stack size and blocked signals. */
#include "base/thread_impl.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

/* The usual limit of Linux systems. Only the used pages take memory. */
#define STACK_BYTES ((size_t)8 << 20)

static sigset_t signals_of_others(void)
{
  /* SIGPROF comes from a profiler, which samples every thread. */
  const int own[] = {SIGSEGV, SIGBUS,  SIGFPE, SIGILL,
                     SIGTRAP, SIGABRT, SIGPROF};
  sigset_t set;
  sigfillset(&set);
  for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
    sigdelset(&set, own[i]);
  }
  return set;
}

/* EAGAIN means too little memory or too many threads. */
static bool has_memory(void)
{
  void *stack = mmap(NULL, STACK_BYTES, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  return stack != MAP_FAILED && munmap(stack, STACK_BYTES) == 0;
}

tr_status tr__thread_start(const char *what,
                           void *(*run)(void *arg),
                           void *arg,
                           pthread_t *out)
{
  const sigset_t blocked = signals_of_others();
  sigset_t before;
  pthread_attr_t attributes;
  int code = pthread_attr_init(&attributes);
  TR_CHECK(code == 0, TR_ENOMEM, "cannot start %s: %s", what, strerror(code));
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  code = pthread_create(out, &attributes, run, arg);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  TR_CHECK(code == 0 || has_memory(), TR_ENOMEM,
           "cannot start %s: no memory for its stack of %zu bytes", what,
           STACK_BYTES);
  TR_CHECK(code == 0, TR_ESYSTEM, "cannot start %s: %s", what, strerror(code));
  return TR_OK;
}
