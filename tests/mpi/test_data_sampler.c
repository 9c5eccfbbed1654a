/* Loaders on several ranks: every sample once, in an order that does not depend
 * on the ranks, and failures on which all agree. */
#include "base/random_impl.h"
#include "data/data_impl.h"
#include "data/loader_impl.h"
#include "mpi_test.h"

#include <hdf5.h>
#include <train/mpi.h>
#include <unistd.h>

/* A loader on ranks 0..size-1 of the world, over arrays of the numbers 0, 1,
 * 2... */
typedef struct job {
  MPI_Comm comm;
  tr_context *ctx;
  int64_t count;
  float *x;
  int32_t *y;
  tr_dataset *data;
  tr_loader *loader;
} job;

/* A random number in low..high, the same on all ranks. */
static int64_t pick(int64_t number, int64_t low, int64_t high)
{
  tr__random random = {.seed = test_seed(),
                       .stream = tr__random_stream(TR__PURPOSE_TEST, 3)};
  return low + (int64_t)((double)(high - low + 1) *
                         tr__random_uniform(&random, number));
}

/* Returns false on ranks that are not in the job. */
static bool open_job(job *j, int size, int64_t count, const tr_loader_opts *o)
{
  memset(j, 0, sizeof *j);
  bool is_in = world_rank() < size;
  MPI_Comm_split(MPI_COMM_WORLD, is_in ? 0 : MPI_UNDEFINED, world_rank(),
                 &j->comm);
  if (!is_in) {
    return false;
  }
  tr_context_opts opts = {.threads = 1, .seed = 5};
  ASSERT_OK(tr_context_create(j->comm, &opts, &j->ctx));
  j->count = count;
  j->x = malloc((size_t)count * sizeof *j->x);
  j->y = malloc((size_t)count * sizeof *j->y);
  for (int64_t i = 0; i < count; i++) {
    j->x[i] = (float)i;
    j->y[i] = (int32_t)(i % 3);
  }
  tr_array_opts arrays = {.x = j->x,
                          .y = j->y,
                          .num_samples = count,
                          .num_classes = 3,
                          .shape = {.ndim = 1, .dims = {1}}};
  ASSERT_OK(tr_array_open(j->ctx, &arrays, &j->data));
  ASSERT_OK(tr_loader_create(j->ctx, j->data, o, &j->loader));
  return true;
}

static void close_job(job *j)
{
  tr_loader_destroy(&j->loader);
  tr_dataset_destroy(&j->data);
  tr_context_destroy(&j->ctx);
  free(j->x);
  free(j->y);
  MPI_Comm_free(&j->comm);
}

/* Writes the samples of the next global batch into order; returns its size, 0
 * at the end. */
static int64_t step(job *j, int64_t *order)
{
  tr_batch batch;
  int64_t more = tr_loader_next(j->loader, &batch), all = more, any = more;
  MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT64_T, MPI_MIN, j->comm);
  MPI_Allreduce(MPI_IN_PLACE, &any, 1, MPI_INT64_T, MPI_MAX, j->comm);
  ASSERT_EQ(all, any); /* the epoch ends on all ranks at once */
  if (!more) {
    return 0;
  }
  int64_t sum = batch.count;
  MPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_INT64_T, MPI_SUM, j->comm);
  ASSERT_EQ(sum, batch.global_count);
  for (int64_t i = 0; i < sum; i++) {
    order[i] = -1;
  }
  for (int64_t i = 0; i < batch.count; i++) {
    order[batch.first + i] = (int64_t)((const float *)batch.inputs[0])[i];
  }
  MPI_Allreduce(MPI_IN_PLACE, order, (int)sum, MPI_INT64_T, MPI_MAX, j->comm);
  return sum;
}

static int64_t steps(job *j, int64_t most, int64_t *order)
{
  int64_t done = 0, count = 1;
  for (int64_t i = 0; i < most && count > 0; i++) {
    count = step(j, order + done);
    done += count;
  }
  return done;
}

static void assert_each_once(const int64_t *order, int64_t count)
{
  bool *seen = calloc((size_t)count, sizeof *seen);
  for (int64_t i = 0; i < count; i++) {
    ASSERT(order[i] >= 0 && order[i] < count && !seen[order[i]]);
    seen[order[i]] = true;
  }
  free(seen);
}

static tr_loader_opts random_opts(int64_t trial, int64_t count)
{
  return (tr_loader_opts){.batch = pick(trial * 8 + 1, 1, count + 5),
                          .shuffle = pick(trial * 8 + 2, 0, 3) > 0,
                          .threads = (int)pick(trial * 8 + 3, 0, 2)};
}

