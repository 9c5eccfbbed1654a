/* IDX files: what is read, and what is refused. */
#include "data_helper.h"

#include "base/random_impl.h"
#include "data/idx_impl.h"

#include <limits.h>
#include <sys/stat.h>
#include <zlib.h>

enum {
  N = 10,
  H = 3,
  W = 2,
  IMAGE_BYTES = 16 + N * H * W,
  LABEL_BYTES = 8 + N
};

static void image_file(uint8_t *out)
{
  const uint8_t header[16] = {0, 0, 8, 3, 0, 0, 0, N, 0, 0, 0, H, 0, 0, 0, W};
  memcpy(out, header, sizeof header);
  for (int i = 0; i < N * H * W; i++) {
    out[16 + i] = (uint8_t)(4 * i);
  }
}

static void label_file(uint8_t *out)
{
  const uint8_t header[8] = {0, 0, 8, 1, 0, 0, 0, N};
  memcpy(out, header, sizeof header);
  for (int i = 0; i < N; i++) {
    out[8 + i] = (uint8_t)(i % 4);
  }
}

static const char *path_of(const char *dir, const char *name)
{
  static char path[512];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return path;
}

static void write_file(const char *path, const void *bytes, size_t count)
{
  FILE *file = fopen(path, "wb");
  ASSERT(file != NULL);
  ASSERT_EQ(fwrite(bytes, 1, count, file), count);
  fclose(file);
}

static void write_gz(const char *path, const void *bytes, size_t count)
{
  gzFile file = gzopen(path, "wb");
  ASSERT(file != NULL);
  ASSERT_EQ(gzwrite(file, bytes, (unsigned)count), count);
  gzclose(file);
}

static const char *new_dir(const char *name)
{
  static char dir[400];
  snprintf(dir, sizeof dir, "%s/%s", test_scratch(), name);
  ASSERT_EQ(mkdir(dir, 0777), 0);
  return dir;
}

static void write_pair(const char *dir, const char *pair, bool gz)
{
  uint8_t images[IMAGE_BYTES], labels[LABEL_BYTES];
  char name[64];
  image_file(images);
  label_file(labels);
  snprintf(name, sizeof name, "%s-images-idx3-ubyte%s", pair, gz ? ".gz" : "");
  (gz ? write_gz : write_file)(path_of(dir, name), images, sizeof images);
  snprintf(name, sizeof name, "%s-labels-idx1-ubyte%s", pair, gz ? ".gz" : "");
  (gz ? write_gz : write_file)(path_of(dir, name), labels, sizeof labels);
}

/* Sample by sample: each is one of the file's images with its label, and none
 * has come before. */
static void mark_samples(const char *dir, const char *split, bool *seen, int n)
{
  alone a;
  tr_dataset *data;
  ASSERT_OK(tr_dataset_open(alone_init(&a, 0, 1, TR_F32), dir, split, &data));
  ASSERT_EQ(tr_dataset_num_samples(data), n);
  ASSERT_EQ(tr_dataset_num_classes(data), 4);
  tr_shape shape = tr_dataset_shape(data);
  ASSERT(shape.ndim == 3 && shape.dims[0] == 1);
  ASSERT(shape.dims[1] == H && shape.dims[2] == W);
  for (int64_t i = 0; i < n; i++) {
    float x[H * W];
    int32_t y;
    ASSERT_OK(tr_dataset_read(data, &i, 1, x, &y));
    int image = (int)lrintf(x[0] * 255.0f) / (4 * H * W);
    ASSERT(image >= 0 && image < N && !seen[image]);
    seen[image] = true;
    ASSERT_EQ(y, image % 4);
    for (int j = 0; j < H * W; j++) {
      ASSERT(x[j] == (float)(4 * (image * H * W + j)) / 255.0f);
    }
  }
  tr_dataset_destroy(&data);
}

static void test_two_pairs_are_train_and_test(void)
{
  const char *dir = new_dir("two");
  write_pair(dir, "train", false);
  write_pair(dir, "t10k", true);
  bool train[N] = {0}, test[N] = {0};
  mark_samples(dir, "train", train, N);
  mark_samples(dir, "test", test, N);
}

