/* The embedded digits. */
#include "data_helper.h"

#include <xxhash.h>

#define PIXELS 784

/* The first hundred training samples, pixels and classes. Digits are the same
 * bits on every machine: a change of this number makes every figure that was
 * ever measured on them incomparable. */
static const uint64_t known_pixels = UINT64_C(0xe05c89607b5a231d);
static const uint64_t known_classes = UINT64_C(0x12a9de1643372790);

static void read_digits(
    tr_dtype dtype, const char *split, int64_t count, void *x, int32_t *y)
{
  alone a;
  tr_dataset *data;
  ASSERT_OK(tr_digits_open(alone_init(&a, 0, 1, dtype), split, &data));
  int64_t *ids = malloc((size_t)count * sizeof *ids);
  for (int64_t i = 0; i < count; i++) {
    ids[i] = i;
  }
  ASSERT_OK(tr_dataset_read(data, ids, count, x, y));
  free(ids);
  tr_dataset_destroy(&data);
  ASSERT(data == NULL);
}

static void test_digits_are_the_same_bits_everywhere(void)
{
  static float x[100 * PIXELS];
  int32_t y[100];
  read_digits(TR_F32, "train", 100, x, y);
  uint64_t pixels = XXH3_64bits(x, sizeof x);
  uint64_t classes = XXH3_64bits(y, sizeof y);
  if (pixels != known_pixels || classes != known_classes) {
    test_fail(__FILE__, __LINE__, "hashes are 0x%016llx and 0x%016llx",
              (unsigned long long)pixels, (unsigned long long)classes);
  }
}

static void test_digits_have_ten_classes_and_values_from_0_to_1(void)
{
  enum { COUNT = 2000 };
  float *x = malloc(COUNT * PIXELS * sizeof *x);
  int32_t y[COUNT];
  int seen[10] = {0};
  read_digits(TR_F32, "test", COUNT, x, y);
  for (int64_t i = 0; i < COUNT; i++) {
    ASSERT(y[i] >= 0 && y[i] < 10);
    seen[y[i]]++;
    float ink = 0;
    for (int64_t j = 0; j < PIXELS; j++) {
      ASSERT(x[i * PIXELS + j] >= 0 && x[i * PIXELS + j] <= 1);
      ink += x[i * PIXELS + j];
    }
    ASSERT(ink > 5); /* something is drawn */
  }
  for (int digit = 0; digit < 10; digit++) {
    ASSERT(seen[digit] > COUNT / 20 && seen[digit] < COUNT / 5);
  }
  free(x);
}

static void test_train_and_test_share_no_sample(void)
{
  enum { COUNT = 200 };
  float *train = malloc(COUNT * PIXELS * sizeof *train);
  float *test = malloc(COUNT * PIXELS * sizeof *test);
  int32_t y[COUNT];
  read_digits(TR_F32, "train", COUNT, train, y);
  read_digits(TR_F32, "test", COUNT, test, y);
  for (int i = 0; i < COUNT; i++) {
    for (int j = 0; j < COUNT; j++) {
      ASSERT(memcmp(train + i * PIXELS, test + j * PIXELS, PIXELS * 4) != 0);
    }
  }
  free(train);
  free(test);
}

static void test_doubles_are_the_floats(void)
{
  float x[3 * PIXELS];
  double z[3 * PIXELS];
  int32_t y[3], w[3];
  read_digits(TR_F32, "train", 3, x, y);
  read_digits(TR_F64, "train", 3, z, w);
  for (int i = 0; i < 3 * PIXELS; i++) {
    ASSERT(z[i] == (double)x[i]);
  }
  ASSERT(memcmp(y, w, sizeof y) == 0);
}

static void test_open_says_sizes_and_refuses_another_split(void)
{
  alone a;
  tr_dataset *data;
  tr_context *ctx = alone_init(&a, 0, 1, TR_F32);
  ASSERT_OK(tr_dataset_open(ctx, NULL, "train", &data));
  ASSERT_EQ(tr_dataset_num_samples(data), 8000);
  ASSERT_EQ(tr_dataset_num_classes(data), 10);
  tr_shape shape = tr_dataset_shape(data);
  ASSERT_EQ(shape.ndim, 3);
  ASSERT_EQ(shape.dims[0] * 10000 + shape.dims[1] * 100 + shape.dims[2], 12828);
  tr_dataset_destroy(&data);
  ASSERT_OK(tr_digits_open(ctx, "test", &data));
  ASSERT_EQ(tr_dataset_num_samples(data), 2000);
  tr_dataset_destroy(&data);
  ASSERT_FAILS(tr_digits_open(ctx, "val", &data), TR_EINVAL,
               "split is \"val\"");
  ASSERT(data == NULL);
  ASSERT_FAILS(tr_digits_open(ctx, NULL, &data), TR_EINVAL, "split is \"\"");
}

static void test_read_refuses_numbers_out_of_range(void)
{
  alone a;
  tr_dataset *data;
  float x[PIXELS];
  int32_t y;
  ASSERT_OK(tr_digits_open(alone_init(&a, 0, 1, TR_F32), "test", &data));
  ASSERT_FAILS(tr_dataset_read(data, (int64_t[]){2000}, 1, x, &y), TR_EINVAL,
               "sample number is 2000, expected 0 to 1999");
  ASSERT_FAILS(tr_dataset_read(data, (int64_t[]){-1}, 1, x, &y), TR_EINVAL,
               "embedded digits (test)");
  ASSERT_FAILS(tr_dataset_read(data, NULL, -1, x, &y), TR_EINVAL, "count");
  ASSERT_OK(tr_dataset_read(data, NULL, 0, NULL, NULL));
  tr_dataset_destroy(&data);
}

static const tr_test tests[] = {
    TEST(test_digits_are_the_same_bits_everywhere),
    TEST(test_digits_have_ten_classes_and_values_from_0_to_1),
    TEST(test_train_and_test_share_no_sample),
    TEST(test_doubles_are_the_floats),
    TEST(test_open_says_sizes_and_refuses_another_split),
    TEST(test_read_refuses_numbers_out_of_range),
};

TEST_MAIN(tests)
