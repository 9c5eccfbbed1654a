/* Writes an HDF5 file that is right, or wrong in one way.
 * usage: make_hdf5 VARIANT FILE */
#include <hdf5.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define NETCDF_FILL 9.9692099683868690e+36

enum { TRAIN = 60, TEST = 12, SIDE = 8, CLASSES = 3 };

/* What one file is made of; every variant changes some of it. */
typedef struct plan {
  hsize_t train, test, labels, side;
  int ndim; /* of x: 2 for vectors, 4 for images */
  hid_t x_type, y_type;
  long long label;  /* of sample 5; -100: as it should be */
  double value;     /* of all of x */
  const char *skip; /* what is left out */
  const char *link; /* how /train/x is reached */
  int first_label;
  double add;        /* to each label */
  hsize_t columns;   /* of y: 1, or K with one 1 in each row; 0: no axis */
  bool rows_of_ones; /* every column is 1 */
  int form;          /* of images: 0 (1, H, W), 3 (H, W, 3), 2 (H, W) */
  size_t stored;     /* /train/x is one chunk that expands to so many bytes */
  double bad;        /* element 14 of x of one sample; 0: none is bad */
  int bad_train, bad_test; /* its sample; -1: none of this part */
} plan;

static void must(long long code, const char *what)
{
  if (code < 0) {
    fprintf(stderr, "make_hdf5: %s failed\n", what);
    exit(1);
  }
}

static void write_set(hid_t group,
                      const char *name,
                      int ndim,
                      const hsize_t *dims,
                      hid_t type,
                      const double *values)
{
  hid_t space = H5Screate_simple(ndim, dims, NULL);
  hid_t set = H5Dcreate2(group, name, type, space, H5P_DEFAULT, H5P_DEFAULT,
                         H5P_DEFAULT);
  must(set, name);
  if (H5Tget_class(type) != H5T_STRING) {
    must(
        H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values),
        name);
  }
  H5Dclose(set);
  H5Sclose(space);
}

/* One chunk, packed from another number of bytes than it has. */
static void write_chunk(hid_t group, const hsize_t *dims, size_t stored)
{
  const hsize_t zero[4] = {0};
  uLongf length = compressBound(stored);
  unsigned char *bytes = calloc(1, stored), *packed = malloc(length);
  if (bytes == NULL || packed == NULL ||
      compress(packed, &length, bytes, stored) != Z_OK) {
    must(-1, "compress");
  }
  hid_t space = H5Screate_simple(4, dims, NULL);
  hid_t list = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(list, 4, dims);
  H5Pset_deflate(list, 4);
  hid_t set = H5Dcreate2(group, "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, list,
                         H5P_DEFAULT);
  must(H5Dwrite_chunk(set, H5P_DEFAULT, 0, zero, length, packed), "chunk");
  H5Dclose(set);
  H5Pclose(list);
  H5Sclose(space);
  free(bytes);
  free(packed);
}

static void write_x(hid_t group, const plan *p, hsize_t count, bool is_train)
{
  hsize_t pixels = p->side * p->side;
  hsize_t dims[4] = {count, p->ndim == 2 ? pixels : 1, p->side, p->side};
  int ndim = p->form == 2 ? 3 : p->ndim;
  if (p->form != 0) {
    dims[1] = dims[2] = p->side;
    dims[3] = 3;
  }
  hsize_t values = count * pixels * (p->form == 3 ? 3 : 1);
  double *x = calloc(values, sizeof *x);
  if (x == NULL) {
    must(-1, "malloc");
  }
  for (hsize_t i = 0; i < values; i++) {
    x[i] = isnan(p->value) ? p->value : (double)(i * 7919 % 251);
  }
  int bad = is_train ? p->bad_train : p->bad_test;
  if (p->bad != 0 && bad >= 0) {
    x[(hsize_t)bad * pixels + 14] = p->bad;
  }
  if (is_train && p->stored > 0) {
    write_chunk(group, dims, p->stored);
  } else {
    write_set(group, "x", ndim, dims, p->x_type, x);
  }
  free(x);
}

static void write_y(hid_t group, const plan *p, hsize_t labels)
{
  hsize_t columns = p->columns > 0 ? p->columns : 1;
  const hsize_t dims[2] = {labels, columns};
  double *y = calloc(labels * columns, sizeof *y);
  if (y == NULL) {
    must(-1, "malloc");
  }
  for (hsize_t i = 0; i < labels; i++) {
    double label = (double)(i % CLASSES) + p->first_label + p->add;
    label = i == 5 && p->label != -100 ? (double)p->label : label;
    for (hsize_t j = 0; j < columns; j++) {
      bool is_one = (double)j == label || p->rows_of_ones;
      y[i * columns + j] = columns == 1 ? label : is_one;
    }
  }
  write_set(group, "y", p->columns > 0 ? 2 : 1, dims, p->y_type, y);
  free(y);
}

