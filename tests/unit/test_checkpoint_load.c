/* Files that anybody may have written: read as meant, or refused by name. */
#include "hdf5/h5_strict_impl.h"
#include "test.h"

#include <hdf5.h>
#include <unistd.h>

enum { ROWS = 3, COLUMNS = 4, COUNT = ROWS * COLUMNS };

static const tr_shape shape = {.ndim = 2, .dims = {ROWS, COLUMNS}};
static const hsize_t extents[2] = {ROWS, COLUMNS};

static double value_of(int i)
{
  return 0.1 * i - 0.25;
}

static const char *path_of(const char *name)
{
  static char path[300];
  snprintf(path, sizeof path, "%s/%s", test_scratch(), name);
  return path;
}

/* An empty file with the group /params. */
static hid_t create(const char *name)
{
  hid_t file =
      H5Fcreate(path_of(name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  hid_t group =
      H5Gcreate2(file, "/params", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  ASSERT(file >= 0 && group >= 0);
  H5Gclose(group);
  return file;
}

/* A data set of a type and with a creation list (taken, may be the default);
 * values are written where they can be. */
static void
add(hid_t file, const char *name, hid_t type, hid_t list, const hsize_t *dims)
{
  double values[COUNT];
  for (int i = 0; i < COUNT; i++) {
    values[i] = value_of(i);
  }
  hid_t space = H5Screate_simple(2, dims, NULL);
  hid_t set =
      H5Dcreate2(file, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
  ASSERT(space >= 0 && set >= 0);
  H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
  H5Dclose(set);
  H5Sclose(space);
  if (list != H5P_DEFAULT) {
    H5Pclose(list);
  }
}

static tr_status read_file(const char *path, tr_dtype dtype, void *values)
{
  tr__h5_file file;
  TR_TRY(tr__h5_open(path, &file));
  tr_status status = tr__h5_read(&file, "/params/w", &shape, dtype, values);
  tr__h5_close(&file);
  return status;
}

static void reads_exactly(const char *name)
{
  float narrow[COUNT];
  double wide[COUNT];
  ASSERT_OK(read_file(path_of(name), TR_F32, narrow));
  ASSERT_OK(read_file(path_of(name), TR_F64, wide));
  for (int i = 0; i < COUNT; i++) {
    ASSERT_NEAR(narrow[i], (float)value_of(i), 0);
    ASSERT_NEAR(wide[i], value_of(i), 1e-7);
  }
}

static void refuses(const char *name, tr_status expected, const char *text)
{
  double values[COUNT];
  ASSERT_FAILS(read_file(path_of(name), TR_F64, values), expected, text);
  ASSERT(strstr(tr_error_message(), name) != NULL);
}

static void test_all_floating_types_are_converted(void)
{
  const hid_t types[] = {H5T_IEEE_F32LE, H5T_IEEE_F32BE, H5T_IEEE_F64LE,
                         H5T_IEEE_F64BE};
  for (int i = 0; i < 4; i++) {
    hid_t file = create("types.h5");
    add(file, "/params/w", types[i], H5P_DEFAULT, extents);
    H5Fclose(file);
    reads_exactly("types.h5");
  }
}

/* What torch.save's halves become in h5py. */
static void test_float16_is_widened_exactly(void)
{
  double values[COUNT];
  for (int big = 0; big < 2; big++) {
    hid_t half = H5Tcopy(big ? H5T_IEEE_F32BE : H5T_IEEE_F32LE);
    ASSERT(H5Tset_fields(half, 15, 10, 5, 0, 10) >= 0);
    ASSERT(H5Tset_size(half, 2) >= 0 && H5Tset_ebias(half, 15) >= 0);
    hid_t file = create("half.h5");
    add(file, "/params/w", half, H5P_DEFAULT, extents);
    H5Fclose(file);
    H5Tclose(half);
    ASSERT_OK(read_file(path_of("half.h5"), TR_F64, values));
    for (int i = 0; i < COUNT; i++) {
      ASSERT_NEAR(values[i], value_of(i), 0x1p-11);
      ASSERT(values[i] * 32768 == rint(values[i] * 32768));
    }
  }
}

static hid_t chunked(const hsize_t *chunk)
{
  hid_t list = H5Pcreate(H5P_DATASET_CREATE);
  ASSERT(list >= 0 && H5Pset_chunk(list, 2, chunk) >= 0);
  return list;
}

static void test_packed_chunks_are_read(void)
{
  const hsize_t chunk[2] = {2, 3};
  hid_t file = create("packed.h5");
  hid_t list = chunked(chunk);
  ASSERT(H5Pset_shuffle(list) >= 0 && H5Pset_deflate(list, 6) >= 0);
  ASSERT(H5Pset_fletcher32(list) >= 0);
  add(file, "/params/w", H5T_IEEE_F32LE, list, extents);
  H5Fclose(file);
  reads_exactly("packed.h5");
}

static void test_a_missing_file_and_no_hdf5_file_are_told_apart(void)
{
  refuses("missing.h5", TR_ENOINPUT, "No such file");
  FILE *file = fopen(path_of("text.h5"), "w");
  ASSERT(file != NULL && fputs("not a file of numbers\n", file) > 0);
  ASSERT_EQ(fclose(file), 0);
  refuses("text.h5", TR_EDATA, "not an HDF5 file");
  ASSERT_FAILS(read_file(test_scratch(), TR_F32, NULL), TR_EDATA,
               "expected a regular file");
}

static void test_truncated_files_are_refused(void)
{
  hid_t h5 = create("cut.h5");
  add(h5, "/params/w", H5T_IEEE_F64LE, H5P_DEFAULT, extents);
  H5Fclose(h5);
  FILE *file = fopen(path_of("cut.h5"), "rb");
  ASSERT(file != NULL && fseek(file, 0, SEEK_END) == 0);
  long length = ftell(file);
  ASSERT_EQ(fclose(file), 0);
  for (long n = length - 1; n >= 0; n -= 7) {
    ASSERT_EQ(truncate(path_of("cut.h5"), n), 0);
    refuses("cut.h5", TR_EDATA, "cut.h5: ");
  }
}

static void test_a_missing_data_set_and_a_group_in_its_place_are_refused(void)
{
  hid_t file = create("absent.h5");
  add(file, "/params/v", H5T_IEEE_F32LE, H5P_DEFAULT, extents);
  H5Fclose(file);
  refuses("absent.h5", TR_EMISMATCH,
          "/params/w: not there: no link \"w\"; /params has v");
  file = create("group.h5");
  H5Gclose(
      H5Gcreate2(file, "/params/w", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  H5Fclose(file);
  refuses("group.h5", TR_EDATA, "/params/w: is not an array");
}

static void test_another_shape_is_refused_before_anything_is_read(void)
{
  const hsize_t turned[2] = {COLUMNS, ROWS};
  const hsize_t bomb[2] = {(hsize_t)1 << 31, (hsize_t)1 << 30};
  const hsize_t chunk[2] = {1, 1};
  hid_t file = create("turned.h5");
  add(file, "/params/w", H5T_IEEE_F32LE, H5P_DEFAULT, turned);
  H5Fclose(file);
  refuses("turned.h5", TR_ESHAPE, "has (4, 3), the model expects (3, 4)");
  file = create("bomb.h5");
  hid_t list = chunked(chunk), space = H5Screate_simple(2, bomb, NULL);
  H5Dclose(H5Dcreate2(file, "/params/w", H5T_IEEE_F32LE, space, H5P_DEFAULT,
                      list, H5P_DEFAULT));
  H5Sclose(space);
  H5Pclose(list);
  H5Fclose(file);
  refuses("bomb.h5", TR_ESHAPE, "the model expects (3, 4)");
}

static void test_other_types_are_refused(void)
{
  const hid_t types[] = {H5T_STD_I32LE, H5T_STD_U8LE, H5T_NATIVE_LDOUBLE};
  static const char *const why[] = {"an integer of 4 bytes, expected float16",
                                    "an integer of 1 bytes, expected float16",
                                    "a float of 16 bytes"};
  for (int i = 0; i < 3; i++) {
    hid_t file = create("type.h5");
    add(file, "/params/w", types[i], H5P_DEFAULT, extents);
    H5Fclose(file);
    refuses("type.h5", TR_EDATA, why[i]);
  }
}

/* PyTorch's num_batches_tracked is one. */
static void test_an_int64_is_read_where_one_number_is_expected(void)
{
  const int64_t counted = 123456;
  const tr_shape scalar = {0};
  hid_t file = create("count.h5"), space = H5Screate(H5S_SCALAR);
  hid_t set = H5Dcreate2(file, "/params/n", H5T_STD_I64LE, space, H5P_DEFAULT,
                         H5P_DEFAULT, H5P_DEFAULT);
  ASSERT(set >= 0 && H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL,
                              H5P_DEFAULT, &counted) >= 0);
  H5Dclose(set);
  H5Sclose(space);
  add(file, "/params/w", H5T_STD_I64LE, H5P_DEFAULT, extents);
  H5Fclose(file);
  refuses("count.h5", TR_EDATA, "expected float16, float32 or float64");
  tr__h5_file strict;
  float narrow = 0;
  double wide = 0;
  ASSERT_OK(tr__h5_open(path_of("count.h5"), &strict));
  ASSERT_OK(tr__h5_read(&strict, "/params/n", &scalar, TR_F32, &narrow));
  ASSERT_OK(tr__h5_read(&strict, "/params/n", &scalar, TR_F64, &wide));
  tr__h5_close(&strict);
  ASSERT_NEAR(narrow, 123456, 0);
  ASSERT_NEAR(wide, 123456, 0);
}

/* The other file is a good one, so that only the refusal keeps it out. */
static void test_links_that_lead_elsewhere_are_refused(void)
{
  hid_t file = create("target.h5");
  add(file, "/params/w", H5T_IEEE_F32LE, H5P_DEFAULT, extents);
  H5Fclose(file);
  file = create("external.h5");
  H5Lcreate_external("target.h5", "/params/w", file, "/params/w", H5P_DEFAULT,
                     H5P_DEFAULT);
  H5Fclose(file);
  refuses("external.h5", TR_EDATA, "\"w\" is an external link");
  file = create("soft.h5");
  add(file, "/params/v", H5T_IEEE_F32LE, H5P_DEFAULT, extents);
  H5Lcreate_soft("/params/v", file, "/params/w", H5P_DEFAULT, H5P_DEFAULT);
  H5Fclose(file);
  refuses("soft.h5", TR_EDATA, "\"w\" is a soft link");
  file = create("middle.h5");
  H5Ldelete(file, "/params", H5P_DEFAULT);
  H5Lcreate_external("target.h5", "/params", file, "/params", H5P_DEFAULT,
                     H5P_DEFAULT);
  H5Fclose(file);
  refuses("middle.h5", TR_EDATA, "\"params\" is an external link");
}

static void test_values_in_other_files_are_refused(void)
{
  FILE *raw = fopen(path_of("raw"), "wb");
  char zeros[8 * COUNT] = {0};
  ASSERT(raw != NULL && fwrite(zeros, 1, sizeof zeros, raw) == sizeof zeros);
  ASSERT_EQ(fclose(raw), 0);
  hid_t file = create("outside.h5");
  hid_t list = H5Pcreate(H5P_DATASET_CREATE);
  ASSERT(H5Pset_external(list, path_of("raw"), 0, sizeof zeros) >= 0);
  add(file, "/params/w", H5T_IEEE_F64LE, list, extents);
  H5Fclose(file);
  refuses("outside.h5", TR_EDATA, "its values are in other files");
  file = create("virtual.h5");
  list = H5Pcreate(H5P_DATASET_CREATE);
  hid_t space = H5Screate_simple(2, extents, NULL);
  ASSERT(H5Pset_virtual(list, space, "target.h5", "/params/w", space) >= 0);
  H5Dclose(H5Dcreate2(file, "/params/w", H5T_IEEE_F64LE, space, H5P_DEFAULT,
                      list, H5P_DEFAULT));
  H5Sclose(space);
  H5Pclose(list);
  H5Fclose(file);
  refuses("virtual.h5", TR_EDATA, "the layout is virtual");
}

static void test_other_filters_and_giant_chunks_are_refused(void)
{
  const hsize_t chunk[2] = {2, 2}, giant[2] = {1 << 11, 1 << 11};
  hid_t file = create("filter.h5");
  hid_t list = chunked(chunk);
  ASSERT(H5Pset_scaleoffset(list, H5Z_SO_FLOAT_DSCALE, 2) >= 0);
  add(file, "/params/w", H5T_IEEE_F32LE, list, extents);
  H5Fclose(file);
  refuses("filter.h5", TR_EDATA, "filter 6 is not supported");
  file = create("giant.h5");
  const hsize_t most[2] = {H5S_UNLIMITED, H5S_UNLIMITED};
  hid_t space = H5Screate_simple(2, extents, most);
  list = chunked(giant);
  ASSERT(H5Pset_deflate(list, 9) >= 0);
  H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY);
  H5Dclose(H5Dcreate2(file, "/params/w", H5T_IEEE_F32LE, space, H5P_DEFAULT,
                      list, H5P_DEFAULT));
  H5Sclose(space);
  H5Pclose(list);
  H5Fclose(file);
  refuses("giant.h5", TR_EDATA, "a chunk is larger than the array");
}

static void test_a_data_set_without_values_is_refused(void)
{
  hid_t file = create("hollow.h5");
  hid_t space = H5Screate_simple(2, extents, NULL);
  H5Dclose(H5Dcreate2(file, "/params/w", H5T_IEEE_F32LE, space, H5P_DEFAULT,
                      H5P_DEFAULT, H5P_DEFAULT));
  H5Sclose(space);
  H5Fclose(file);
  refuses("hollow.h5", TR_EDATA, "0 bytes are stored");
}

/* The caller's own use of libhdf5 in this process is not disturbed. */
static void test_the_callers_error_handler_and_plugins_come_back(void)
{
  H5E_auto2_t before, after;
  void *data;
  unsigned plugins;
  H5Eget_auto2(H5E_DEFAULT, &before, &data);
  H5PLset_loading_state(H5PL_ALL_PLUGIN);
  refuses("missing.h5", TR_ENOINPUT, "missing.h5");
  refuses("text.h5", TR_EDATA, "text.h5");
  H5Eget_auto2(H5E_DEFAULT, &after, &data);
  H5PLget_loading_state(&plugins);
  ASSERT(before == after && before != NULL);
  ASSERT_EQ((int)plugins, H5PL_ALL_PLUGIN);
}

static const tr_test tests[] = {
    TEST(test_all_floating_types_are_converted),
    TEST(test_float16_is_widened_exactly),
    TEST(test_packed_chunks_are_read),
    TEST(test_a_missing_file_and_no_hdf5_file_are_told_apart),
    TEST(test_truncated_files_are_refused),
    TEST(test_a_missing_data_set_and_a_group_in_its_place_are_refused),
    TEST(test_another_shape_is_refused_before_anything_is_read),
    TEST(test_other_types_are_refused),
    TEST(test_an_int64_is_read_where_one_number_is_expected),
    TEST(test_links_that_lead_elsewhere_are_refused),
    TEST(test_values_in_other_files_are_refused),
    TEST(test_other_filters_and_giant_chunks_are_refused),
    TEST(test_a_data_set_without_values_is_refused),
    TEST(test_the_callers_error_handler_and_plugins_come_back),
};
TEST_MAIN(tests)