static void test_every_sample_once_in_the_order_of_one_rank(void)
{
  for (int64_t trial = 0; trial < 10; trial++) {
    int64_t count = pick(trial * 8, world_size(), 200);
    tr_loader_opts opts = random_opts(trial, count);
    int64_t *alone = calloc((size_t)count, sizeof *alone);
    int64_t *order = calloc((size_t)count, sizeof *order);
    job j;
    if (open_job(&j, 1, count, &opts)) {
      ASSERT_EQ(steps(&j, INT64_MAX, alone), count);
      close_job(&j);
    }
    MPI_Bcast(alone, (int)count, MPI_INT64_T, 0, MPI_COMM_WORLD);
    assert_each_once(alone, count);
    ASSERT(open_job(&j, world_size(), count, &opts));
    ASSERT_EQ(steps(&j, INT64_MAX, order), count);
    ASSERT(memcmp(alone, order, (size_t)count * sizeof *order) == 0);
    close_job(&j);
    free(alone);
    free(order);
  }
}

/* Reads some steps on `before` ranks and the rest of the epoch on `after`. */
static void resume_once(int64_t trial, int before, int after)
{
  int64_t count = pick(trial * 8, world_size(), 200);
  tr_loader_opts opts = random_opts(trial, count);
  int64_t *order = calloc((size_t)count, sizeof *order);
  tr__loader_state state;
  job j;
  if (open_job(&j, before, count, &opts)) {
    int64_t most = pick(trial * 8 + 4, 0, tr_loader_num_steps(j.loader));
    steps(&j, most, order);
    state = tr__loader_get_state(j.loader);
    close_job(&j);
  }
  MPI_Bcast(&state, sizeof state, MPI_BYTE, 0, MPI_COMM_WORLD);
  MPI_Bcast(order, (int)count, MPI_INT64_T, 0, MPI_COMM_WORLD);
  opts.batch = pick(trial * 8 + 5, 1, count);
  if (open_job(&j, after, count, &opts)) {
    ASSERT_OK(tr__loader_set_state(j.loader, &state));
    ASSERT_EQ(steps(&j, INT64_MAX, order + state.done), count - state.done);
    ASSERT_EQ(tr_loader_epoch(j.loader), 1);
    assert_each_once(order, count);
    close_job(&j);
  }
  free(order);
}

static void test_every_sample_once_after_a_resume_on_other_ranks(void)
{
  for (int before = 1; before <= world_size(); before++) {
    for (int after = 1; after <= world_size(); after++) {
      resume_once(100 + before * 8 + after, before, after);
    }
  }
}

static void test_different_options_are_refused_on_all_ranks(void)
{
  if (world_size() == 1) {
    test_not_here("needs two ranks");
  }
  job j;
  tr_loader *loader;
  open_job(&j, world_size(), 50, &(tr_loader_opts){.batch = 4});
  tr_loader_opts opts = {.batch = 4 + (world_rank() == world_size() - 1)};
  ASSERT_FAILS(tr_loader_create(j.ctx, j.data, &opts, &loader), TR_EMISMATCH,
               "rank 0 has \"batch 4\"");
  ASSERT(loader == NULL);
  opts = (tr_loader_opts){.batch = 4, .threads = world_rank() == 0 ? -1 : 1};
  ASSERT_FAILS(tr_loader_create(j.ctx, j.data, &opts, &loader), TR_EINVAL,
               "threads is -1");
  ASSERT(loader == NULL);
  close_job(&j);
}

static void test_fewer_samples_than_ranks_are_refused(void)
{
  if (world_size() == 1) {
    test_not_here("needs two ranks");
  }
  job j;
  tr_loader *loader;
  open_job(&j, world_size(), 50, &(tr_loader_opts){.batch = 4});
  tr_array_opts few = {.x = j.x,
                       .y = j.y,
                       .num_samples = world_size() - 1,
                       .num_classes = 3,
                       .shape = {.ndim = 1, .dims = {1}}};
  tr_dataset *data;
  ASSERT_OK(tr_array_open(j.ctx, &few, &data));
  ASSERT_FAILS(
      tr_loader_create(j.ctx, data, &(tr_loader_opts){.batch = 1}, &loader),
      TR_EDATA, "are fewer than the");
  tr_dataset_destroy(&data);
  close_job(&j);
}

