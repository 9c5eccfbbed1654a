/* Correctness of the collectives: every algorithm of the table on simulated
 * ranks, see simulated.h. Prints one line per algorithm: "result NAME", then
 * "ok", "skip WHY" or "failed WHAT". */
#include "comm/mpi/algorithm_table_impl.h"
#include "simulated.h"

#include "comm/mpi/comm_mpi_impl.h"
#include "core/comm_impl.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct trial {
  tr__collective kind;
  tr_dtype dtype;
  int64_t count;
  bool is_cut; /* virtual shards: sums are rounded, by the fixed tree */
} trial;

static const char *const kind_names[] = {"all-reduce", "reduce-scatter",
                                         "all-gather"};
/* Many ranks try only the first two: their messages are many. */
static const int64_t counts[] = {9973, 1, 0, 5, 257, 65537};
enum {
  NUM_COUNTS = sizeof counts / sizeof counts[0],
  LONG_WAIT = 4, /* index of a count; the last of few ranks comes late there */
  FEW_RANKS = 16,
  SEGMENTS = 40
};

/* The ranks share this process's memory: the first one to check computes the
 * expected values for all. */
static struct {
  double *values; /* of the trial `of` */
  trial of;
  bool is_known;
  int64_t num_checked, num_wrong; /* elements */
  int num_trials, num_refused;    /* refused: not supported by the algorithm */
} expected;

