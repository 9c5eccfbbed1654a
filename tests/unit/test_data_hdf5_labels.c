/* Labels and images of HDF5 files: what can be meant, what is said of the rest,
 * and which samples are the test. */
#include "hdf5_sample.h"

/* train has labels first..first+k-1 in turn, test the first `test_k` of them.
 */
static const char *
write_both(array_spec x, hid_t y_type, int k, int test_k, int first)
{
  const char *path = scratch_file("both.h5");
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  for (int i = 0; i < 2; i++) {
    hid_t group = H5Gcreate2(file, i == 0 ? "train" : "test", H5P_DEFAULT,
                             H5P_DEFAULT, H5P_DEFAULT);
    array_spec y = {.type = y_type, .ndim = 1, .dims = {x.dims[0]}};
    int64_t values[64];
    ASSERT(x.dims[0] <= 64);
    for (int j = 0; j < (int)x.dims[0]; j++) {
      values[j] = first + j % (i == 0 ? k : test_k);
    }
    write_array(group, "x", &x, 0);
    write_array(group, "y", &y, 1);
    hid_t set = H5Dopen2(group, "y", H5P_DEFAULT);
    H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dclose(set);
    H5Gclose(group);
  }
  H5Fclose(file);
  return path;
}

static void test_clean_files_open_without_a_word(void)
{
  const struct {
    array_spec x;
    int k, test_k;
  } cases[] = {
      {{.type = H5T_STD_U8LE, .ndim = 4, .dims = {30, 1, 28, 28}}, 10, 10},
      {{.type = H5T_STD_U8LE, .ndim = 3, .dims = {30, 28, 28}}, 10, 10},
      {{.type = H5T_STD_U8LE, .ndim = 4, .dims = {30, 3, 32, 32}}, 10, 7},
      {{.type = H5T_IEEE_F32LE, .ndim = 4, .dims = {20, 4, 16, 16}}, 2, 2},
      {{.type = H5T_IEEE_F32LE, .ndim = 4, .dims = {20, 64, 8, 8}}, 5, 1},
      {{.type = H5T_IEEE_F32LE, .ndim = 4, .dims = {20, 1, 4, 4}}, 2, 1},
      {{.type = H5T_IEEE_F32LE, .ndim = 4, .dims = {20, 12, 1000, 1}}, 3, 3},
      {{.type = H5T_IEEE_F32LE, .ndim = 3, .dims = {20, 1440, 19}}, 3, 2},
      {{.type = H5T_IEEE_F32LE, .ndim = 3, .dims = {20, 3, 500}}, 3, 3},
      {{.type = H5T_IEEE_F64LE, .ndim = 2, .dims = {20, 13}}, 3, 3},
      {{.type = H5T_IEEE_F64LE, .ndim = 1, .dims = {20}}, 2, 2},
      {{.type = H5T_IEEE_F32LE, .ndim = 4, .dims = {2, 3, 8, 8}}, 1, 1},
      {{.type = H5T_IEEE_F32LE, .ndim = 5, .dims = {8, 16, 16, 16, 3}}, 4, 4},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    told t;
    const char *path =
        write_both(cases[i].x, H5T_STD_I64LE, cases[i].k, cases[i].test_k, 0);
    open_and_tell(path, "train", &t);
    ASSERT_EQ(t.count, 0);
    open_and_tell(path, "test", &t);
    ASSERT_EQ(t.count, 0);
  }
}

static void test_images_with_channels_last_are_warned_of(void)
{
  static const hsize_t shapes[][3] = {
      {16, 16, 3}, {28, 28, 1}, {64, 48, 4}, {32, 100, 3}};
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    told t;
    array_spec x = {.type = i % 2 ? H5T_IEEE_F32LE : H5T_STD_U8LE, .ndim = 4};
    char why[100];
    x.dims[0] = N;
    memcpy(x.dims + 1, shapes[i], sizeof shapes[i]);
    open_and_tell(write_both(x, H5T_STD_U8LE, 3, 3, 0), "train", &t);
    ASSERT_EQ(t.count, 1);
    snprintf(why, sizeof why, "/train/x: samples of (%d, %d, %d) are read as",
             (int)shapes[i][0], (int)shapes[i][1], (int)shapes[i][2]);
    ASSERT(strstr(t.line, why) != NULL);
  }
}

static void test_arrays_with_channels_last_are_warned_of(void)
{
  static const float x[2 * 7 * 6 * 3];
  static const int32_t y[2] = {0, 1};
  const tr_shape shapes[] = {{3, {7, 6, 3}}, {3, {3, 7, 6}}, {1, {126}}};
  for (int i = 0; i < 3; i++) {
    alone a;
    told t = {0};
    tr_dataset *data;
    tr_context *ctx = alone_init(&a, 0, 1, TR_F32);
    ctx->log = on_log;
    ctx->log_user = &t;
    const tr_array_opts opts = {
        .x = x, .y = y, .num_samples = 2, .num_classes = 2, .shape = shapes[i]};
    ASSERT_OK(tr_array_open(ctx, &opts, &data));
    ASSERT_EQ(t.count, i == 0 ? 1 : 0);
    ASSERT(i > 0 || strstr(t.line, "array: samples of (7, 6, 3)") != NULL);
    tr_dataset_destroy(&data);
  }
}

