/* The HDF5 image: libhdf5 writes a file into memory (core driver, no backing
 * store). When it closes the file, this library takes over the buffer. Nothing
 * that libhdf5 does reaches the disk.
 *
 * No allocation of libhdf5 may fail: after a failed write it is unusable and
 * ends the process at exit. So the memory for all of it is reserved before it
 * starts. */
#include "checkpoint/image_impl.h"

#include "hdf5/h5_impl.h"

#include <stdlib.h>
#include <string.h>

/* Upper bounds of what a file has besides the values: once per file, and per
 * data set with the groups that contain it. */
enum { FILE_BYTES = 64 << 10, DATA_SET_BYTES = 4 << 10 };

/* What libhdf5 itself may need while it works. */
enum { WORK_BYTES = 8 << 20, DATA_SET_WORK_BYTES = 16 << 10 };

/* The buffer in which the core driver works. libhdf5 never owns it: the
 * callbacks below grow it and never free it. */
typedef struct buffer {
  char *bytes;
  size_t length, capacity;
} buffer;

static void *buffer_take(buffer *b, size_t bytes)
{
  if (bytes > b->capacity) {
    char *bigger = realloc(b->bytes, bytes);
    if (bigger == NULL) {
      return NULL;
    }
    b->bytes = bigger;
    b->capacity = bytes;
  }
  b->length = bytes;
  return b->bytes;
}

static void *buffer_malloc(size_t bytes, H5FD_file_image_op_t op, void *user)
{
  (void)op;
  return buffer_take(user, bytes);
}

static void *buffer_copy(void *to,
                         const void *from,
                         size_t bytes,
                         H5FD_file_image_op_t op,
                         void *user)
{
  (void)op;
  (void)user;
  return memcpy(to, from, bytes);
}

static void *
buffer_realloc(void *old, size_t bytes, H5FD_file_image_op_t op, void *user)
{
  (void)old;
  (void)op;
  return buffer_take(user, bytes);
}

static herr_t buffer_free(void *bytes, H5FD_file_image_op_t op, void *user)
{
  (void)bytes;
  (void)op;
  (void)user;
  return 0;
}

static void *share_user(void *user)
{
  return user;
}

static herr_t keep_user(void *user)
{
  (void)user;
  return 0;
}

int64_t tr__view_bytes(const tr__view *view)
{
  int64_t bytes = 1;
  switch (view->type) {
  case TR__VIEW_F32:
    bytes = 4;
    break;
  case TR__VIEW_F64:
  case TR__VIEW_I64:
    bytes = 8;
    break;
  case TR__VIEW_TEXT:
    break;
  }
  for (int i = 0; i < view->ndim; i++) {
    if (view->dims[i] < 1 || tr__mul_overflows(bytes, view->dims[i], &bytes)) {
      return -1;
    }
  }
  return bytes;
}

/* The HDF5 identifiers of one layout; -1: closed. */
typedef struct layout {
  hid_t file, create, access, link, group, data;
} layout;

static bool set_properties(layout *l, buffer *b)
{
  H5FD_file_image_callbacks_t callbacks = {
      .image_malloc = buffer_malloc,
      .image_memcpy = buffer_copy,
      .image_realloc = buffer_realloc,
      .image_free = buffer_free,
      .udata_copy = share_user,
      .udata_free = keep_user,
      .udata = b,
  };
  l->create = H5Pcreate(H5P_FILE_CREATE);
  l->access = H5Pcreate(H5P_FILE_ACCESS);
  l->group = H5Pcreate(H5P_GROUP_CREATE);
  l->data = H5Pcreate(H5P_DATASET_CREATE);
  return l->create >= 0 && l->access >= 0 && l->group >= 0 && l->data >= 0 &&
         H5Pset_userblock(l->create, TR__IMAGE_USER_BLOCK) >= 0 &&
         H5Pset_obj_track_times(l->create, 0) >= 0 &&
         H5Pset_fapl_core(l->access, 4096, 0) >= 0 &&
         H5Pset_libver_bounds(l->access, H5F_LIBVER_V18, H5F_LIBVER_V18) >= 0 &&
         H5Pset_alignment(l->access, 4, 64) >= 0 &&
         H5Pset_file_image_callbacks(l->access, &callbacks) >= 0 &&
         H5Pset_obj_track_times(l->group, 0) >= 0 &&
         H5Pset_obj_track_times(l->data, 0) >= 0 &&
         H5Pset_layout(l->data, H5D_CONTIGUOUS) >= 0 &&
         H5Pset_alloc_time(l->data, H5D_ALLOC_TIME_EARLY) >= 0 &&
         H5Pset_fill_time(l->data, H5D_FILL_TIME_NEVER) >= 0;
}

/* Make groups explicitly and not by a link property: those that libhdf5 makes
 * by itself carry a time stamp. */