static void test_one_pair_is_split_four_to_one(void)
{
  for (int i = 0; i < 2; i++) {
    const char *dir = new_dir(i == 0 ? "one" : "other");
    write_pair(dir, i == 0 ? "train" : "t10k", i == 0);
    bool seen[N] = {0};
    mark_samples(dir, "train", seen, 8);
    mark_samples(dir, "test", seen, 2); /* none of them seen in train */
  }
}

static void assert_refused(const char *dir, tr_status expected, const char *why)
{
  alone a;
  tr_dataset *data;
  ASSERT_FAILS(tr_idx_open(alone_init(&a, 0, 1, TR_F32), dir, "train", &data),
               expected, why);
  ASSERT(data == NULL);
}

/* A good pair of files with one change to the images. */
typedef struct bad_file {
  const char *name;
  int offset; /* of the byte that changes */
  uint8_t value;
  int more; /* bytes added at the end, or taken away */
  const char *why;
} bad_file;

static const bad_file bad_files[] = {
    {"magic", 0, 1, 0, "magic is 0x01000803, expected 0x00000803"},
    {"type", 2, 13, 0, "magic is 0x00000d03"},
    {"extents", 3, 1, 0, "expected 0x00000803 (unsigned bytes, 3 extents)"},
    {"none", 7, 0, 0, "extent 0 is 0"},
    {"narrow", 15, 0, 0, "extent 2 is 0"},
    {"fewer", 7, N - 1, 0, "the extents want a file of 70 bytes, it has 76"},
    {"many", 4, 255, 0, "the extents want a file of"},
    {"short", 0, 0, -1, "the extents want a file of 76 bytes, it has 75"},
    {"long", 0, 0, 1, "the extents want a file of 76 bytes, it has 77"},
    {"empty", 0, 0, -IMAGE_BYTES, "ends after 0 bytes of the header"},
};

static void test_bad_images_are_refused_with_the_reason(void)
{
  for (size_t i = 0; i < sizeof bad_files / sizeof bad_files[0]; i++) {
    const bad_file *bad = &bad_files[i];
    uint8_t images[IMAGE_BYTES + 1] = {0};
    const char *dir = new_dir(bad->name);
    write_pair(dir, "train", false);
    image_file(images);
    images[bad->offset] = bad->value;
    write_file(path_of(dir, "train-images-idx3-ubyte"), images,
               (size_t)(IMAGE_BYTES + bad->more));
    assert_refused(dir, TR_EDATA, bad->why);
  }
}

static void test_extents_that_overflow_are_refused(void)
{
  const char *dir = new_dir("overflow");
  write_pair(dir, "train", false);
  uint8_t images[IMAGE_BYTES];
  image_file(images);
  memset(images + 4, 255, 12);
  write_file(path_of(dir, "train-images-idx3-ubyte"), images, sizeof images);
  assert_refused(dir, TR_EDATA, "the product of the extents does not fit");
}

static void test_a_gz_that_promises_too_much_is_refused_before_memory(void)
{
  const char *dir = new_dir("bomb");
  write_pair(dir, "train", true);
  uint8_t images[IMAGE_BYTES];
  image_file(images);
  memset(images + 4, 127, 6);
  write_gz(path_of(dir, "train-images-idx3-ubyte.gz"), images, sizeof images);
  assert_refused(dir, TR_EDATA, "the extents want a file of more than");
}

static void test_other_counts_and_missing_files_are_refused(void)
{
  const char *dir = new_dir("counts");
  write_pair(dir, "train", false);
  uint8_t labels[LABEL_BYTES];
  label_file(labels);
  labels[7] = N - 1;
  write_file(path_of(dir, "train-labels-idx1-ubyte"), labels, LABEL_BYTES - 1);
  assert_refused(dir, TR_EDATA, "has 9 labels, expected 10");
  remove(path_of(dir, "train-labels-idx1-ubyte"));
  assert_refused(dir, TR_ENOINPUT, "but not train-labels-idx1-ubyte");
  remove(path_of(dir, "train-images-idx3-ubyte"));
  assert_refused(dir, TR_ENOINPUT, "no IDX files");
  assert_refused("/nowhere/at/all", TR_ENOINPUT, "/nowhere/at/all");
}