static uint64_t mixed(uint64_t rank, uint64_t i)
{
  uint64_t x = (rank + 1) * 0x9e3779b97f4a7c15u + i;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/* Without virtual shards whole numbers, whose sums are exact in any order; with
 * virtual shards any numbers. */
static double value_of(const trial *t, int rank, int64_t i)
{
  uint64_t bits = mixed((uint64_t)rank, (uint64_t)i);
  double whole = (double)(bits % 2001) - 1000;
  double unit = (double)(bits >> 11) * 0x1p-53 - 0.5;
  double value = t->is_cut ? unit * (double)(1 << i % 20) : whole;
  return t->dtype == TR_F32 ? (double)(float)value : value;
}

/* The least power of two of shards, at least one for each rank: the first ranks
 * hold two, the others one. */
static void make_shards(int size, int64_t *first, tr__shard_map *out)
{
  int64_t total = 1;
  while (total < size) {
    total *= 2;
  }
  for (int r = 0; r <= size; r++) {
    int64_t twice = tr__min(r, total - size);
    first[r] = r + twice;
  }
  *out = (tr__shard_map){.total = total, .first = first};
}

/* The sum of element i over the shards of ranks[0]..ranks[1]-1, by the
 * definition of node(lo, hi) in backend/tree_impl.h. */
static double
tree_sum(const tr__comm *comm, const trial *t, const int ranks[2], int64_t i)
{
  const int64_t *first = comm->shards.first;
  int begin = ranks[0], end = ranks[1], mid = begin + 1;
  if (end - begin == 1) {
    return value_of(t, begin, i);
  }
  int64_t power = 1;
  while (2 * power < first[end] - first[begin]) {
    power *= 2;
  }
  while (first[mid] < first[begin] + power) {
    mid++;
  }
  double left = tree_sum(comm, t, (int[]){begin, mid}, i);
  double right = tree_sum(comm, t, (int[]){mid, end}, i);
  return t->dtype == TR_F32 ? (double)((float)left + (float)right)
                            : left + right;
}

static double sum_of(const tr__comm *comm, const trial *t, int64_t i)
{
  if (t->is_cut) {
    return tree_sum(comm, t, (int[]){0, comm->size}, i);
  }
  double sum = 0;
  for (int r = 0; r < comm->size; r++) {
    sum += value_of(t, r, i);
  }
  return sum;
}

static void expect(const tr__comm *comm, const trial *t)
{
  if (expected.is_known) {
    return;
  }
  free(expected.values);
  expected.values = malloc((size_t)(t->count + 1) * sizeof(double));
  if (expected.values == NULL) {
    tr__mpi_abort(69);
  }
  int owner = 0;
  for (int64_t i = 0; i < t->count; i++) {
    while (i >= tr__comm_slice(comm, t->count, t->dtype, owner + 1)) {
      owner++;
    }
    expected.values[i] =
        t->kind == TR__ALLGATHER ? value_of(t, owner, i) : sum_of(comm, t, i);
  }
  expected.is_known = true;
}

static void put(void *values, tr_dtype dtype, int64_t i, double value)
{
  if (dtype == TR_F64) {
    ((double *)values)[i] = value;
  } else {
    ((float *)values)[i] = (float)value;
  }
}

static double get(const void *values, tr_dtype dtype, int64_t i)
{
  return dtype == TR_F64 ? ((const double *)values)[i]
                         : (double)((const float *)values)[i];
}

/* The elements of this rank's slice. */
static void own_range(const tr__comm *comm, const trial *t, int64_t out[2])
{
  out[0] = tr__comm_slice(comm, t->count, t->dtype, comm->rank);
  out[1] = tr__comm_slice(comm, t->count, t->dtype, comm->rank + 1);
}

static void fill(const tr__comm *comm, const trial *t, void *values)
{
  int64_t own[2];
  own_range(comm, t, own);
  for (int64_t i = 0; i < t->count; i++) {
    bool counts_here = t->kind != TR__ALLGATHER || (i >= own[0] && i < own[1]);
    put(values, t->dtype, i,
        counts_here ? value_of(t, comm->rank, i) : (double)NAN);
  }
}

static void check(const tr__comm *comm, const trial *t, const void *values)
{
  int64_t range[2] = {0, t->count};
  if (t->kind == TR__REDUCE_SCATTER) {
    own_range(comm, t, range);
  }
  expect(comm, t);
  for (int64_t i = range[0]; i < range[1]; i++) {
    double got = get(values, t->dtype, i);
    bool is_right = got == expected.values[i];
    expected.num_checked++;
    if (!is_right && expected.num_wrong++ == 0) {
      printf("# rank %d of %d: %s of %lld, element %lld is %.17g, expected "
             "%.17g%s\n",
             comm->rank, comm->size, kind_names[t->kind], (long long)t->count,
             (long long)i, got, expected.values[i], t->is_cut ? ", cut" : "");
    }
  }
}

/* Ranks begin the transfer at different times. */
static void be_late(const tr__comm *comm, const trial *t)
{
  uint64_t late = mixed((uint64_t)comm->rank, (uint64_t)t->count + 77) % 40;
  bool is_last = comm->rank == comm->size - 1;
  if (t->count == counts[LONG_WAIT] && comm->size <= FEW_RANKS && is_last) {
    late += 25000; /* so that the other ranks' look runs */
  }
  smpi_usleep((useconds_t)late);
}

static tr_status run_trial(tr__comm *comm, const trial *t)
{
  void *values = malloc((size_t)t->count * tr_dtype_size(t->dtype) + 1);
  tr_status status = TR_OK;
  tr__request *request = NULL;
  if (values == NULL) {
    tr__mpi_abort(69);
    return TR_ENOMEM;
  }
  fill(comm, t, values);
  be_late(comm, t);
  expected.num_trials += comm->rank == 0;
  const tr__transfer transfer = {
      .kind = t->kind, .buf = values, .count = t->count, .dtype = t->dtype};
  status = comm->type->start(comm, &transfer, &request);
  if (status == TR_EUNSUPPORTED && t->is_cut) {
    expected.num_refused += comm->rank == 0;
    status = TR_OK;
    goto done;
  }
  TR_TRY_GOTO(status, done);
  TR_TRY_GOTO(tr__comm_wait(comm, &request), done);
  check(comm, t, values);
  TR_TRY_GOTO(comm->type->barrier(comm), done);
  expected.is_known = false;
  TR_TRY_GOTO(comm->type->barrier(comm), done);

done:
  free(values);
  return status;
}

/* Sums in any order or by the fixed tree, in both types. With many ranks only
 * the first and the last of these four ways. */
static tr_status run_ways(tr__comm *comm, trial t, const tr__shard_map *shards)
{
  bool is_foreign = strcmp(tr__comm_algorithm_name(comm, 4), "mpi") == 0;
  int step = comm->size > FEW_RANKS ? 3 : 1;
  for (int way = 0; way < 4; way += step) {
    t.is_cut = way & 1;
    t.dtype = (t.count + way / 2) % 2 ? TR_F64 : TR_F32;
    comm->shards = t.is_cut ? *shards : (tr__shard_map){.total = 0};
    /* Once with so few elements per call that many are needed. */
    comm->tr__int_limit =
        way == 3 && !is_foreign ? 1 + t.count / SEGMENTS : INT_MAX;
    TR_TRY(run_trial(comm, &t));
  }
  return TR_OK;
}

static tr_status run_kinds(tr__comm *comm, const tr__shard_map *shards)
{
  int num_counts = comm->size > FEW_RANKS ? 2 : NUM_COUNTS;
  for (int kind = TR__ALLREDUCE; kind <= TR__ALLGATHER; kind++) {
    for (int c = 0; c < num_counts; c++) {
      const trial t = {.kind = (tr__collective)kind, .count = counts[c]};
      TR_TRY(run_ways(comm, t, shards));
    }
  }
  return TR_OK;
}

static void report(const tr__comm *comm, const char *name, tr_status status)
{
  if (comm->rank != 0) {
    return;
  }
  if (status != TR_OK) {
    printf("result %s failed %s\n", name, tr_error_message());
  } else if (expected.num_wrong > 0) {
    printf("result %s failed %lld of %lld elements are wrong\n", name,
           (long long)expected.num_wrong, (long long)expected.num_checked);
  } else {
    printf("result %s ok %d of %d trials\n", name,
           expected.num_trials - expected.num_refused, expected.num_trials);
  }
  fflush(stdout);
}

static tr_status
run_algorithm(tr__comm *comm, const char *name, const tr__shard_map *shards)
{
  comm->shards = (tr__shard_map){.total = 0};
  tr_status status = tr__comm_set_algorithm(comm, name);
  if (status == TR_EUNSUPPORTED) {
    if (comm->rank == 0) {
      printf("result %s skip %s\n", name, tr_error_message());
    }
    return TR_OK;
  }
  if (status == TR_OK) {
    status = run_kinds(comm, shards);
  }
  report(comm, name, status);
  TR_TRY(comm->type->barrier(comm));
  expected.num_checked = expected.num_wrong = 0;
  expected.num_trials = expected.num_refused = 0;
  TR_TRY(comm->type->barrier(comm));
  return status;
}

/* only: the algorithm to test; NULL: all except "auto", which chooses one of
 * the others. */
static tr_status run_all(tr__comm *comm, const char *only)
{
  tr_status status = TR_OK;
  int64_t *first = calloc((size_t)comm->size + 1, sizeof *first);
  if (first == NULL) {
    tr__mpi_abort(69);
    return TR_ENOMEM;
  }
  tr__shard_map shards;
  make_shards(comm->size, first, &shards);
  const char *name = "";
  for (int i = 1; name != NULL && status == TR_OK; i++) {
    name = tr__comm_algorithm_at(i);
    if (name != NULL && (only == NULL || strcmp(name, only) == 0)) {
      status = run_algorithm(comm, name, &shards);
    }
  }
  comm->shards = (tr__shard_map){.total = 0};
  if (comm->rank == 0 && status == TR_OK) {
    printf("end ok\n");
  }
  free(first);
  return status;
}

int main(int argc, char **argv)
{
  tr__comm *comm;
  if (tr__mpi_init() != TR_OK ||
      tr__comm_mpi_create(tr__mpi_world(), &comm) != TR_OK) {
    printf("# no communicator: %s\n", tr_error_message());
    return 1;
  }
  comm->spin_s = -1; /* polls take no simulated time */
  tr_status status = run_all(comm, argc > 1 ? argv[1] : NULL);
  comm->type->destroy(comm);
  tr__mpi_finalize();
  return status == TR_OK ? 0 : 1;
}
