/* What the environment says about this process's launcher, and whether MPI
 * agrees.
 *
 * The launcher of another MPI starts N processes, and each of them finds itself
 * alone: N trainings of one rank overwrite each other's files. Only the
 * environment tells that they were to be one job. */
#include "comm/mpi/mpi_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Set by Open MPI and PRRTE; MPICH, Intel MPI, Cray and Slurm's PMI; MVAPICH;
 * jsrun; Slurm. SLURM_NTASKS is set in batch scripts too, so it counts in a
 * Slurm step only. */
static const char *const size_names[] = {
    "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE",
    "JSM_NAMESPACE_SIZE", "SLURM_STEP_NUM_TASKS"};

static const char *const rank_names[] = {
    "OMPI_COMM_WORLD_RANK", "PMI_RANK",    "PMIX_RANK",  "MV2_COMM_WORLD_RANK",
    "JSM_NAMESPACE_RANK",   "PALS_RANKID", "ALPS_APP_PE"};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const char allow_name[] = "LIBTRAIN_ALLOW_SINGLE_RANK";

/* The value of a variable that holds a whole number >= 0; else -1. */
static int number_of(const char *name)
{
  const char *text = getenv(name);
  char *end = NULL;
  long number = text != NULL ? strtol(text, &end, 10) : -1;
  bool is_number = text != NULL && end != text && *end == '\0';
  return is_number && number >= 0 && number <= INT32_MAX ? (int)number : -1;
}

static bool is_in_slurm_step(void)
{
  return getenv("SLURM_STEP_ID") != NULL || getenv("SLURM_STEPID") != NULL;
}

/* The largest number of processes that any variable gives, and its name. */
static int largest_size(const char **name)
{
  int largest = 0;
  for (size_t i = 0; i < COUNT(size_names); i++) {
    int size = number_of(size_names[i]);
    if (size > largest) {
      largest = size;
      *name = size_names[i];
    }
  }
  bool counts = is_in_slurm_step() && getenv("SLURM_STEP_NUM_TASKS") == NULL;
  if (counts && number_of("SLURM_NTASKS") > largest) {
    largest = number_of("SLURM_NTASKS");
    *name = "SLURM_NTASKS";
  }
  return largest;
}

const char *tr__launcher_rank_name(void)
{
  for (size_t i = 0; i < COUNT(rank_names); i++) {
    if (number_of(rank_names[i]) >= 0) {
      return rank_names[i];
    }
  }
  const char *unused;
  bool is_step = is_in_slurm_step() && largest_size(&unused) > 1;
  return is_step && number_of("SLURM_PROCID") >= 0 ? "SLURM_PROCID" : NULL;
}

int tr__launcher_rank(void)
{
  const char *name = tr__launcher_rank_name();
  return name != NULL ? number_of(name) : -1;
}

bool tr__mpi_is_launched(void)
{
  for (size_t i = 0; i < COUNT(rank_names); i++) {
    if (getenv(rank_names[i]) != NULL) {
      return true;
    }
  }
  for (size_t i = 0; i < COUNT(size_names); i++) {
    /* The shell of a batch script is itself a step of one task. */
    int least = strncmp(size_names[i], "SLURM", 5) == 0 ? 2 : 1;
    if (number_of(size_names[i]) >= least) {
      return true;
    }
  }
  const char *unused;
  return largest_size(&unused) > 1;
}

double tr__launcher_patience(const char **option)
{
  *option = "";
  if (getenv("OMPI_MCA_orte_hnp_uri") != NULL) { /* Open MPI 4 */
    const char *text = getenv("OMPI_MCA_odls_base_sigkill_timeout");
    *option = ", or start it with --mca odls_base_sigkill_timeout SECONDS";
    return text != NULL ? atof(text) : 1;
  }
  if (getenv("PRTE_LAUNCHED") != NULL) { /* Open MPI 5 */
    return 0.25;
  }
  return INFINITY;
}

/* Some libraries return several lines, Open MPI one line with commas. */
const char *tr__mpi_name(char *out, size_t bytes)
{
  char text[MPI_MAX_LIBRARY_VERSION_STRING + 1] = "";
  int length = 0;
  MPI_Get_library_version(text, &length);
  text[strcspn(text, ",\n")] = '\0';
  for (char *c = strchr(text, '\t'); c != NULL; c = strchr(c, '\t')) {
    *c = ' ';
  }
  snprintf(out, bytes, "%s", text[0] != '\0' ? text : "its library");
  return out;
}

static const char *advice(const char *version)
{
  if (strstr(version, "Open MPI") != NULL) {
    return "mpirun of that Open MPI, or srun --mpi=pmix";
  }
  if (strstr(version, "MPICH") != NULL || strstr(version, "Intel") != NULL ||
      strstr(version, "MVAPICH") != NULL) {
    return "mpiexec of that MPI, or srun --mpi=pmi2";
  }
  return "the mpiexec that came with it";
}

/* Every process says so: launchers end all processes when the first one fails,
 * so no process can rely on the message of another. */
static tr_status refuse(const char *claim)
{
  char text[128];
  const char *version = tr__mpi_name(text, sizeof text);
  return TR_FAIL(
      TR_EMISMATCH,
      "started as %s, but MPI (%.64s) finds one rank: the launcher is that of "
      "another MPI, so each process would train for itself. Start it with %s; "
      "%s=1 allows trainings of one rank",
      claim, version, advice(version), allow_name);
}

static bool is_allowed(void)
{
  const char *text = getenv(allow_name);
  return text != NULL && text[0] != '\0' && strcmp(text, "0") != 0;
}

static tr_status check(void)
{
  const char *name = NULL;
  char claim[128];
  int size = largest_size(&name);
  if (is_allowed()) {
    return TR_OK;
  }
  if (size > 1) {
    snprintf(claim, sizeof claim, "one of %d processes (%s)", size, name);
    return refuse(claim);
  }
  /* Some launchers give a process its number alone. */
  int rank = tr__launcher_rank();
  if (rank > 0) {
    snprintf(claim, sizeof claim, "number %d of several processes", rank);
    return refuse(claim);
  }
  return TR_OK;
}

tr_status tr__launcher_check(int handle)
{
  MPI_Comm comm =
      tr__mpi_is_active() ? MPI_Comm_f2c((MPI_Fint)handle) : MPI_COMM_NULL;
  if (comm == MPI_COMM_NULL || tr__mpi_world_size() > 1) {
    return TR_OK;
  }
  int relation = MPI_UNEQUAL;
  TR_TRY_MPI(MPI_Comm_compare(comm, MPI_COMM_SELF, &relation));
  return relation == MPI_IDENT ? TR_OK : check();
}
