/* HDF5 files whose bytes are not what they should be: refused or read, never
 * believed.
 *
 * usage: test_data_hdf5_damage [--trials N] [--seed N]: so many damaged files
 * of each kind; N of 1000000 are a campaign of some minutes by hand. */
#include "data_helper.h"

#include "base/random_impl.h"
#include "hdf5/h5_strict_impl.h"
#include "hdf5/hdf5_format_impl.h"

#include <hdf5.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

enum { N = 40, ROW = 12, TRIALS = 1500, LINKS = 20 };

/* How the arrays of a file are stored. */
typedef struct form {
  const char *name;
  bool is_latest;  /* else the oldest format */
  int chunk[2];    /* 0: contiguous */
  hsize_t most[2]; /* extents that they may grow to */
  bool filters;    /* all three */
  int links;       /* groups beside the arrays */
} form;

#define ANY H5S_UNLIMITED

static const form forms[] = {
    {"contiguous", false, {0}, {N, ROW}, false, 0},
    {"old tree", false, {4, 5}, {N, ROW}, true, LINKS},
    {"single", true, {N, ROW}, {N, ROW}, true, 0},
    {"implicit", true, {7, ROW}, {N, ROW}, false, LINKS},
    {"fixed array", true, {7, 5}, {N, ROW}, true, 0},
    {"fixed array with pages", true, {1, 1}, {4000, ROW}, false, 0},
    {"extensible array", true, {1, 3}, {ANY, ROW}, true, LINKS},
    {"new tree", true, {1, 2}, {ANY, ANY}, true, 0},
};

enum { NUM_FORMS = sizeof forms / sizeof forms[0] };

static float value_of(int64_t i)
{
  return (float)(i * 7 % 251) - 100.5f;
}

static hid_t list_of(const form *f, int ndim)
{
  hid_t list = H5Pcreate(H5P_DATASET_CREATE);
  const hsize_t chunk[2] = {(hsize_t)f->chunk[0], (hsize_t)f->chunk[1]};
  if (f->chunk[0] > 0) {
    H5Pset_chunk(list, ndim, chunk);
  }
  if (f->chunk[0] > 0 && !f->filters) {
    H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY);
  }
  if (f->filters) {
    H5Pset_shuffle(list);
    H5Pset_deflate(list, 4);
    H5Pset_fletcher32(list);
  }
  return list;
}

static void write_array(hid_t group,
                        const char *name,
                        const form *f,
                        int ndim,
                        hid_t type,
                        const float *values)
{
  const hsize_t dims[2] = {N, ROW};
  hid_t space = H5Screate_simple(ndim, dims, f->most);
  hid_t list = list_of(f, ndim);
  hid_t set =
      H5Dcreate2(group, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
  ASSERT(set >= 0 && H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL,
                              H5P_DEFAULT, values) >= 0);
  H5Dclose(set);
  H5Pclose(list);
  H5Sclose(space);
}

static const char *path_of(const char *name)
{
  static char path[512];
  snprintf(path, sizeof path, "%s/%s", test_scratch(), name);
  return path;
}

