/* HDF5 files: what is read, and what is refused. */
#include "hdf5_sample.h"

#include "base/random_impl.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

/* Runs of neighbours, steps back, and the same sample twice. */
static const int64_t some_ids[] = {3, 4, 5, 0, 11, 10, 10, 7, 8};
enum { NUM_IDS = sizeof some_ids / sizeof some_ids[0] };

static void assert_reads(const char *path, tr_dtype dtype, bool is_u8)
{
  alone a;
  tr_dataset *data;
  ASSERT_OK(tr_hdf5_open(alone_init(&a, 0, 1, dtype), path, "train", &data));
  ASSERT_EQ(tr_dataset_num_samples(data), N);
  ASSERT_EQ(tr_dataset_num_classes(data), 4);
  tr_shape shape = tr_dataset_shape(data);
  ASSERT_EQ(shape.ndim, is_u8 ? 3 : 2);
  ASSERT(!is_u8 || shape.dims[0] == 1);
  ASSERT_EQ(shape.dims[shape.ndim - 2], H);
  ASSERT_EQ(shape.dims[shape.ndim - 1], W);
  double x[NUM_IDS * H * W];
  int32_t y[NUM_IDS];
  ASSERT_OK(tr_dataset_read(data, some_ids, NUM_IDS, x, y));
  for (int i = 0; i < NUM_IDS; i++) {
    ASSERT_EQ(y[i], some_ids[i] % 4);
    for (int j = 0; j < H * W; j++) {
      double want = value_of(some_ids[i] * H * W + j);
      int at = i * H * W + j;
      if (dtype == TR_F64) {
        ASSERT(x[at] == (is_u8 ? want / 255.0 : want));
      } else {
        float expected = is_u8 ? (float)want / 255.0f : (float)want;
        ASSERT(((const float *)(const void *)x)[at] == expected);
      }
    }
  }
  tr_dataset_destroy(&data);
}

static void test_all_types_and_layouts_give_the_same_values(void)
{
  const hid_t types[] = {H5T_STD_U8LE, H5T_IEEE_F32LE, H5T_IEEE_F64LE,
                         H5T_STD_U8BE, H5T_IEEE_F32BE, H5T_IEEE_F64BE};
  const hid_t integers[] = {H5T_STD_I8LE,  H5T_STD_U8LE,  H5T_STD_I32BE,
                            H5T_STD_I64LE, H5T_STD_U64LE, H5T_STD_U16BE};
  for (int i = 0; i < 6; i++) {
    for (int layout = 0; layout < 3; layout++) {
      array_spec x = images(types[i]);
      x.chunk = layout == 0 ? 0 : 5;
      x.deflate = layout == 2;
      const char *path = write_file("types.h5", x, labels(integers[i]));
      assert_reads(path, TR_F32, i % 3 == 0);
      assert_reads(path, TR_F64, i % 3 == 0);
    }
  }
}

static void test_samples_larger_than_the_buffers_are_whole(void)
{
  alone a;
  tr_dataset *data;
  enum { BIG = 70001 };
  const hid_t types[] = {H5T_STD_U8LE, H5T_IEEE_F64LE};
  float *x = malloc(2 * BIG * sizeof *x);
  for (int i = 0; i < 4; i++) {
    array_spec spec = {.type = types[i % 2],
                       .ndim = 2,
                       .dims = {4, BIG},
                       .chunk = i < 2 ? 0 : 1};
    array_spec y = {.type = H5T_STD_I32LE, .ndim = 1, .dims = {4}};
    const char *path = write_file("big.h5", spec, y);
    int32_t classes[2];
    ASSERT_OK(tr_hdf5_open(alone_init(&a, 0, 1, TR_F32), path, "train", &data));
    ASSERT_OK(tr_dataset_read(data, (int64_t[]){2, 3}, 2, x, classes));
    for (int64_t j = 0; j < 2 * BIG; j++) {
      float want = (float)value_of(2 * BIG + j);
      ASSERT(x[j] == (i % 2 == 0 ? want / 255.0f : want));
    }
    tr_dataset_destroy(&data);
  }
  free(x);
}