/* The whole of a small compressed file, for damage. */
static size_t compressed(uint8_t *out, size_t room)
{
  uint8_t images[IMAGE_BYTES];
  image_file(images);
  const char *path = path_of(test_scratch(), "whole.gz");
  write_gz(path, images, sizeof images);
  FILE *file = fopen(path, "rb");
  size_t bytes = fread(out, 1, room, file);
  fclose(file);
  return bytes;
}

static void load_and_release(const char *path, bool gz, bool must_fail)
{
  tr__idx got;
  tr_status status = tr__idx_load(path, gz, 3, &got);
  ASSERT(!must_fail || status == TR_EDATA);
  ASSERT(status == TR_OK || status == TR_EDATA);
  ASSERT((status == TR_OK) == (got.bytes != NULL));
  free(got.bytes);
}

/* Else the training pair alone would be cut into both splits. */
static void test_a_test_pair_that_cannot_be_looked_at_is_no_missing_one(void)
{
  static const char *const targets[] = {"t10k-images-idx3-ubyte", "gone"};
  static const tr_status expected[] = {TR_EIO, TR_ENOINPUT};
  for (int i = 0; i < 2; i++) {
    const char *dir = new_dir(i == 0 ? "loop" : "gone");
    char link[PATH_MAX];
    write_pair(dir, "train", false);
    snprintf(link, sizeof link, "%s/t10k-images-idx3-ubyte", dir);
    ASSERT_EQ(symlink(targets[i], link), 0);
    alone a;
    tr_dataset *data;
    ASSERT_FAILS(tr_idx_open(alone_init(&a, 0, 1, TR_F32), dir, "test", &data),
                 expected[i], "t10k-images-idx3-ubyte");
  }
}

static void test_files_cut_anywhere_are_refused(void)
{
  uint8_t bytes[512];
  char path[512];
  snprintf(path, sizeof path, "%s/cut", test_scratch());
  image_file(bytes);
  for (size_t length = 0; length < IMAGE_BYTES; length++) {
    write_file(path, bytes, length);
    load_and_release(path, false, true);
  }
  size_t whole = compressed(bytes, sizeof bytes - 1);
  for (size_t length = 0; length < whole; length++) {
    write_file(path, bytes, length);
    load_and_release(path, true, true);
  }
  write_file(path, bytes, whole);
  load_and_release(path, true, false);
  bytes[whole] = 1;
  write_file(path, bytes, whole + 1);
  load_and_release(path, true, true);
}

static tr_status load(const char *path, bool *is_right)
{
  tr__idx got;
  uint8_t images[IMAGE_BYTES];
  image_file(images);
  tr_status status = tr__idx_load(path, true, 3, &got);
  *is_right = status == TR_OK &&
              memcmp(got.bytes, images + 16, sizeof images - 16) == 0;
  free(got.bytes);
  return status;
}

static void append(const char *path, const void *bytes, size_t count)
{
  FILE *file = fopen(path, "ab");
  ASSERT(file != NULL && fwrite(bytes, 1, count, file) == count);
  ASSERT_EQ(fclose(file), 0);
}

static void append_member(const char *path, const uint8_t *from, size_t count)
{
  gzFile file = gzopen(path, "ab");
  ASSERT(file != NULL);
  ASSERT_EQ(gzwrite(file, from, (unsigned)count), count);
  ASSERT_EQ(gzclose(file), Z_OK);
}

/* As bgzip and cat make them, cut in the header too, an empty one at the end.
 */
