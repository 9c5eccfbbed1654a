/* How a program ends on a failure, with the failure's exit code. */
#include "base/base_impl.h"
#include "comm/comm_mpi_impl.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* Finalising waits for all ranks; one that never comes must not hold us. Nor
 * must an abort that no launcher hears. */
enum { PATIENCE_S = 10 };

static void leave_together(void)
{
  tr__mpi_finalize();
  alarm(0);
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
  if (tr__mpi_is_active()) {
    signal(SIGALRM, SIG_DFL);
    alarm(PATIENCE_S);
    if (!origin->agreed && has_others) {
      tr__mpi_abort(code);
    }
    leave_together();
  }
  exit(code);
}