static void test_classes_are_those_of_both_splits(void)
{
  alone a;
  tr_dataset *data;
  const char *path = scratch_file("splits.h5");
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  array_spec x = images(H5T_STD_U8LE), y = labels(H5T_STD_U8LE);
  write_group(file, "train", x, y, 3);
  write_group(file, "test", x, y, 7);
  write_group(file, "val", x, y, 2);
  H5Fclose(file);
  const char *const splits[] = {"train", "test", "val"};
  for (int i = 0; i < 3; i++) {
    ASSERT_OK(
        tr_hdf5_open(alone_init(&a, 0, 1, TR_F32), path, splits[i], &data));
    ASSERT_EQ(tr_dataset_num_classes(data), 7);
    tr_dataset_destroy(&data);
  }
}

static uint64_t hash_of_test_split(const char *name, int modulus)
{
  alone a;
  tr_dataset *data;
  const char *path = scratch_file(name);
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  write_group(file, "train", images(H5T_STD_U8LE), labels(H5T_STD_U8LE),
              modulus);
  H5Fclose(file);
  ASSERT_OK(tr_dataset_open(alone_init(&a, 0, 1, TR_F32), path, "test", &data));
  ASSERT_EQ(tr_dataset_num_samples(data), 3);
  uint64_t hash = data->type->hash(data);
  tr_dataset_destroy(&data);
  return hash;
}

/* The first labels of the two files are equal, those of the split are not. */
static void test_ranks_compare_all_labels_of_a_file_that_is_split(void)
{
  ASSERT(hash_of_test_split("by3.h5", 3) != hash_of_test_split("by4.h5", 4));
}

static void test_several_threads_read_compressed_samples(void)
{
  alone a;
  tr_dataset *data;
  tr_loader *loader;
  tr_batch batch;
  array_spec x = images(H5T_STD_U8LE);
  x.chunk = 2;
  x.deflate = 1;
  const char *path = write_file("threads.h5", x, labels(H5T_STD_I32LE));
  tr_context *ctx = alone_init(&a, 0, 1, TR_F32);
  ASSERT_OK(tr_hdf5_open(ctx, path, "train", &data));
  ASSERT_OK(tr_loader_create(
      ctx, data, &(tr_loader_opts){.batch = 5, .shuffle = 1, .threads = 4},
      &loader));
  for (int epoch = 0; epoch < 20; epoch++) {
    int64_t count = 0;
    while (tr_loader_next(loader, &batch)) {
      count += batch.count;
    }
    ASSERT_OK(tr_loader_status(loader));
    ASSERT_EQ(count, N);
  }
  tr_loader_destroy(&loader);
  tr_dataset_destroy(&data);
}

