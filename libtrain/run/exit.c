/* tr_error_exit(): ends a program after a failure, with the exit code of its
 * status. */
#include "base/base_impl.h"
#include "comm/mpi/comm_mpi_impl.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_S = 10, STACK_BYTES = 256 << 10 };

static void *leave_late(void *code)
{
  unsigned left = PATIENCE_S;
  while (left > 0) {
    left = sleep(left);
  }
  _exit((int)(intptr_t)code);
}

/* MPI_Finalize() waits for all ranks, and an abort may not reach the launcher.
 * Neither may keep this process: a thread ends it after PATIENCE_S with the
 * exit code, which a handler of SIGALRM would not know. If no thread can be
 * started, SIGALRM ends it. */
static void limit_leaving(int code)
{
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  pthread_t thread;
  int failure =
      pthread_create(&thread, &attributes, leave_late, (void *)(intptr_t)code);
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (failure != 0) {
    signal(SIGALRM, SIG_DFL);
    alarm(PATIENCE_S);
  }
}

void tr_error_exit(tr_status status, const char *file, int line)
{
  const tr__origin *origin = tr__error_origin();
  if (origin->status != status) {
    TR_FAIL(status, "%s", tr_status_text(status));
  }
  tr_error_push(status, file, line);
  int code = tr_status_exit_code(status);
  bool has_others = tr__mpi_is_active() && tr__mpi_world_size() > 1;
  if (has_others) {
    tr__error_set_rank(tr__mpi_world_rank());
  }
  fflush(stdout);
  if (!origin->agreed || !tr__error_is_elsewhere()) {
    tr_error_print(stderr);
    fflush(stderr);
  }
  /* What runs at exit may also wait for ever, for example an OpenBLAS thread
   * that finds no memory for its buffer. */
  limit_leaving(code);
  if (tr__mpi_is_active()) {
    if (!origin->agreed && has_others) {
      tr__mpi_abort(code);
    }
    tr__mpi_finalize();
  }
  exit(code);
}