static void
write_split(hid_t file, const char *name, const plan *p, hsize_t count)
{
  char full[32];
  bool is_train = strcmp(name, "train") == 0;
  hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  must(group, name);
  snprintf(full, sizeof full, "/%s/x", name);
  if (strcmp(p->skip, full) != 0) {
    write_x(group, p, count, is_train);
  }
  snprintf(full, sizeof full, "/%s/y", name);
  if (strcmp(p->skip, full) != 0) {
    write_y(group, p, is_train ? p->labels : count);
  }
  H5Gclose(group);
}

/* /train/x as something that leads elsewhere. */
static void write_link(hid_t file, const char *kind)
{
  if (strcmp(kind, "soft") == 0) {
    must(H5Lcreate_soft("/test/x", file, "/train/x", H5P_DEFAULT, H5P_DEFAULT),
         kind);
  }
  if (strcmp(kind, "external") == 0) {
    must(H5Lcreate_external("other.h5", "/train/x", file, "/train/x",
                            H5P_DEFAULT, H5P_DEFAULT),
         kind);
  }
  const hsize_t dims[4] = {TRAIN, 1, SIDE, SIDE};
  hid_t space = H5Screate_simple(4, dims, NULL);
  hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
  if (strcmp(kind, "virtual") == 0) {
    must(H5Pset_virtual(plist, space, "other.h5", "/train/x", space), kind);
  }
  if (strcmp(kind, "storage") == 0) {
    must(H5Pset_external(plist, "other.bin", 0, H5F_UNLIMITED), kind);
  }
  /* Never written: more values than any file has, in no bytes at all. */
  if (strcmp(kind, "huge") == 0) {
    const hsize_t huge[4] = {TRAIN, 1, 1u << 28, 1u << 28};
    H5Sset_extent_simple(space, 4, huge, NULL);
  }
  if (strcmp(kind, "virtual") == 0 || strcmp(kind, "storage") == 0 ||
      strcmp(kind, "huge") == 0) {
    must(H5Dcreate2(file, "/train/x", H5T_STD_U8LE, space, H5P_DEFAULT, plist,
                    H5P_DEFAULT),
         kind);
  }
  H5Pclose(plist);
  H5Sclose(space);
}

static void write_data(hid_t file, const plan *p, hsize_t test_side)
{
  plan test = *p;
  test.label = -100;
  test.side = test_side;
  if (strcmp(p->skip, "/train") != 0) {
    write_split(file, "train", p, p->train);
  }
  if (strcmp(p->skip, "/test") != 0) {
    write_split(file, "test", &test, p->test);
  }
  if (p->link != NULL) {
    write_link(file, p->link);
  }
}

static hid_t text_type(void)
{
  hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, 4);
  return type;
}

/* IEEE float16, as PyTorch's half. */
static hid_t half_type(void)
{
  hid_t type = H5Tcopy(H5T_IEEE_F32LE);
  must(H5Tset_fields(type, 15, 10, 5, 0, 10), "fields");
  must(H5Tset_size(type, 2), "size");
  must(H5Tset_ebias(type, 15), "bias");
  return type;
}