static void test_arrays_of_the_wrong_kind_are_refused(void)
{
  array_spec good_x = images(H5T_STD_U8LE), good_y = labels(H5T_STD_U8LE);
  array_spec many = {
      .type = H5T_STD_U8LE, .ndim = 7, .dims = {N, 1, 1, 1, 1, 1, 2}};
  array_spec table = {.type = H5T_STD_U8LE, .ndim = 2, .dims = {N, 3}};
  array_spec cube = {.type = H5T_STD_U8LE, .ndim = 3, .dims = {N, 2, 2}};
  array_spec fewer = good_y;
  fewer.dims[0] = N - 1;
  const struct {
    array_spec x, y;
    const char *why;
  } cases[] = {
      {images(H5T_STD_I8LE), good_y, "/train/x: the type has 1 bytes and is"},
      {images(H5T_STD_I32LE), good_y, "not one of uint8, float32 and float64"},
      {many, good_y, "/train/x: has 7 extents, expected 1 to 6"},
      {good_x, table, "/train/y: has 2 extents, expected 1, or rows of one 1"},
      {good_x, cube, "/train/y: has 3 extents, expected 1"},
      {good_x, fewer, "/train/y: has 11 labels, expected 12 as in x"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_refused(write_file("kind.h5", cases[i].x, cases[i].y), TR_EDATA,
                   cases[i].why);
  }
}

/* A file with good labels, and an x that is put there by the caller. */
static hid_t begin_file(const char *path, hid_t *group)
{
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  *group = H5Gcreate2(file, "train", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  array_spec y = labels(H5T_STD_U8LE);
  write_array(*group, "y", &y, 4);
  return file;
}

static void create_x(hid_t group, const hsize_t *dims, hid_t plist)
{
  hid_t space = H5Screate_simple(2, dims, NULL);
  hid_t set = H5Dcreate2(group, "x", H5T_STD_U8LE, space, H5P_DEFAULT, plist,
                         H5P_DEFAULT);
  ASSERT(set >= 0);
  H5Dclose(set);
  H5Sclose(space);
}

static void test_values_that_are_elsewhere_are_refused(void)
{
  static const char *const why[] = {
      "is a soft link",        "is an external link",      "in other files",
      "the layout is virtual", "not there: no link \"x\"",
  };
  for (int i = 0; i < 5; i++) {
    const char *path = scratch_file("elsewhere.h5");
    const hsize_t dims[2] = {N, 4};
    hid_t group, file = begin_file(path, &group);
    hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
    if (i == 0) {
      H5Lcreate_soft("/train/y", group, "x", H5P_DEFAULT, H5P_DEFAULT);
    } else if (i == 1) {
      H5Lcreate_external("types.h5", "/train/x", group, "x", H5P_DEFAULT,
                         H5P_DEFAULT);
    } else if (i == 2) {
      H5Pset_external(plist, "/etc/passwd", 0, N * 4);
      create_x(group, dims, plist);
    } else if (i == 3) {
      hid_t space = H5Screate_simple(2, dims, NULL);
      H5Pset_virtual(plist, space, "other.h5", "/x", space);
      create_x(group, dims, plist);
      H5Sclose(space);
    }
    H5Pclose(plist);
    H5Gclose(group);
    H5Fclose(file);
    assert_refused(path, i == 4 ? TR_ENOINPUT : TR_EDATA, why[i]);
  }
}

static void test_extents_beyond_the_stored_bytes_are_refused(void)
{
  static const char *const why[] = {
      "0 bytes are stored",        "cannot hold them", "cannot hold them",
      "filter 6 is not supported", "extent 1 is 0",
  };
  for (int i = 0; i < 5; i++) {
    const char *path = scratch_file("beyond.h5");
    hsize_t dims[2] = {N, i == 4 ? 0 : (hsize_t)1 << (i == 1 ? 50 : 24)};
    hid_t group, file = begin_file(path, &group);
    hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
    if (i >= 1 && i <= 3) {
      H5Pset_chunk(plist, 2, (const hsize_t[]){1, 1024});
    }
    if (i == 3) {
      H5Pset_scaleoffset(plist, H5Z_SO_INT, 4);
    }
    create_x(group, dims, plist);
    if (i == 2) {
      /* One chunk of many is there. */
      hid_t set = H5Dopen2(group, "x", H5P_DEFAULT);
      hid_t space = H5Dget_space(set);
      hid_t memory = H5Screate_simple(1, (const hsize_t[]){1}, NULL);
      uint8_t byte = 1;
      H5Sselect_elements(space, H5S_SELECT_SET, 1, (const hsize_t[]){0, 0});
      H5Dwrite(set, H5T_NATIVE_UCHAR, memory, space, H5P_DEFAULT, &byte);
      H5Sclose(memory);
      H5Sclose(space);
      H5Dclose(set);
    }
    H5Pclose(plist);
    H5Gclose(group);
    H5Fclose(file);
    assert_refused(path, TR_EDATA, why[i]);
  }
}

static void test_labels_out_of_range_are_refused(void)
{
  static const int64_t bad[] = {-1, 1000000, INT64_MAX};
  for (int i = 0; i < 3; i++) {
    const char *path =
        write_file("labels.h5", images(H5T_STD_U8LE), labels(H5T_STD_I64LE));
    int64_t y[N] = {0};
    char why[100];
    y[9] = bad[i];
    snprintf(why, sizeof why, "label of sample 9 is %lld, expected 0 to",
             (long long)bad[i]);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t set = H5Dopen2(file, "/train/y", H5P_DEFAULT);
    H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, y);
    H5Dclose(set);
    H5Fclose(file);
    assert_refused(path, TR_EDATA, why);
  }
}

static void test_missing_things_are_named(void)
{
  alone a;
  tr_dataset *data;
  tr_context *ctx = alone_init(&a, 0, 1, TR_F32);
  assert_refused("/nowhere/digits.h5", TR_ENOINPUT, "/nowhere/digits.h5");
  ASSERT_FAILS(tr_dataset_open(ctx, "/nowhere/digits.h5", "train", &data),
               TR_ENOINPUT, "/nowhere/digits.h5");
  ASSERT_FAILS(tr_dataset_open(ctx, "/dev/null", "train", &data), TR_EDATA,
               "/dev/null");
  const char *path =
      write_file("some.h5", images(H5T_STD_U8LE), labels(H5T_STD_U8LE));
  ASSERT_FAILS(tr_hdf5_open(ctx, path, "test", &data), TR_ENOINPUT,
               "/test/x: not there: no link \"test\"; / has train");
  ASSERT_FAILS(tr_hdf5_open(ctx, path, "train/x", &data), TR_EINVAL,
               "\"train/x\" is not the name of a group");
  FILE *file = fopen(path, "wb");
  fprintf(file, "not what you think");
  fclose(file);
  assert_refused(path, TR_EDATA, "not an HDF5 file");
}

/* The bytes of a good file with both layouts in it. */
static uint8_t *read_whole(const char *path, size_t *bytes)
{
  FILE *file = fopen(path, "rb");
  ASSERT(file != NULL);
  fseek(file, 0, SEEK_END);
  *bytes = (size_t)ftell(file);
  rewind(file);
  uint8_t *whole = malloc(*bytes);
  ASSERT_EQ(fread(whole, 1, *bytes, file), *bytes);
  fclose(file);
  return whole;
}

/* Open and read everything; true where all went well. */
static bool try_file(const char *path, const uint8_t *bytes, size_t count)
{
  alone a;
  tr_dataset *data;
  double x[H * W];
  int32_t y;
  FILE *file = fopen(path, "wb");
  fwrite(bytes, 1, count, file);
  fclose(file);
  tr_status status =
      tr_hdf5_open(alone_init(&a, 0, 1, TR_F64), path, "train", &data);
  if (status != TR_OK) {
    return false;
  }
  bool fits = tr_shape_count(&data->shape) <= H * W;
  for (int64_t i = 0; i < data->num_samples && fits && status == TR_OK; i++) {
    status = tr_dataset_read(data, &i, 1, x, &y);
  }
  tr_dataset_destroy(&data);
  return status == TR_OK;
}

static void test_files_cut_anywhere_are_refused(void)
{
  size_t bytes;
  array_spec x = images(H5T_IEEE_F32LE);
  uint8_t *whole =
      read_whole(write_file("whole.h5", x, labels(H5T_STD_I32LE)), &bytes);
  char path[512];
  snprintf(path, sizeof path, "%s/cut.h5", test_scratch());
  ASSERT(try_file(path, whole, bytes));
  for (size_t length = 0; length < bytes; length += 1 + length % 31) {
    ASSERT(!try_file(path, whole, length));
  }
  free(whole);
}

/* A damaged file is refused or read, without a crash, a hang or a handle that
 * stays open. libhdf5 itself may crash on damage and may not find its end
 * after it, so each file has a process of its own; what is asked for here is
 * that none of that happens with the flips of this test. */
static void survive_file(const char *path, const uint8_t *bytes, size_t count)
{
  pid_t child = fork();
  if (child == 0) {
    alarm(20);
    try_file(path, bytes, count);
    _exit(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0 ? 0 : 3);
  }
  int how;
  ASSERT_EQ(waitpid(child, &how, 0), child);
  ASSERT(WIFEXITED(how));
  ASSERT_EQ(WEXITSTATUS(how), 0);
}

static void test_flipped_bits_are_survived(void)
{
  size_t bytes;
  array_spec x = images(H5T_IEEE_F32LE);
  x.chunk = 5;
  x.deflate = 1;
  uint8_t *whole =
      read_whole(write_file("whole.h5", x, labels(H5T_STD_I32LE)), &bytes);
  char path[512];
  snprintf(path, sizeof path, "%s/flipped.h5", test_scratch());
  tr__random random = {.seed = test_seed(),
                       .stream = tr__random_stream(TR__PURPOSE_TEST, 2)};
  for (int64_t trial = 0; trial < 120; trial++) {
    size_t bit = tr__random_u32(&random, trial) % (8 * bytes);
    whole[bit / 8] ^= (uint8_t)(1 << bit % 8);
    survive_file(path, whole, bytes);
    whole[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
  free(whole);
}

static void test_the_programs_error_handler_stays(void)
{
  H5E_auto2_t handler, after;
  void *user, *user_after;
  H5Eget_auto2(H5E_DEFAULT, &handler, &user);
  assert_refused(scratch_file("not-there.h5"), TR_ENOINPUT, "not-there.h5");
  H5Eget_auto2(H5E_DEFAULT, &after, &user_after);
  ASSERT(handler != NULL && handler == after && user == user_after);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif

static size_t address_space(void)
{
  size_t pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL || fscanf(file, "%zu", &pages) != 1) {
    test_skip("/proc/self/statm cannot be read");
  }
  fclose(file);
  return pages * (size_t)sysconf(_SC_PAGESIZE);
}

#define BIG_SAMPLE ((int64_t)1 << 20)

/* A sparse file: x has `count` samples of 1 MiB, zeros. */
static const char *write_sparse(int64_t count, bool chunked)
{
  const char *path = scratch_file("sparse.h5");
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  hid_t group =
      H5Gcreate2(file, "train", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  array_spec y = {.type = H5T_STD_U8LE, .ndim = 1, .dims = {(hsize_t)count}};
  write_array(group, "y", &y, 4);
  hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
  if (chunked) {
    H5Pset_chunk(plist, 2, (const hsize_t[]){1, BIG_SAMPLE});
  }
  H5Pset_alloc_time(plist, H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(plist, H5D_FILL_TIME_NEVER);
  create_x(group, (const hsize_t[]){(hsize_t)count, BIG_SAMPLE}, plist);
  H5Pclose(plist);
  H5Gclose(group);
  H5Fclose(file);
  return path;
}

/* 0 where an epoch goes through, else the line that failed. */
static int run_limited_epoch(const char *path, size_t limit, int64_t count)
{
  alone a;
  tr_dataset *data;
  tr_loader *loader;
  tr_batch batch;
  struct rlimit bound = {limit, limit};
  if (setrlimit(RLIMIT_AS, &bound) != 0) {
    return __LINE__ % 200;
  }
  tr_context *ctx = alone_init(&a, 0, 1, TR_F32);
  if (tr_hdf5_open(ctx, path, "train", &data) != TR_OK) {
    return __LINE__ % 200;
  }
  tr_loader_opts opts = {.batch = 2, .shuffle = 1, .depth = 1};
  if (tr_loader_create(ctx, data, &opts, &loader) != TR_OK) {
    return __LINE__ % 200;
  }
  int64_t seen = 0;
  while (tr_loader_next(loader, &batch)) {
    seen += batch.count;
  }
  if (seen != count || tr_loader_status(loader) != TR_OK) {
    return __LINE__ % 200;
  }
  tr_loader_destroy(&loader);
  tr_dataset_destroy(&data);
  return 0;
}

static void test_a_file_four_times_the_address_space_is_read(void)
{
#ifdef HAS_SANITIZER
  test_skip("a sanitizer needs all of the address space");
#endif
  for (int chunked = 0; chunked < 2; chunked++) {
    /* The reading thread's stack and arena are most of the allowance. */
    size_t limit = address_space() + ((size_t)160 << 20);
    int64_t count = (int64_t)(4 * limit) / BIG_SAMPLE + 1;
    const char *path = write_sparse(count, chunked);
    struct stat info;
    ASSERT_EQ(stat(path, &info), 0);
    ASSERT((size_t)info.st_size > 4 * limit);
    pid_t child = fork();
    if (child == 0) {
      _exit(run_limited_epoch(path, limit, count));
    }
    int how;
    ASSERT_EQ(waitpid(child, &how, 0), child);
    remove(path);
    ASSERT(WIFEXITED(how));
    ASSERT_EQ(WEXITSTATUS(how), 0);
  }
}

/* Three chunks of 65 MiB of zeros, of which two are kept. */
static void test_chunks_above_64_mib_are_read_with_a_warning(void)
{
  enum { CHUNK = 65 << 20 };
  const char *path = scratch_file("giant.h5");
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  hid_t group =
      H5Gcreate2(file, "train", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  array_spec y = {.type = H5T_STD_U8LE, .ndim = 1, .dims = {3}};
  write_array(group, "y", &y, 3);
  hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(plist, 2, (const hsize_t[]){1, CHUNK});
  H5Pset_deflate(plist, 1);
  create_x(group, (const hsize_t[]){3, CHUNK}, plist);
  hid_t set = H5Dopen2(group, "x", H5P_DEFAULT);
  uint8_t *values = calloc(1, CHUNK), *packed = malloc(1 << 20);
  uLongf length = 1 << 20;
  ASSERT_EQ(compress2(packed, &length, values, CHUNK, 1), Z_OK);
  for (hsize_t i = 0; i < 3; i++) {
    ASSERT(H5Dwrite_chunk(set, H5P_DEFAULT, 0, (const hsize_t[]){i, 0}, length,
                          packed) >= 0);
  }
  free(values);
  free(packed);
  H5Dclose(set);
  H5Pclose(plist);
  H5Gclose(group);
  H5Fclose(file);
  told t;
  open_and_tell(path, "train", &t);
  ASSERT_EQ(t.count, 1);
  ASSERT(strstr(t.line, "/train/x: its chunks have 65 MiB, of which 2 are "
                        "kept") != NULL);
  remove(path);
}

static const tr_test tests[] = {
    TEST(test_all_types_and_layouts_give_the_same_values),
    TEST(test_samples_larger_than_the_buffers_are_whole),
    TEST(test_classes_are_those_of_both_splits),
    TEST(test_ranks_compare_all_labels_of_a_file_that_is_split),
    TEST(test_several_threads_read_compressed_samples),
    TEST(test_arrays_of_the_wrong_kind_are_refused),
    TEST(test_values_that_are_elsewhere_are_refused),
    TEST(test_extents_beyond_the_stored_bytes_are_refused),
    TEST(test_labels_out_of_range_are_refused),
    TEST(test_missing_things_are_named),
    TEST(test_files_cut_anywhere_are_refused),
    TEST(test_flipped_bits_are_survived),
    TEST(test_the_programs_error_handler_stays),
    TEST(test_chunks_above_64_mib_are_read_with_a_warning),
    TEST(test_a_file_four_times_the_address_space_is_read),
};

TEST_MAIN(tests)
