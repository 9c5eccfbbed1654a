/* What the system does to an HDF5 file that is read: no locks, failing reads,
 * other programs that write to it. */
#include "hdf5_sample.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The calls below stand before those of the C library. */
static int num_locks, reads_left = -1, reading_fails_by;

__attribute__((visibility("default"))) int flock(int fd, int operation)
{
  (void)fd;
  (void)operation;
  num_locks++;
  errno = ENOLCK;
  return -1;
}

__attribute__((visibility("default"))) ssize_t
pread(int fd, void *out, size_t bytes, off_t offset)
{
  if (reads_left == 0) {
    errno = reading_fails_by;
    return -1;
  }
  reads_left -= reads_left > 0;
  return (ssize_t)syscall(SYS_pread64, fd, out, bytes, offset);
}

static const char *write_sample(hsize_t chunk)
{
  array_spec x = images(H5T_IEEE_F32LE);
  x.chunk = chunk;
  x.deflate = chunk > 0;
  setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1);
  const char *path = write_file("system.h5", x, labels(H5T_STD_I32LE));
  unsetenv("HDF5_USE_FILE_LOCKING");
  return path;
}

static tr_status open_and_read(const char *path)
{
  alone a;
  tr_dataset *data;
  float x[H * W];
  int32_t y;
  TR_TRY(tr_hdf5_open(alone_init(&a, 0, 1, TR_F32), path, "train", &data));
  tr_status status = tr_dataset_read(data, (int64_t[]){N - 1}, 1, x, &y);
  tr_dataset_destroy(&data);
  return status;
}

static void test_a_file_system_without_locks_is_asked_for_none(void)
{
  const char *path = write_sample(5);
  num_locks = 0;
  ASSERT_OK(open_and_read(path));
  ASSERT_EQ(num_locks, 0);
}

/* Whichever read it is: the file is not taken for damaged. */
static void test_a_read_that_fails_is_no_damage(void)
{
  for (int i = 0; i < 2; i++) {
    const char *path = write_sample(i == 0 ? 0 : 5);
    tr_status status = TR_EIO;
    int n = 0;
    for (reading_fails_by = EIO; status != TR_OK && n < 1000; n++) {
      reads_left = n;
      status = open_and_read(path);
      reads_left = -1;
      ASSERT(status == TR_OK || status == TR_EIO);
    }
    ASSERT(n > 5 && n < 1000);
  }
}

/* One value is written over in place; the time is set since two writes may
 * fall into one tick of the file system's clock. */
static void test_a_file_that_is_written_to_meanwhile_is_refused(void)
{
  for (int i = 0; i < 2; i++) {
    alone a;
    tr_dataset *data;
    float x[H * W];
    int32_t y;
    const char *path = write_sample(i == 0 ? 0 : 5);
    ASSERT_OK(tr_hdf5_open(alone_init(&a, 0, 1, TR_F32), path, "train", &data));
    ASSERT_OK(tr_dataset_read(data, (int64_t[]){3}, 1, x, &y));
    int fd = open(path, O_RDWR);
    struct stat was;
    ASSERT(fd >= 0 && fstat(fd, &was) == 0);
    ASSERT_EQ(pwrite(fd, "\x7f", 1, was.st_size - 1), 1);
    const struct timespec times[2] = {was.st_atim, {was.st_mtim.tv_sec + 1, 0}};
    ASSERT_EQ(futimens(fd, times), 0);
    close(fd);
    ASSERT_FAILS(tr_dataset_read(data, (int64_t[]){3}, 1, x, &y), TR_EDATA,
                 "/train/x: the file was written to while samples were read");
    tr_dataset_destroy(&data);
  }
}

/* What is there under the name later is another file. */
static void test_a_file_that_is_replaced_meanwhile_is_read_on(void)
{
  alone a;
  tr_dataset *data;
  float x[H * W];
  int32_t y;
  const char *path = write_sample(5);
  ASSERT_OK(tr_hdf5_open(alone_init(&a, 0, 1, TR_F32), path, "train", &data));
  ASSERT_EQ(remove(path), 0);
  write_sample(0);
  ASSERT_OK(tr_dataset_read(data, (int64_t[]){N - 1}, 1, x, &y));
  ASSERT(x[0] == (float)value_of((N - 1) * H * W));
  tr_dataset_destroy(&data);
}

static const tr_test tests[] = {
    TEST(test_a_file_system_without_locks_is_asked_for_none),
    TEST(test_a_read_that_fails_is_no_damage),
    TEST(test_a_file_that_is_written_to_meanwhile_is_refused),
    TEST(test_a_file_that_is_replaced_meanwhile_is_read_on),
};

TEST_MAIN(tests)