static bool make_groups(const layout *l, const char *name)
{
  char path[TR__VIEW_NAME_BYTES];
  for (const char *slash = strchr(name + 1, '/'); slash != NULL;
       slash = strchr(slash + 1, '/')) {
    size_t length = (size_t)(slash - name);
    memcpy(path, name, length);
    path[length] = '\0';
    htri_t exists = H5Lexists(l->file, path, H5P_DEFAULT);
    if (exists < 0) {
      return false;
    }
    if (exists == 0) {
      hid_t group =
          H5Gcreate2(l->file, path, H5P_DEFAULT, l->group, H5P_DEFAULT);
      if (group < 0 || H5Gclose(group) < 0) {
        return false;
      }
    }
  }
  return true;
}

static hid_t file_type(const tr__view *view)
{
  switch (view->type) {
  case TR__VIEW_F32:
    return H5Tcopy(H5T_IEEE_F32LE);
  case TR__VIEW_F64:
    return H5Tcopy(H5T_IEEE_F64LE);
  case TR__VIEW_I64:
    return H5Tcopy(H5T_STD_I64LE);
  case TR__VIEW_TEXT:
    break;
  }
  hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, (size_t)view->dims[0]);
  return type;
}

static bool add_data_set(const layout *l, tr__image_entry *entry)
{
  const tr__view *view = &entry->view;
  hsize_t dims[TR_MAX_DIMS];
  int ndim = view->type == TR__VIEW_TEXT ? 0 : view->ndim;
  for (int i = 0; i < ndim; i++) {
    dims[i] = (hsize_t)view->dims[i];
  }
  if (!make_groups(l, view->name)) {
    return false;
  }
  hid_t type = file_type(view);
  hid_t space =
      ndim == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(ndim, dims, NULL);
  hid_t set = type < 0 || space < 0
                  ? H5I_INVALID_HID
                  : H5Dcreate2(l->file, view->name, type, space, H5P_DEFAULT,
                               l->data, H5P_DEFAULT);
  haddr_t where = set < 0 ? HADDR_UNDEF : H5Dget_offset(set);
  /* H5Dget_offset() counts from the start of the file, the user block
   * included. */
  entry->offset = where == HADDR_UNDEF ? 0 : (size_t)where;
  if (set >= 0) {
    H5Dclose(set);
  }
  if (space >= 0) {
    H5Sclose(space);
  }
  if (type >= 0) {
    H5Tclose(type);
  }
  return where != HADDR_UNDEF;
}

static void close_list(hid_t list)
{
  if (list >= 0) {
    H5Pclose(list);
  }
}

/* Call it between tr__hdf5_begin() and tr__hdf5_end(). */
static tr_status lay_out(tr__image *image, buffer *b)
{
  char reason[TR__H5_REASON_BYTES];
  tr_status status = TR_OK;
  hsize_t length = 0;
  layout l = {-1, -1, -1, -1, -1, -1};
  if (set_properties(&l, b)) {
    l.file = H5Fcreate("checkpoint image", H5F_ACC_TRUNC, l.create, l.access);
  }
  if (l.file < 0) {
    status = TR_FAIL(TR_ENOMEM, "checkpoint: cannot make an HDF5 image: %s",
                     tr__h5_reason(reason));
  }
  for (int i = 0; i < image->num_entries && status == TR_OK; i++) {
    if (!add_data_set(&l, &image->entries[i])) {
      status = TR_FAIL(TR_ENOMEM, "checkpoint: cannot add data set %s: %s",
                       image->entries[i].view.name, tr__h5_reason(reason));
    }
  }
  if (l.file >= 0) {
    bool flushed = H5Fflush(l.file, H5F_SCOPE_GLOBAL) >= 0 &&
                   H5Fget_filesize(l.file, &length) >= 0;
    bool closed = H5Fclose(l.file) >= 0;
    if (status == TR_OK && !(flushed && closed)) {
      status = TR_FAIL(TR_ENOMEM, "checkpoint: cannot end the HDF5 image: %s",
                       tr__h5_reason(reason));
    }
  }
  close_list(l.data);
  close_list(l.group);
  close_list(l.access);
  close_list(l.create);
  image->length = (size_t)length;
  return status;
}

static int ascending(const void *a, const void *b, void *user)
{
  const tr__image_entry *entries = user;
  size_t x = entries[*(const int *)a].offset;
  size_t y = entries[*(const int *)b].offset;
  return (x > y) - (x < y);
}

/* Check the offsets that libhdf5 reports, because copies rely on them. */
static tr_status order_entries(tr__image *image)
{
  size_t end = TR__IMAGE_USER_BLOCK;
  for (int i = 0; i < image->num_entries; i++) {
    image->by_offset[i] = i;
  }
  qsort_r(image->by_offset, (size_t)image->num_entries, sizeof(int), ascending,
          image->entries);
  for (int i = 0; i < image->num_entries; i++) {
    tr__image_entry *entry = &image->entries[image->by_offset[i]];
    size_t unit = entry->view.type == TR__VIEW_TEXT ? 1 : 8;
    TR_CHECK(entry->offset >= end && entry->offset % unit == 0 &&
                 entry->bytes <= image->length &&
                 entry->offset <= image->length - entry->bytes,
             TR_ESYSTEM,
             "checkpoint: libhdf5 put data set %s at %zu, expected a multiple "
             "of %zu from %zu in %zu bytes",
             entry->view.name, entry->offset, unit, end, image->length);
    end = entry->offset + entry->bytes;
    memset(image->bytes + entry->offset, 0, entry->bytes);
  }
  return TR_OK;
}

