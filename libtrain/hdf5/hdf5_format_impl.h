/* The structures of an HDF5 file, read one by one with every size checked.
 *
 * This folder reads files without libhdf5, which trusts what a file says about
 * itself: damaged and hostile files make it read and write beyond its buffers.
 * Here every address is checked against the file's size, every block is read
 * into memory of its own size, and unknown structures are refused.
 *
 * Source: The HDF Group: HDF5 File Format Specification, versions 1 to 3 */
#ifndef TR_HDF5_FORMAT_IMPL_H
#define TR_HDF5_FORMAT_IMPL_H

#include "hdf5/hdf5_impl.h"

/* The address of something that is not stored. */
#define TR__HDF5_NOWHERE UINT64_MAX

/* tr__hdf5_damaged - TR_EDATA: `what`, at an address, is not a valid structure.
 */
tr_status
tr__hdf5_damaged(const tr__hdf5_file *file, const char *what, uint64_t address);

/* tr__hdf5_check_room - TR_EDATA unless all the bytes from an address on are in
 * the file. */
tr_status tr__hdf5_check_room(const tr__hdf5_file *file,
                              const char *what,
                              uint64_t address,
                              uint64_t bytes);

/* A block of the file and the position up to which it has been read. A read
 * past its end gives zeros and sets is_short. */
typedef struct tr__hdf5_cursor {
  uint8_t *block; /* owned; NULL: another cursor owns the bytes */
  const uint8_t *at, *end;
  bool is_short;
} tr__hdf5_cursor;

/* tr__hdf5_block - read a block, which tr__hdf5_release() frees.
 *
 * signature   the block must begin with it, and it is skipped; NULL: none
 * is_checked  the last 4 bytes are a checksum, which is verified and removed */
tr_status tr__hdf5_block(tr__hdf5_file *file,
                         uint64_t address,
                         uint64_t bytes,
                         const char *signature,
                         bool is_checked,
                         tr__hdf5_cursor *out);
void tr__hdf5_release(tr__hdf5_cursor *cursor);

/* tr__hdf5_uint - an unsigned number, the lowest byte first. */
uint64_t tr__hdf5_uint(tr__hdf5_cursor *cursor, int bytes);

/* tr__hdf5_take - the next bytes; NULL where fewer are left. */
const uint8_t *tr__hdf5_take(tr__hdf5_cursor *cursor, uint64_t bytes);

/* tr__hdf5_address, tr__hdf5_length - a number of the width that the file's
 * superblock states. */
uint64_t tr__hdf5_address(const tr__hdf5_file *file, tr__hdf5_cursor *cursor);
uint64_t tr__hdf5_length(const tr__hdf5_file *file, tr__hdf5_cursor *cursor);

/* tr__hdf5_checksum - Jenkins' lookup3, the checksum of the newer structures.
 */
uint32_t tr__hdf5_checksum(const uint8_t *bytes, size_t count);

enum {
  TR__HDF5_SPACE = 0x01,
  TR__HDF5_LINK_INFO = 0x02,
  TR__HDF5_TYPE = 0x03,
  TR__HDF5_LINK = 0x06,
  TR__HDF5_EXTERNAL = 0x07,
  TR__HDF5_LAYOUT = 0x08,
  TR__HDF5_PIPELINE = 0x0b,
  TR__HDF5_CONTINUATION = 0x10,
  TR__HDF5_SYMBOLS = 0x11
};

#define TR__HDF5_IS_SHARED 0x02 /* flag of a message: its body is elsewhere */

/* One message of an object header. */
typedef struct tr__hdf5_message {
  int type;
  unsigned flags;
  tr__hdf5_cursor body;
} tr__hdf5_message;

typedef tr_status (*tr__hdf5_on_message)(tr__hdf5_file *file,
                                         tr__hdf5_message *message,
                                         void *user);

/* tr__hdf5_each_message - visit the messages of the object at an address. */
tr_status tr__hdf5_each_message(tr__hdf5_file *file,
                                uint64_t address,
                                tr__hdf5_on_message on_message,
                                void *user);

/* Visits one record of a B-tree of version 2. */
typedef tr_status (*tr__hdf5_on_record)(tr__hdf5_file *file,
                                        tr__hdf5_cursor *record,
                                        void *user);

/* tr__hdf5_each_record - visit all records of a tree whose type is `type` or
 * `type + 1`. */
tr_status tr__hdf5_each_record(tr__hdf5_file *file,
                               uint64_t address,
                               int type,
                               tr__hdf5_on_record on_record,
                               void *user);

/* tr__hdf5_heap_object - read the object that an identifier names in a fractal
 * heap. */
tr_status tr__hdf5_heap_object(tr__hdf5_file *file,
                               uint64_t heap,
                               tr__hdf5_cursor *id,
                               tr__hdf5_cursor *out);

typedef enum tr__hdf5_link_kind {
  TR__HDF5_HARD,
  TR__HDF5_SOFT,
  TR__HDF5_OTHER_FILE
} tr__hdf5_link_kind;

