#include "checkpoint_sample.h"

#include <hdf5.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *sample_path(const char *name)
{
  static char path[300];
  snprintf(path, sizeof path, "%s/%s", test_scratch(), name);
  return path;
}

static void test_libhdf5_reads_the_sealed_file(void)
{
  sample_file file = sample_sealed(3);
  const char *path = sample_path("sealed.h5");
  float weight[35];
  double bias[7];
  int64_t step = 0;
  sample_store(path, file.bytes, file.length);
  hid_t h5 = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  ASSERT(h5 >= 0);
  hid_t set = H5Dopen2(h5, "/params/fc1.weight", H5P_DEFAULT);
  ASSERT(set >= 0 && H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL,
                             H5P_DEFAULT, weight) >= 0);
  H5Dclose(set);
  set = H5Dopen2(h5, "/params/fc1.bias", H5P_DEFAULT);
  ASSERT(set >= 0 && H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL,
                             H5P_DEFAULT, bias) >= 0);
  H5Dclose(set);
  set = H5Dopen2(h5, "/state/step", H5P_DEFAULT);
  ASSERT(set >= 0 && H5Dread(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL,
                             H5P_DEFAULT, &step) >= 0);
  H5Dclose(set);
  ASSERT(H5Fclose(h5) >= 0);
  for (int i = 0; i < 35; i++) {
    ASSERT_EQ(weight[i], 3 + i);
  }
  for (int i = 0; i < 7; i++) {
    ASSERT_NEAR(bias[i], (103 + i) / 3.0, 0);
  }
  ASSERT_EQ(step, 3);
  free(file.bytes);
}

/* Runs a tool on the sealed file; its exit code, or -1 without the tool. */
static int run_tool(char *const *arguments)
{
  int state;
  fflush(stdout);
  pid_t child = fork();
  ASSERT(child >= 0);
  if (child == 0) {
    if (freopen("/dev/null", "w", stdout) == NULL) {
      _exit(126);
    }
    execvp(arguments[0], arguments);
    _exit(127);
  }
  ASSERT_EQ(waitpid(child, &state, 0), child);
  ASSERT(WIFEXITED(state));
  return WEXITSTATUS(state);
}

static void test_h5dump_reads_the_sealed_file(void)
{
  sample_file file = sample_sealed(3);
  const char *path = sample_path("dumped.h5");
  sample_store(path, file.bytes, file.length);
  free(file.bytes);
  char *const command[] = {"h5dump", "-d", "/optim/momentum/fc1.weight",
                           (char *)path, NULL};
  int code = run_tool(command);
  if (code == 127) {
    test_skip("h5dump is not installed (package hdf5-tools)");
  }
  ASSERT_EQ(code, 0);
}

static void test_the_same_views_give_the_same_bytes_at_any_time(void)
{
  sample_file a = sample_sealed(1);
  /* Times in HDF5 are whole seconds. */
  struct timespec wait = {1, 100000000};
  nanosleep(&wait, NULL);
  sample_file b = sample_sealed(1);
  ASSERT_EQ(a.length, b.length);
  ASSERT(memcmp(a.bytes, b.bytes, a.length) == 0);
  free(a.bytes);
  free(b.bytes);
}

static void test_an_image_is_kept_for_the_same_views_only(void)
{
  tr__image *image = sample_image();
  tr__view views[SAMPLE_VIEWS];
  for (int i = 0; i < SAMPLE_VIEWS; i++) {
    views[i] = image->entries[i].view;
  }
  ASSERT(tr__image_matches(image, views, SAMPLE_VIEWS));
  ASSERT(!tr__image_matches(image, views, SAMPLE_VIEWS - 1));
  views[0].dims[0]++;
  ASSERT(!tr__image_matches(image, views, SAMPLE_VIEWS));
  views[0].dims[0]--;
  views[1].type = TR__VIEW_F32;
  ASSERT(!tr__image_matches(image, views, SAMPLE_VIEWS));
  views[1].type = TR__VIEW_F64;
  views[2].name[3] = 'x';
  ASSERT(!tr__image_matches(image, views, SAMPLE_VIEWS));
  tr__image_destroy(&image);
  tr__image_destroy(&image);
}

/* Such as the bias of a layer with one output, between texts of any length. */
static void test_a_single_float_is_aligned_wherever_it_stands(void)
{
  enum { COUNT = 40 };
  tr__view views[COUNT];
  tr__image *image;
  for (int i = 0; i < COUNT; i++) {
    views[i] = (tr__view){.type = i % 2 ? TR__VIEW_F32 : TR__VIEW_TEXT,
                          .ndim = 1,
                          .dims = {i % 2 ? 1 : 1 + i % 7}};
    snprintf(views[i].name, sizeof views[i].name, "/params/v%d", i);
  }
  ASSERT_OK(tr__image_create(views, COUNT, &image));
  for (int i = 1; i < COUNT; i += 2) {
    ASSERT_EQ((uintptr_t)tr__image_at(image, i) % sizeof(float), 0);
  }
  tr__image_destroy(&image);
}

