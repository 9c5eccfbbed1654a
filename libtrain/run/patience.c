/* Warns if steps take longer than the launcher waits between SIGTERM and
 * SIGKILL: such a run is killed before it has saved. */
#include "run/patience_impl.h"

#include "comm/mpi/comm_mpi_impl.h"

#include <signal.h>

/* A program without a handler ends at SIGTERM at once, so SIGKILL costs it
 * nothing. */
static bool handles_sigterm(void)
{
  struct sigaction now;
  return sigaction(SIGTERM, NULL, &now) == 0 &&
         ((now.sa_flags & SA_SIGINFO) != 0 ||
          (now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN));
}

bool tr__patience_note(tr__patience *patience,
                       double seconds,
                       char out[TR__MESSAGE_BYTES])
{
  const char *option = "";
  double limit_s = tr__launcher_patience(&option);
  patience->num_long = seconds > limit_s ? patience->num_long + 1 : 0;
  if (patience->num_long < 2 || patience->has_warned || !handles_sigterm()) {
    return false;
  }
  patience->has_warned = true;
  snprintf(
      out, TR__MESSAGE_BYTES,
      "a step takes %.1f s, but mpirun kills its ranks %g s after Ctrl-C or "
      "SIGTERM, before they have saved: to stop, send SIGUSR1 to mpirun%s",
      seconds, limit_s, option);
  return true;
}