typedef struct tr__hdf5_link {
  const char *name; /* not terminated */
  size_t length;
  tr__hdf5_link_kind kind;
  uint64_t address; /* of a hard link's object */
} tr__hdf5_link;

typedef tr_status (*tr__hdf5_on_link)(const tr__hdf5_link *link, void *user);

/* tr__hdf5_each_link - visit the links of a group; *is_group: whether the
 * object is one. */
tr_status tr__hdf5_each_link(tr__hdf5_file *file,
                             uint64_t address,
                             tr__hdf5_on_link on_link,
                             void *user,
                             bool *is_group);

/* tr__hdf5_read_link - decode the body of a link message. */
tr_status tr__hdf5_read_link(tr__hdf5_file *file,
                             tr__hdf5_cursor *body,
                             tr__hdf5_link *out);

/* The index that says where the chunks of an array lie. */
typedef enum tr__hdf5_index {
  TR__HDF5_TREE1, /* B-tree of version 1 */
  TR__HDF5_SINGLE,
  TR__HDF5_IMPLICIT,
  TR__HDF5_FIXED_ARRAY,
  TR__HDF5_EXTENSIBLE_ARRAY,
  TR__HDF5_TREE2
} tr__hdf5_index;

#define TR__HDF5_MAX_NDIM 32 /* of any array in a file */

/* What the header of an array says about its values. */
typedef struct tr__hdf5_header {
  bool has_space, has_type, has_layout, has_external;
  int ndim; /* -1: no extents, a single value or no value */
  bool is_scalar;
  uint64_t dims[TR__HDF5_MAX_NDIM];
  uint64_t most[TR__HDF5_MAX_NDIM]; /* UINT64_MAX: unlimited */
  tr__hdf5_type type;
  int layout; /* 0 compact, 1 contiguous, 2 chunked, 3 virtual */
  uint64_t address;
  uint8_t *compact; /* owned copy of the values, compact_bytes */
  uint64_t compact_bytes;
  tr__hdf5_index index;
  int chunk_ndim; /* one more than the array's: the last extent is the size of
                     an element */
  uint64_t chunk[TR__HDF5_MAX_NDIM + 1];
  bool edges_unfiltered; /* chunks that reach beyond the array are unfiltered */
  uint64_t single_bytes; /* stored size of a single chunk */
  uint32_t single_mask;
  int num_filters;
  tr__hdf5_filter filters[TR__HDF5_MAX_FILTERS];
} tr__hdf5_header;

/* tr__hdf5_read_header - what an array's header says, not yet checked. The
 * caller frees out->compact, also after failure. */
tr_status tr__hdf5_read_header(tr__hdf5_file *file,
                               uint64_t address,
                               const char *where,
                               tr__hdf5_header *out);

/* tr__hdf5_read_type - decode the body of a type message. */
tr_status tr__hdf5_read_type(tr__hdf5_file *file,
                             tr__hdf5_message *message,
                             tr__hdf5_type *out);

/* tr__hdf5_read_pipeline - decode the body of a filter pipeline message. */
tr_status tr__hdf5_read_pipeline(tr__hdf5_cursor *body,
                                 const char *where,
                                 tr__hdf5_header *out);

/* tr__hdf5_find_chunks - allocate array->chunks and fill in where each chunk
 * lies. The caller frees it, also after failure. */
tr_status tr__hdf5_find_chunks(tr__hdf5_file *file,
                               const tr__hdf5_header *header,
                               tr__hdf5_array *array);

/* The elements of a chunk index that is a fixed or extensible array. */
typedef struct tr__hdf5_elements {
  uint8_t *bytes; /* owned */
  uint64_t count;
  int size;         /* of an element */
  bool is_filtered; /* each element also has size and filter mask */
} tr__hdf5_elements;

tr_status tr__hdf5_fixed_array(tr__hdf5_file *file,
                               uint64_t address,
                               tr__hdf5_elements *out);
tr_status tr__hdf5_extensible_array(tr__hdf5_file *file,
                                    uint64_t address,
                                    tr__hdf5_elements *out);

#define TR__HDF5_SUM_BYTES 4 /* checksum that the filter fletcher32 appends */

/* tr__hdf5_unfilter - undo the filters of a chunk: its stored bytes become
 * exactly array->chunk_bytes in out. `stored` is overwritten, and both buffers
 * must have room for TR__HDF5_SUM_BYTES more than a chunk. */
tr_status tr__hdf5_unfilter(const tr__hdf5_array *array,
                            int64_t chunk,
                            uint8_t *stored,
                            uint8_t *out);

/* tr__hdf5_is_native - whether values have the same bytes in the file and in
 * memory. */
bool tr__hdf5_is_native(const tr__hdf5_type *type, tr__hdf5_as as);

/* tr__hdf5_copy - convert values of the file's type to another type. */
void tr__hdf5_copy(const tr__hdf5_type *type,
                   const uint8_t *in,
                   int64_t count,
                   tr__hdf5_as as,
                   void *out);

#endif