/* Warned of once, where training begins, and counted as they are. */
static void test_classes_without_samples_are_warned_of(void)
{
  told t;
  array_spec x = images(H5T_STD_U8LE);
  open_and_tell(write_both(x, H5T_STD_U8LE, 3, 3, 1), "train", &t);
  ASSERT_EQ(t.count, 1);
  ASSERT(strstr(t.line, "/train/y: the labels are 1 to 3 and none is 0: 4 "
                        "classes are made") != NULL);
  open_and_tell(write_both(x, H5T_STD_U8LE, 3, 3, 1), "test", &t);
  ASSERT_EQ(t.count, 0);
  open_and_tell(write_both(x, H5T_STD_U8LE, 3, 3, 10), "train", &t);
  ASSERT_EQ(t.count, 1);
  ASSERT(strstr(t.line, "10 of the classes 0 to 12 have no sample, the first "
                        "of them 0") != NULL);
}

static void test_labels_with_gaps_that_nobody_means_are_refused(void)
{
  const struct {
    int k, first;
    const char *why;
  } cases[] = {{2, 100, "only 2 of the classes 0 to 101 have samples"},
               {3, 999990, "only 3 of the classes 0 to 999992 have samples"}};
  for (int i = 0; i < 2; i++) {
    const char *path = write_both(images(H5T_STD_U8LE), H5T_STD_I32LE,
                                  cases[i].k, cases[i].k, cases[i].first);
    assert_refused(path, TR_EDATA, cases[i].why);
  }
}

static void write_columns(const char *name,
                          hid_t type,
                          hsize_t columns,
                          const double *values)
{
  array_spec x = images(H5T_STD_U8LE), y = {.type = type, .ndim = 2};
  y.dims[0] = N;
  y.dims[1] = columns;
  const char *path = write_file(name, x, y);
  hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
  hid_t set = H5Dopen2(file, "/train/y", H5P_DEFAULT);
  ASSERT(H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                  values) >= 0);
  H5Dclose(set);
  H5Fclose(file);
}

/* Sample i is of class i % 4; column 4 of the rows is there and never used. */
static void test_labels_come_in_columns_and_as_floats(void)
{
  const hid_t types[] = {H5T_STD_U8LE, H5T_STD_I64BE, H5T_IEEE_F32LE,
                         H5T_IEEE_F64BE};
  for (int i = 0; i < 8; i++) {
    hsize_t columns = i < 4 ? 1 : 5;
    double values[N * 5] = {0}, x[H * W];
    for (int j = 0; j < N; j++) {
      values[i < 4 ? j : j * 5 + j % 4] = i < 4 ? j % 4 : 1;
    }
    write_columns("columns.h5", types[i % 4], columns, values);
    alone a;
    tr_dataset *data;
    ASSERT_OK(tr_hdf5_open(alone_init(&a, 0, 1, TR_F64),
                           scratch_file("columns.h5"), "train", &data));
    ASSERT_EQ(tr_dataset_num_classes(data), i < 4 ? 4 : 5);
    for (int64_t j = 0; j < N; j++) {
      int32_t y;
      ASSERT_OK(tr_dataset_read(data, &j, 1, x, &y));
      ASSERT_EQ(y, j % 4);
    }
    tr_dataset_destroy(&data);
    values[2] = 0.5;
    write_columns("columns.h5", H5T_IEEE_F32LE, columns, values);
    assert_refused(scratch_file("columns.h5"), TR_EDATA,
                   "is 0.5, expected a whole number");
    values[2] = i < 4 ? 1 : 2;
    values[1] = i < 4 ? -1 : 1;
    write_columns("columns.h5", H5T_IEEE_F32LE, columns, values);
    assert_refused(scratch_file("columns.h5"), TR_EDATA,
                   i < 4 ? "label of sample 1 is -1"
                         : "that of sample 0 is not");
  }
}

/* Only where the data set is named as a whole: tr_hdf5_open() names groups. */
static void test_train_alone_is_split_four_to_one(void)
{
  const char *path =
      write_file("alone.h5", images(H5T_IEEE_F64LE), labels(H5T_STD_U8LE));
  const char *const splits[] = {"train", "test"};
  bool seen[N] = {0};
  for (int i = 0; i < 2; i++) {
    alone a;
    tr_dataset *data;
    tr_context *ctx = alone_init(&a, 0, 1, TR_F64);
    ASSERT_OK(tr_dataset_open(ctx, path, splits[i], &data));
    ASSERT_EQ(tr_dataset_num_samples(data), i == 0 ? N * 4 / 5 : N - N * 4 / 5);
    for (int64_t j = 0; j < tr_dataset_num_samples(data); j++) {
      double x[H * W];
      int32_t y, sample = 0;
      ASSERT_OK(tr_dataset_read(data, &j, 1, x, &y));
      while (sample < N && value_of(sample * H * W) != x[0]) {
        sample++;
      }
      ASSERT(sample < N && !seen[sample]);
      seen[sample] = true;
      ASSERT_EQ(y, sample % 4);
    }
    tr_dataset_destroy(&data);
    ASSERT_OK(tr_hdf5_open(ctx, path, "train", &data));
    ASSERT_EQ(tr_dataset_num_samples(data), N);
    tr_dataset_destroy(&data);
  }
}

static const tr_test tests[] = {
    TEST(test_clean_files_open_without_a_word),
    TEST(test_images_with_channels_last_are_warned_of),
    TEST(test_arrays_with_channels_last_are_warned_of),
    TEST(test_classes_without_samples_are_warned_of),
    TEST(test_labels_with_gaps_that_nobody_means_are_refused),
    TEST(test_labels_come_in_columns_and_as_floats),
    TEST(test_train_alone_is_split_four_to_one),
};

TEST_MAIN(tests)