/* Writes /train/x and /train/y, each with these four values. */
static void write_hdf5(const char *path, const int32_t values[4])
{
  const hsize_t dims[1] = {4};
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  hid_t space = H5Screate_simple(1, dims, NULL);
  hid_t group =
      H5Gcreate2(file, "train", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  for (int i = 0; i < 2; i++) {
    hid_t set = H5Dcreate2(group, i == 0 ? "x" : "y",
                           i == 0 ? H5T_IEEE_F32LE : H5T_STD_I32LE, space,
                           H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dclose(set);
  }
  H5Gclose(group);
  H5Sclose(space);
  H5Fclose(file);
}

/* The last rank finds something else at the path than the others. */
static void test_a_file_that_one_rank_cannot_open_fails_on_all(void)
{
  job j;
  tr_dataset *data;
  char path[512];
  bool is_last = world_rank() == world_size() - 1;
  snprintf(path, sizeof path, "%s/rank.h5", test_scratch());
  open_job(&j, world_size(), 50, &(tr_loader_opts){.batch = 4});
  if (!is_last) {
    write_hdf5(path, (const int32_t[4]){0, 1, 2, 3});
  }
  ASSERT_FAILS(tr_dataset_open(j.ctx, path, "train", &data), TR_ENOINPUT,
               "rank.h5");
  ASSERT(data == NULL);
  ASSERT_FAILS(
      tr_dataset_open(j.ctx, is_last ? test_scratch() : NULL, "train", &data),
      TR_ENOINPUT, "no IDX files");
  ASSERT(data == NULL);
  close_job(&j);
}

static void write_bytes(const char *path, const void *bytes, size_t count)
{
  FILE *file = fopen(path, "wb");
  ASSERT(file != NULL && fwrite(bytes, 1, count, file) == count);
  ASSERT(fclose(file) == 0);
}

/* Writes ten images of one pixel with labels 0, 1, 2, 0..., where label `other`
 * is changed. */
static void write_idx(const char *dir, int other)
{
  char path[600];
  unsigned char images[16 + 10] = {0, 0, 8, 3, 0, 0, 0, 10,
                                   0, 0, 0, 1, 0, 0, 0, 1};
  unsigned char labels[8 + 10] = {0, 0, 8, 1, 0, 0, 0, 10};
  for (int i = 0; i < 10; i++) {
    labels[8 + i] = (unsigned char)((i + (i == other)) % 3);
  }
  snprintf(path, sizeof path, "%s/train-images-idx3-ubyte", dir);
  write_bytes(path, images, sizeof images);
  snprintf(path, sizeof path, "%s/train-labels-idx1-ubyte", dir);
  write_bytes(path, labels, sizeof labels);
}

/* The last rank's data differ in labels alone. */
static void test_other_labels_on_one_rank_are_refused(void)
{
  if (world_size() == 1) {
    test_not_here("needs two ranks");
  }
  job j;
  tr_dataset *data[3];
  char h5[512], text[512];
  bool is_last = world_rank() == world_size() - 1;
  open_job(&j, world_size(), 50, &(tr_loader_opts){.batch = 4});
  snprintf(h5, sizeof h5, "%s/labels.h5", test_scratch());
  write_hdf5(h5, is_last ? (const int32_t[4]){0, 1, 3, 2}
                         : (const int32_t[4]){0, 1, 2, 3});
  write_idx(test_scratch(), is_last ? 7 : -1);
  snprintf(text, sizeof text, "%s/text", test_scratch());
  write_bytes(text, is_last ? "abcabcabcabccbaabc" : "abcabcabcabcabcabc", 18);
  ASSERT_OK(tr_hdf5_open(j.ctx, h5, "train", &data[0]));
  ASSERT_OK(tr_idx_open(j.ctx, test_scratch(), "train", &data[1]));
  const tr_text_opts opts = {.context = 2, .split = "train"};
  ASSERT_OK(tr_text_open(j.ctx, text, &opts, &data[2]));
  for (int i = 0; i < 3; i++) {
    tr_loader *loader;
    ASSERT_FAILS(tr_loader_create(j.ctx, data[i], &(tr_loader_opts){.batch = 4},
                                  &loader),
                 TR_EMISMATCH, "rank 0 has \"labels with the hash ");
    ASSERT(loader == NULL);
    tr_dataset_destroy(&data[i]);
  }
  close_job(&j);
}

static const tr_test tests[] = {
    TEST(test_every_sample_once_in_the_order_of_one_rank),
    TEST(test_every_sample_once_after_a_resume_on_other_ranks),
    TEST(test_different_options_are_refused_on_all_ranks),
    TEST(test_fewer_samples_than_ranks_are_refused),
    TEST(test_a_file_that_one_rank_cannot_open_fails_on_all),
    TEST(test_other_labels_on_one_rank_are_refused),
};

TEST_MPI_MAIN(tests)