/* Many parameters make libhdf5 keep the links of a group in a heap. */
static void test_two_hundred_large_data_sets_lie_apart_and_reopen(void)
{
  enum { COUNT = 200 };
  static tr__view views[COUNT];
  tr__image *image;
  for (int i = 0; i < COUNT; i++) {
    views[i] = (tr__view){.type = TR__VIEW_F32, .ndim = 1};
    views[i].dims[0] = 1 + (i * 7919) % 20000;
    snprintf(views[i].name, sizeof views[i].name, "/params/blocks.%d.weight",
             i);
  }
  ASSERT_OK(tr__image_create(views, COUNT, &image));
  for (int i = 0; i < COUNT; i++) {
    memset(tr__image_at(image, i), i, image->entries[i].bytes);
  }
  const char *path = sample_path("large.h5");
  sample_store(path, image->bytes, image->length);
  hid_t h5 = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  ASSERT(h5 >= 0);
  float *values = malloc(20000 * sizeof *values);
  ASSERT(values != NULL);
  for (int i = 0; i < COUNT; i++) {
    hid_t set = H5Dopen2(h5, views[i].name, H5P_DEFAULT);
    ASSERT(set >= 0 && H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL,
                               H5P_DEFAULT, values) >= 0);
    for (size_t k = 0; k < image->entries[i].bytes; k++) {
      ASSERT_EQ(((unsigned char *)values)[k], i);
    }
    H5Dclose(set);
  }
  ASSERT(H5Fclose(h5) >= 0);
  free(values);
  tr__image_destroy(&image);
}

/* Smaller than 8 bytes, as a counter of BatchNorm or a bias of one output. */
static void test_single_floats_lie_at_multiples_of_eight(void)
{
  enum { COUNT = 60 };
  static tr__view views[COUNT];
  tr__image *image;
  for (int i = 0; i < COUNT; i++) {
    views[i] = (tr__view){.type = TR__VIEW_F32, .ndim = i % 2, .dims = {1}};
    snprintf(views[i].name, sizeof views[i].name, "/params/bn%d.count", i);
  }
  ASSERT_OK(tr__image_create(views, COUNT, &image));
  for (int i = 0; i < COUNT; i++) {
    ASSERT_EQ(image->entries[i].offset % 8, 0);
    ASSERT_EQ(image->entries[i].bytes, 4);
  }
  tr__image_destroy(&image);
}

static void test_views_that_are_no_data_sets_are_refused(void)
{
  tr__view twice[2] = {sample_view("/params/w", TR__VIEW_F32, 2, 2),
                       sample_view("/params/w", TR__VIEW_F32, 2, 2)};
  tr__view empty = sample_view("/params/w", TR__VIEW_F32, 0, 2);
  tr__view huge =
      sample_view("/params/w", TR__VIEW_F32, INT64_MAX / 2, INT64_MAX / 2);
  tr__view relative = sample_view("w", TR__VIEW_F32, 2, 2);
  tr__image *image;
  ASSERT_FAILS(tr__image_create(twice, 2, &image), TR_ENOMEM, "/params/w");
  ASSERT(image == NULL);
  ASSERT_FAILS(tr__image_create(&empty, 1, &image), TR_EINVAL, "/params/w");
  ASSERT_FAILS(tr__image_create(&huge, 1, &image), TR_EINVAL, "/params/w");
  ASSERT_FAILS(tr__image_create(&relative, 1, &image), TR_EINVAL, "\"w\"");
}

/* Parameters with two slots each, in groups of their own. */
static int many_views(tr__view *views, int num_params)
{
  int count = 0;
  for (int i = 0; i < num_params; i++) {
    char names[3][64];
    snprintf(names[0], sizeof names[0], "/params/blocks.%d.weight", i);
    snprintf(names[1], sizeof names[1], "/optim/blocks.%d.weight/avg", i);
    snprintf(names[2], sizeof names[2], "/optim/blocks.%d.weight/sq", i);
    for (int k = 0; k < 3; k++) {
      views[count++] = sample_view(names[k], TR__VIEW_F32, 1, 3);
    }
  }
  return count;
}

static size_t address_space(void)
{
  long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  ASSERT(file != NULL && fscanf(file, "%ld", &pages) == 1);
  fclose(file);
  return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* A process that may have so much more of memory lays out an image and ends
 * libhdf5, as programs do at their end. 0: done, 1: refused, 2: all else. */
static int outcome_with(size_t spare)
{
  pid_t pid = fork();
  ASSERT(pid >= 0);
  if (pid == 0) {
    enum { PARAMS = 100 };
    static tr__view views[3 * PARAMS + 1];
    int count = many_views(views, PARAMS);
    views[count++] = sample_view("/params/large", TR__VIEW_F32, 4096, 1024);
    size_t limit = address_space() + spare;
    setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit});
    tr__image *image;
    tr_status status = tr__image_create(views, count, &image);
    H5close();
    _exit(status == TR_OK ? 0 : status == TR_ENOMEM ? 1 : 2);
  }
  int state;
  ASSERT_EQ(waitpid(pid, &state, 0), pid);
  return WIFEXITED(state) ? WEXITSTATUS(state) : 2;
}

static void test_too_little_memory_is_told_and_breaks_nothing(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  test_skip("a sanitizer has memory of its own");
#endif
  const size_t MiB = 1 << 20;
  int seen[2] = {0, 0};
  ASSERT(H5open() >= 0);
  for (size_t spare = 0; spare <= 48; spare += 2) {
    int outcome = outcome_with(spare * MiB);
    if (outcome > 1) {
      test_fail(__FILE__, __LINE__, "with %zu MiB the process broke", spare);
    }
    seen[outcome]++;
  }
  ASSERT(seen[0] > 0 && seen[1] > 0);
}

static const tr_test tests[] = {
    TEST(test_too_little_memory_is_told_and_breaks_nothing),
    TEST(test_libhdf5_reads_the_sealed_file),
    TEST(test_h5dump_reads_the_sealed_file),
    TEST(test_the_same_views_give_the_same_bytes_at_any_time),
    TEST(test_an_image_is_kept_for_the_same_views_only),
    TEST(test_a_single_float_is_aligned_wherever_it_stands),
    TEST(test_two_hundred_large_data_sets_lie_apart_and_reopen),
    TEST(test_single_floats_lie_at_multiples_of_eight),
    TEST(test_views_that_are_no_data_sets_are_refused),
};
TEST_MAIN(tests)