/* First parameters of mlp on this data; variant "init-..." */
static void write_init(hid_t file, const char *variant)
{
  static const struct {
    const char *name;
    int ndim;
    hsize_t dims[2];
  } params[] = {
      {"fc1.weight", 2, {512, SIDE * SIDE}}, {"fc1.bias", 1, {512}},
      {"fc2.weight", 2, {256, 512}},         {"fc2.bias", 1, {256}},
      {"fc3.weight", 2, {CLASSES, 256}},     {"fc3.bias", 1, {CLASSES}},
  };
  double *zeros = calloc(512 * 512, sizeof *zeros);
  hid_t group =
      H5Gcreate2(file, "params", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  must(group, "params");
  for (size_t i = 0; i < sizeof params / sizeof params[0]; i++) {
    hsize_t dims[2] = {params[i].dims[0], params[i].dims[1]};
    if (strcmp(variant, "init-missing") == 0 && i == 3) {
      continue;
    }
    if (strcmp(variant, "init-shape") == 0 && i == 2) {
      dims[1] = 511;
    }
    hid_t type = strcmp(variant, "init-type") == 0 && i == 2 ? H5T_STD_I32LE
                 : strcmp(variant, "init-half") == 0         ? half_type()
                                                             : H5T_IEEE_F32LE;
    write_set(group, params[i].name, params[i].ndim, dims, type, zeros);
  }
  H5Gclose(group);
  free(zeros);
}

int main(int argc, char **argv)
{
  if (argc != 3) {
    fprintf(stderr, "usage: make_hdf5 VARIANT FILE\n");
    return 2;
  }
  const char *variant = argv[1];
  hsize_t test_side = SIDE;
  plan p = {.train = TRAIN,
            .test = TEST,
            .labels = TRAIN,
            .side = SIDE,
            .ndim = 4,
            .x_type = H5T_STD_U8LE,
            .y_type = H5T_STD_I32LE,
            .label = -100,
            .skip = "",
            .bad_train = 17,
            .bad_test = -1};
#define VARIANT(name, change)                                                  \
  if (strcmp(variant, name) == 0) {                                            \
    change;                                                                    \
  }
  VARIANT("vectors", p.ndim = 2)
  VARIANT("small", p.train = p.labels = 40)
  VARIANT("tiny", p.train = p.labels = 2)
  VARIANT("no-train", p.skip = "/train")
  VARIANT("no-test", p.skip = "/test")
  VARIANT("no-x", p.skip = "/train/x")
  VARIANT("no-y", p.skip = "/train/y")
  VARIANT("int-x", p.x_type = H5T_STD_I64LE)
  VARIANT("text-x", p.x_type = text_type())
  VARIANT("float-y", p.y_type = H5T_IEEE_F32LE)
  VARIANT("text-y", p.y_type = text_type())
  VARIANT("fewer-labels", p.labels = TRAIN - 1)
  VARIANT("negative-label", p.label = -1)
  VARIANT("large-label", p.label = 100000000)
  VARIANT("million-label", p.label = 999999)
  VARIANT("stray-label", p.label = 255)
  VARIANT("labels-from-1", p.first_label = 1)
  VARIANT("class-without-samples", p.label = 4)
  VARIANT("customer-numbers", p.first_label = 70000)
  VARIANT("column-y", p.columns = 1)
  VARIANT("one-hot-y", p.columns = CLASSES)
  VARIANT("one-hot-float-y", p.columns = CLASSES; p.y_type = H5T_IEEE_F64LE)
  VARIANT("table-y", p.columns = CLASSES; p.rows_of_ones = true)
  VARIANT("fraction-y", p.y_type = H5T_IEEE_F64LE; p.add = 0.25)
  VARIANT("nan-y", p.y_type = H5T_IEEE_F64LE; p.add = NAN)
  VARIANT("channels-last", p.form = 3)
  VARIANT("no-channel", p.form = 2)
  VARIANT("float-no-channel", p.form = 2; p.x_type = H5T_IEEE_F32LE)
  VARIANT("short-chunk", p.stored = 15000)
  VARIANT("long-chunk", p.stored = TRAIN * SIDE * SIDE * 4 + 1)
  VARIANT("bomb", p.stored = 200 << 20)
  VARIANT("test-shape", test_side = SIDE / 2)
  VARIANT("nan", p.x_type = H5T_IEEE_F32LE; p.value = NAN)
  VARIANT("one-nan", p.x_type = H5T_IEEE_F32LE; p.bad = NAN)
  VARIANT("one-inf", p.x_type = H5T_IEEE_F64LE; p.bad = -INFINITY)
  VARIANT("one-large", p.x_type = H5T_IEEE_F64LE; p.bad = 1e39)
  VARIANT("one-fill", p.x_type = H5T_IEEE_F32LE; p.bad = NETCDF_FILL)
  VARIANT("test-nan", p.x_type = H5T_IEEE_F32LE; p.bad = NAN; p.bad_train = -1;
          p.bad_test = 3)
  VARIANT("soft", p.skip = "/train/x"; p.link = "soft")
  VARIANT("external", p.skip = "/train/x"; p.link = "external")
  VARIANT("virtual", p.skip = "/train/x"; p.link = "virtual")
  VARIANT("storage", p.skip = "/train/x"; p.link = "storage")
  VARIANT("huge", p.skip = "/train/x"; p.link = "huge")
#undef VARIANT
  bool is_new = strcmp(variant, "new-format") == 0;
  hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  if (is_new) {
    H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
  }
  hid_t file = H5Fcreate(argv[2], H5F_ACC_TRUNC, H5P_DEFAULT, access);
  must(file, argv[2]);
  if (strncmp(variant, "init", 4) == 0) {
    write_init(file, variant);
  } else {
    write_data(file, &p, test_side);
  }
  must(H5Fclose(file), "close");
  return 0;
}