static void test_gz_files_of_several_members_are_read(void)
{
  enum { FIRST = 7, SECOND = 30, MANY = 200000 };
  static const uint8_t zeros[MANY];
  char path[512];
  uint8_t images[IMAGE_BYTES];
  bool is_right;
  image_file(images);
  snprintf(path, sizeof path, "%s/members.gz", test_scratch());
  append_member(path, images, FIRST);
  append_member(path, images + FIRST, SECOND);
  ASSERT_EQ(load(path, &is_right), TR_EDATA);
  append_member(path, images + FIRST + SECOND, IMAGE_BYTES - FIRST - SECOND);
  append_member(path, images, 0);
  ASSERT_OK(load(path, &is_right));
  ASSERT(is_right);
  append(path, zeros, MANY);
  ASSERT_OK(load(path, &is_right));
  ASSERT(is_right);
  append(path, "x", 1);
  ASSERT_FAILS(load(path, &is_right), TR_EDATA, "bytes follow the array");
}

static void test_what_is_no_gzip_file_says_what_it_looks_like(void)
{
  static const struct {
    const char *bytes, *looks;
  } cases[] = {
      {"<!DOCTYPE html><html>404", "\"<!DOCTYPE html><\" and looks like a web"},
      {"\n <html>", "looks like a web page"},
      {"PK\3\4zip", "looks like a zip or npz archive"},
      {"\211HDF\r\n\032\n", "looks like an HDF5 file"},
      {"version https://git-lfs", "looks like a pointer of Git LFS"},
      {"\1\"what\\", "it begins with \"\\x01\\x22what\\x5c\""},
      {"", "it is empty"},
  };
  bool is_right;
  const char *path = path_of(test_scratch(), "no.gz");
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    write_file(path, cases[i].bytes, strlen(cases[i].bytes));
    ASSERT_FAILS(load(path, &is_right), TR_EDATA, "no.gz: is no gzip file: ");
    ASSERT(strstr(tr_error_message(), cases[i].looks) != NULL);
  }
}

static void write_labels(const char *dir, const char *pair, int first, int last)
{
  uint8_t labels[LABEL_BYTES];
  char name[64];
  write_pair(dir, pair, false);
  label_file(labels);
  for (int i = 0; i < N; i++) {
    labels[8 + i] = (uint8_t)(i < N - 1 ? first + i % 3 : last);
  }
  snprintf(name, sizeof name, "%s-labels-idx1-ubyte", pair);
  write_file(path_of(dir, name), labels, sizeof labels);
}

static void test_a_stray_label_is_refused_with_figures(void)
{
  const char *dir = new_dir("stray");
  write_labels(dir, "train", 0, 255);
  assert_refused(dir, TR_EDATA,
                 "only 4 of the classes 0 to 255 have samples (the largest "
                 "label is 255, on 1 samples, the next is 2)");
}

static void test_flipped_bits_never_crash(void)
{
  uint8_t bytes[512];
  char path[512];
  snprintf(path, sizeof path, "%s/flipped", test_scratch());
  for (int gz = 0; gz < 2; gz++) {
    size_t whole = IMAGE_BYTES;
    image_file(bytes);
    if (gz) {
      whole = compressed(bytes, sizeof bytes);
    }
    for (size_t bit = 0; bit < 8 * whole; bit++) {
      bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
      write_file(path, bytes, whole);
      /* A flip in the header of a plain file is always noticed. */
      load_and_release(path, gz, !gz && bit < 16 * 8);
      bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
  }
}

static const tr_test tests[] = {
    TEST(test_two_pairs_are_train_and_test),
    TEST(test_one_pair_is_split_four_to_one),
    TEST(test_bad_images_are_refused_with_the_reason),
    TEST(test_extents_that_overflow_are_refused),
    TEST(test_a_gz_that_promises_too_much_is_refused_before_memory),
    TEST(test_other_counts_and_missing_files_are_refused),
    TEST(test_a_test_pair_that_cannot_be_looked_at_is_no_missing_one),
    TEST(test_files_cut_anywhere_are_refused),
    TEST(test_flipped_bits_never_crash),
    TEST(test_gz_files_of_several_members_are_read),
    TEST(test_what_is_no_gzip_file_says_what_it_looks_like),
    TEST(test_a_stray_label_is_refused_with_figures),
};

TEST_MAIN(tests)