/* /train with x, y and other things; x serves as a parameter too. */
static void write_file(const char *path, const form *f)
{
  float x[N * ROW], y[N];
  char name[16];
  hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  if (f->is_latest) {
    H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
  }
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
  hid_t group =
      H5Gcreate2(file, "train", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  ASSERT(file >= 0 && group >= 0);
  for (int i = 0; i < N * ROW; i++) {
    x[i] = value_of(i);
  }
  for (int i = 0; i < N; i++) {
    y[i] = (float)(i % 3);
  }
  for (int i = 0; i < f->links; i++) {
    snprintf(name, sizeof name, "group%d", i);
    H5Gclose(H5Gcreate2(group, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  }
  write_array(group, "x", f, 2, H5T_IEEE_F32LE, x);
  write_array(group, "y", f, 1, H5T_STD_I32LE, y);
  H5Gclose(group);
  H5Fclose(file);
  H5Pclose(access);
}

static uint8_t *read_whole(const char *path, size_t *bytes)
{
  FILE *file = fopen(path, "rb");
  ASSERT(file != NULL && fseek(file, 0, SEEK_END) == 0);
  *bytes = (size_t)ftell(file);
  rewind(file);
  uint8_t *whole = malloc(*bytes);
  ASSERT_EQ(fread(whole, 1, *bytes, file), *bytes);
  fclose(file);
  return whole;
}

static tr_status read_samples(const char *path, float *x, int32_t *y)
{
  alone a;
  tr_dataset *data;
  tr_context *ctx = alone_init(&a, 1, 2, TR_F32);
  TR_TRY(tr_hdf5_open(ctx, path, "train", &data));
  tr_status status = TR_OK;
  bool fits = tr_shape_count(&data->shape) <= ROW;
  for (int64_t i = 0; i < data->num_samples && i < N && fits; i++) {
    tr_status one = tr_dataset_read(data, &i, 1, x + i * ROW, y + i);
    status = status == TR_OK ? one : status;
  }
  tr_dataset_destroy(&data);
  return status;
}

static tr_status read_param(const char *path, float *x)
{
  tr__h5_file file;
  const tr_shape shape = {.ndim = 2, .dims = {N, ROW}};
  TR_TRY(tr__h5_open(path, &file));
  tr_status status = tr__h5_read(&file, "/train/x", &shape, TR_F32, x);
  tr__h5_close(&file);
  return status;
}

static void test_every_way_to_store_chunks_is_read(void)
{
  for (int i = 0; i < NUM_FORMS; i++) {
    float x[N * ROW], param[N * ROW];
    int32_t y[N];
    write_file(path_of("form.h5"), &forms[i]);
    ASSERT_OK(read_samples(path_of("form.h5"), x, y));
    ASSERT_OK(read_param(path_of("form.h5"), param));
    for (int j = 0; j < N * ROW; j++) {
      ASSERT(x[j] == value_of(j) && param[j] == value_of(j));
      ASSERT_EQ(y[j / ROW], j / ROW % 3);
    }
  }
}

/* Blocks whose last 4 bytes are a checksum of what is before them. */
enum { MAX_BLOCKS = 512, MAX_BLOCK = 3000 };

typedef struct blocks {
  size_t start[MAX_BLOCKS], bytes[MAX_BLOCKS]; /* without the checksum */
  int count;
} blocks;

static uint32_t load_sum(const uint8_t *at)
{
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
         (uint32_t)at[3] << 24;
}

static void find_blocks(const uint8_t *whole, size_t bytes, blocks *out)
{
  static const char *const known[] = {
      "\211HDF", "OHDR", "OCHK", "BTHD", "BTLF", "BTIN", "FRHP", "FHIB",
      "FHDB",    "FAHD", "FADB", "EAHD", "EAIB", "EASB", "EADB"};
  out->count = 0;
  for (size_t at = 0; at + 8 < bytes; at++) {
    bool is_block = false;
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
      is_block = is_block || memcmp(whole + at, known[k], 4) == 0;
    }
    for (size_t n = 8; is_block && n < MAX_BLOCK && at + n + 4 <= bytes; n++) {
      if (tr__hdf5_checksum(whole + at, n) == load_sum(whole + at + n)) {
        ASSERT(out->count < MAX_BLOCKS);
        out->start[out->count] = at;
        out->bytes[out->count++] = n;
        break;
      }
    }
  }
}

/* So that damage reaches what lies behind the checksums. */
static void mend_sums(uint8_t *whole, const blocks *b, size_t at)
{
  for (int i = 0; i < b->count; i++) {
    if (at >= b->start[i] && at < b->start[i] + b->bytes[i]) {
      uint32_t sum = tr__hdf5_checksum(whole + b->start[i], b->bytes[i]);
      for (int j = 0; j < 4; j++) {
        whole[b->start[i] + b->bytes[i] + (size_t)j] = (uint8_t)(sum >> 8 * j);
      }
    }
  }
}

static void damage(uint8_t *whole,
                   size_t bytes,
                   const blocks *b,
                   const tr__random *random,
                   int64_t trial)
{
  static const uint8_t telling[] = {0, 1, 0x7f, 0x80, 0xff};
  int64_t draw = trial * 64;
  int places = 1 + (int)(tr__random_u32(random, draw++) % 3);
  for (int i = 0; i < places; i++) {
    size_t at = tr__random_u32(random, draw++) % bytes;
    uint32_t how = tr__random_u32(random, draw++);
    /* Checked blocks are a small part of the file and most of its structure. */
    if (b->count > 0 && how % 4 != 0) {
      uint32_t block = tr__random_u32(random, draw++) % (uint32_t)b->count;
      at = b->start[block] +
           tr__random_u32(random, draw++) % (uint32_t)b->bytes[block];
    }
    uint8_t byte = how % 2 ? telling[how / 8 % 5] : (uint8_t)(how >> 16);
    for (size_t j = 0; j < (how / 64 % 8 == 0 ? 8 : 1) && at + j < bytes; j++) {
      whole[at + j] = byte;
    }
    if (trial % 8 != 0) {
      mend_sums(whole, b, at);
    }
  }
}

static int64_t num_trials(void)
{
  for (int i = 1; i + 1 < test_argc; i++) {
    if (strcmp(test_argv[i], "--trials") == 0) {
      return strtoll(test_argv[i + 1], NULL, 10);
    }
  }
  return TRIALS;
}

static bool is_expected(tr_status status)
{
  return status == TR_OK || status == TR_EDATA || status == TR_ENOINPUT ||
         status == TR_EMISMATCH || status == TR_ESHAPE;
}

/* In a process of its own; *trial says how far it has come. 0: survived. */
static int run_trials(const form *f, volatile int64_t *trial, int64_t count)
{
  float x[N * ROW];
  int32_t y[N];
  char path[512];
  size_t bytes;
  blocks b;
  snprintf(path, sizeof path, "%s/%s.h5", test_scratch(), f->name);
  write_file(path, f);
  uint8_t *whole = read_whole(path, &bytes), *copy = malloc(bytes);
  find_blocks(whole, bytes, &b);
  tr__random random = {.seed = test_seed(),
                       .stream = tr__random_stream(TR__PURPOSE_TEST, 3)};
  if (f->is_latest && b.count < 3) {
    return 2;
  }
  /* In memory: thousands of files on a disk take their time. */
  int memory = memfd_create("damaged", 0);
  snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
  for (*trial = 0; *trial < count; (*trial)++) {
    memcpy(copy, whole, bytes);
    damage(copy, bytes, &b, &random, *trial);
    if (pwrite(memory, copy, bytes, 0) != (ssize_t)bytes) {
      return 4;
    }
    alarm(20);
    if (!is_expected(read_samples(path, x, y)) ||
        !is_expected(read_param(path, x))) {
      fprintf(stderr, "# %s: %s\n", f->name, tr_error_message());
      return 3;
    }
  }
  free(copy);
  free(whole);
  return 0;
}

static void test_damaged_files_are_refused_or_read(void)
{
  int64_t *trial = mmap(NULL, sizeof *trial, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT(trial != MAP_FAILED);
  test_scratch();
  for (int i = 0; i < NUM_FORMS; i++) {
    int how;
    pid_t child = fork();
    if (child == 0) {
      _exit(run_trials(&forms[i], trial, num_trials()));
    }
    ASSERT_EQ(waitpid(child, &how, 0), child);
    if (!WIFEXITED(how) || WEXITSTATUS(how) != 0) {
      test_fail(__FILE__, __LINE__, "%s, trial %lld: status %d", forms[i].name,
                (long long)*trial, how);
    }
  }
  munmap(trial, sizeof *trial);
}

/* One chunk of 4 rows whose stored bytes are the caller's. */
static const char *
write_stored(const void *stored, size_t bytes, bool is_packed)
{
  const char *path = path_of("stored.h5");
  const hsize_t dims[2] = {4, ROW}, zero[2] = {0, 0};
  const int32_t y[4] = {0, 1, 2, 0};
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  hid_t group =
      H5Gcreate2(file, "train", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  hid_t list = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(list, 2, dims);
  H5Pset_deflate(list, 4);
  hid_t space = H5Screate_simple(2, dims, NULL);
  hid_t set = H5Dcreate2(group, "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, list,
                         H5P_DEFAULT);
  ASSERT(H5Dwrite_chunk(set, H5P_DEFAULT, is_packed ? 0 : 1, zero, bytes,
                        stored) >= 0);
  H5Dclose(set);
  H5Sclose(space);
  H5Pclose(list);
  space = H5Screate_simple(1, dims, NULL);
  set = H5Dcreate2(group, "y", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT,
                   H5P_DEFAULT);
  H5Dwrite(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, y);
  H5Dclose(set);
  H5Sclose(space);
  H5Gclose(group);
  H5Fclose(file);
  return path;
}

static tr_status
read_stored(const void *values, size_t bytes, size_t cut, bool is_packed)
{
  alone a;
  tr_dataset *data;
  float x[ROW];
  int32_t y;
  uint8_t packed[1 << 16];
  uLongf length = sizeof packed;
  ASSERT_EQ(compress(packed, &length, values, bytes), Z_OK);
  const char *path = is_packed ? write_stored(packed, length - cut, true)
                               : write_stored(values, bytes, false);
  ASSERT_OK(tr_hdf5_open(alone_init(&a, 0, 1, TR_F32), path, "train", &data));
  tr_status status = tr_dataset_read(data, (int64_t[]){3}, 1, x, &y);
  if (status == TR_OK) {
    ASSERT(x[ROW - 1] == 3.5f);
  }
  tr_dataset_destroy(&data);
  return status;
}

static void test_a_chunk_expands_to_exactly_its_size_or_is_refused(void)
{
  enum { BYTES = 4 * ROW * 4, MORE = 1 << 20 };
  static float values[MORE / 4];
  for (int i = 0; i < MORE / 4; i++) {
    values[i] = 3.5f;
  }
  ASSERT_OK(read_stored(values, BYTES, 0, true));
  ASSERT_OK(read_stored(values, BYTES, 0, false));
  ASSERT_FAILS(read_stored(values, BYTES - 1, 0, true), TR_EDATA,
               "/train/x: chunk 0 of 1 is damaged");
  ASSERT_FAILS(read_stored(values, 4, 0, true), TR_EDATA, "to fewer bytes");
  ASSERT_FAILS(read_stored(values, BYTES + 1, 0, true), TR_EDATA,
               "to more bytes");
  ASSERT_FAILS(read_stored(values, MORE, 0, true), TR_EDATA, "to more bytes");
  ASSERT_FAILS(read_stored(values, BYTES, 2, true), TR_EDATA,
               "no whole zlib stream");
  ASSERT_FAILS(read_stored(values, BYTES - 4, 0, false), TR_EDATA,
               "another number of bytes");
  ASSERT_FAILS(read_stored(values, BYTES + 4, 0, false), TR_EDATA,
               "another number of bytes");
}

static const tr_test tests[] = {
    TEST(test_every_way_to_store_chunks_is_read),
    TEST(test_a_chunk_expands_to_exactly_its_size_or_is_refused),
    TEST(test_damaged_files_are_refused_or_read),
};

TEST_MAIN(tests)