static tr_status
copy_views(tr__image *image, const tr__view *views, int num_views)
{
  size_t count = (size_t)num_views;
  image->entries = calloc(count, sizeof *image->entries);
  image->by_offset = calloc(count, sizeof *image->by_offset);
  TR_CHECK(image->entries != NULL && image->by_offset != NULL, TR_ENOMEM,
           "checkpoint: no memory for %d data sets", num_views);
  image->num_entries = num_views;
  for (int i = 0; i < num_views; i++) {
    int64_t bytes = tr__view_bytes(&views[i]);
    TR_CHECK(bytes > 0 && views[i].name[0] == '/', TR_EINVAL,
             "checkpoint: data set \"%s\" has no legal name or extents",
             views[i].name);
    image->entries[i].view = views[i];
    image->entries[i].bytes = (size_t)bytes;
  }
  return TR_OK;
}

/* Reserve the memory for the file. The memory that libhdf5 will need is
 * allocated and freed again, so that it is available a moment later. */
static tr_status reserve(const tr__image *image, buffer *b)
{
  int64_t bytes = FILE_BYTES;
  for (int i = 0; i < image->num_entries; i++) {
    int64_t own = (int64_t)image->entries[i].bytes;
    bool overflows = tr__add_overflows(bytes, own, &bytes) ||
                     tr__add_overflows(bytes, DATA_SET_BYTES, &bytes);
    TR_CHECK(!overflows, TR_ENOMEM, "checkpoint: no memory for an image");
  }
  void *work =
      malloc(WORK_BYTES + (size_t)image->num_entries * DATA_SET_WORK_BYTES);
  b->bytes = malloc((size_t)bytes);
  bool is_there = work != NULL && b->bytes != NULL;
  free(work);
  TR_CHECK(is_there, TR_ENOMEM,
           "checkpoint: no memory for an image of %lld bytes",
           (long long)bytes);
  b->capacity = (size_t)bytes;
  return TR_OK;
}

/* The image takes ownership of the buffer, shrunk to its length. */
static void take_bytes(tr__image *image, buffer *b)
{
  char *fitting = realloc(b->bytes, image->length);
  image->bytes = (unsigned char *)(fitting != NULL ? fitting : b->bytes);
  *b = (buffer){.bytes = NULL};
}

tr_status
tr__image_create(const tr__view *views, int num_views, tr__image **out)
{
  tr_status status;
  buffer b = {.bytes = NULL};
  tr__hdf5_section section;
  *out = NULL;
  tr__image *image = calloc(1, sizeof *image);
  TR_CHECK(image != NULL, TR_ENOMEM, "checkpoint: no memory for an image");
  TR_TRY_GOTO(copy_views(image, views, num_views), failed);
  TR_TRY_GOTO(reserve(image, &b), failed);
  tr__hdf5_begin(&section);
  status = lay_out(image, &b);
  tr__hdf5_end(&section);
  TR_TRY_GOTO(status, failed);
  if (image->length == 0 || image->length > b.length) {
    status = TR_FAIL(TR_ESYSTEM, "checkpoint: libhdf5 left %zu of %zu bytes",
                     b.length, image->length);
    goto failed;
  }
  take_bytes(image, &b);
  TR_TRY_GOTO(order_entries(image), failed);
  memset(image->bytes, 0, TR__IMAGE_USER_BLOCK);
  *out = image;
  return TR_OK;

failed:
  free(b.bytes);
  tr__image_destroy(&image);
  return status;
}

bool tr__image_matches(const tr__image *image,
                       const tr__view *views,
                       int num_views)
{
  if (image->num_entries != num_views) {
    return false;
  }
  for (int i = 0; i < num_views; i++) {
    const tr__view *a = &image->entries[i].view, *b = &views[i];
    if (a->type != b->type || a->ndim != b->ndim ||
        strcmp(a->name, b->name) != 0 ||
        memcmp(a->dims, b->dims, (size_t)a->ndim * sizeof a->dims[0]) != 0) {
      return false;
    }
  }
  return true;
}

void *tr__image_at(tr__image *image, int i)
{
  return image->bytes + image->entries[i].offset;
}

void tr__image_destroy(tr__image **image)
{
  if (image == NULL || *image == NULL) {
    return;
  }
  free((*image)->bytes);
  free((*image)->entries);
  free((*image)->by_offset);
  free(*image);
  *image = NULL;
}

const char *tr__hdf5_name(char *out, size_t bytes)
{
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  snprintf(out, bytes, "%u.%u.%u", major, minor, release);
  return out;
}
