/* B-trees of version 2, whose records are a group's names or an array's chunks.
 */
#include "hdf5/hdf5_format_impl.h"

#include <string.h>

/* Real trees have depths below 10. */
#define MAX_DEPTH 24

typedef struct tree {
  tr__hdf5_file *file;
  int type;
  uint64_t node_bytes, record_bytes;
  int count_bytes;                /* width of a child's number of records */
  int total_bytes[MAX_DEPTH + 1]; /* width of the number of all records below,
                                     by depth */
  tr__hdf5_on_record on_record;
  void *user;
} tree;

/* The number of bytes that a number up to `most` takes. */
static int width_of(uint64_t most)
{
  int width = 1;
  while (width < 8 && most >> 8 * width != 0) {
    width++;
  }
  return width;
}

/* The widths of counts follow from the most records that a node can have. */
static tr_status find_widths(tree *t, int depth, uint64_t address)
{
  uint64_t overhead = 10, in_node = 0, below = 0;
  for (int d = 0; d <= depth; d++) {
    uint64_t pointer = 0;
    if (d > 0) {
      pointer = (uint64_t)(t->file->address_bytes + t->count_bytes +
                           t->total_bytes[d - 1]);
    }
    if (t->node_bytes < overhead + pointer + t->record_bytes) {
      return tr__hdf5_damaged(t->file, "a tree with nodes too small", address);
    }
    in_node =
        (t->node_bytes - overhead - pointer) / (t->record_bytes + pointer);
    bool fits = d == 0 || below <= UINT64_MAX / (in_node + 1) / 2;
    below = d == 0 ? in_node : fits ? (in_node + 1) * below + in_node : below;
    t->count_bytes = d == 0 ? width_of(in_node) : t->count_bytes;
    t->total_bytes[d] = d == 0 ? 0 : width_of(below);
  }
  return TR_OK;
}

static tr_status read_node(tree *t, uint64_t address, uint64_t n, int depth);

static tr_status read_records(tree *t, tr__hdf5_cursor *c, uint64_t n)
{
  for (uint64_t i = 0; i < n; i++) {
    tr__hdf5_cursor record = {.at = tr__hdf5_take(c, t->record_bytes)};
    if (record.at == NULL) {
      return tr__hdf5_damaged(t->file, "a tree's node that is cut off", 0);
    }
    record.end = record.at + t->record_bytes;
    TR_TRY(t->on_record(t->file, &record, t->user));
  }
  return TR_OK;
}

static tr_status
read_children(tree *t, tr__hdf5_cursor *c, uint64_t n, int depth)
{
  for (uint64_t i = 0; i <= n && depth > 0; i++) {
    uint64_t child = tr__hdf5_address(t->file, c);
    uint64_t count = tr__hdf5_uint(c, t->count_bytes);
    tr__hdf5_uint(c, t->total_bytes[depth - 1]);
    if (c->is_short) {
      return tr__hdf5_damaged(t->file, "a tree's node that is cut off", child);
    }
    TR_TRY(read_node(t, child, count, depth - 1));
  }
  return TR_OK;
}

static tr_status read_node(tree *t, uint64_t address, uint64_t n, int depth)
{
  tr__hdf5_cursor c;
  uint64_t bytes = 10 + n * t->record_bytes;
  if (depth > 0) {
    bytes += (n + 1) * (uint64_t)(t->file->address_bytes + t->count_bytes +
                                  t->total_bytes[depth - 1]);
  }
  if (bytes > t->node_bytes) {
    return tr__hdf5_damaged(t->file, "a tree's node that is too full", address);
  }
  TR_TRY(tr__hdf5_block(t->file, address, bytes, depth > 0 ? "BTIN" : "BTLF",
                        true, &c));
  bool fits = tr__hdf5_uint(&c, 1) == 0 && (int)tr__hdf5_uint(&c, 1) == t->type;
  tr_status status =
      fits
          ? read_records(t, &c, n)
          : tr__hdf5_damaged(t->file, "a tree's node of another kind", address);
  if (status == TR_OK) {
    status = read_children(t, &c, n, depth);
  }
  tr__hdf5_release(&c);
  return status;
}

tr_status tr__hdf5_each_record(tr__hdf5_file *file,
                               uint64_t address,
                               int type,
                               tr__hdf5_on_record on_record,
                               void *user)
{
  tree t = {.file = file, .on_record = on_record, .user = user};
  tr__hdf5_cursor c;
  uint64_t bytes = 4 + 1 + 1 + 4 + 2 + 2 + 2 + (uint64_t)file->address_bytes +
                   2 + (uint64_t)file->length_bytes + 4;
  TR_TRY(tr__hdf5_block(file, address, bytes, "BTHD", true, &c));
  int version = (int)tr__hdf5_uint(&c, 1);
  t.type = (int)tr__hdf5_uint(&c, 1);
  t.node_bytes = tr__hdf5_uint(&c, 4);
  t.record_bytes = tr__hdf5_uint(&c, 2);
  int depth = (int)tr__hdf5_uint(&c, 2);
  tr__hdf5_uint(&c, 2); /* when to split and to merge nodes */
  uint64_t root = tr__hdf5_address(file, &c);
  uint64_t n = tr__hdf5_uint(&c, 2);
  tr__hdf5_release(&c);
  if (version != 0 || (t.type != type && t.type != type + 1) ||
      depth > MAX_DEPTH || t.record_bytes == 0) {
    return tr__hdf5_damaged(file, "a tree of an unknown kind", address);
  }
  TR_TRY(find_widths(&t, depth, address));
  return root == TR__HDF5_NOWHERE || (n == 0 && depth == 0)
             ? TR_OK
             : read_node(&t, root, n, depth);
}
