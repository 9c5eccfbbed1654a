/* Reads the links of a group, in both of HDF5's forms: a symbol table, or link
 * messages with a fractal heap for many links. */
#include "hdf5/hdf5_format_impl.h"

#include <string.h>

#define MAX_LEVEL 24 /* of a B-tree */

/* One visit to all links of a group. */
typedef struct visit {
  bool is_group;
  uint64_t tree, names;     /* of a symbol table; tree NOWHERE: none */
  uint64_t heap, name_tree; /* of many links; heap NOWHERE: none */
  tr__hdf5_on_link on_link;
  void *user;
} visit;

tr_status
tr__hdf5_read_link(tr__hdf5_file *file, tr__hdf5_cursor *c, tr__hdf5_link *out)
{
  int version = (int)tr__hdf5_uint(c, 1);
  unsigned flags = (unsigned)tr__hdf5_uint(c, 1);
  int kind = flags & 0x08 ? (int)tr__hdf5_uint(c, 1) : 0;
  tr__hdf5_take(c, (flags & 0x04 ? 8 : 0) + (flags & 0x10 ? 1 : 0));
  uint64_t length = tr__hdf5_uint(c, 1 << (flags & 3));
  *out = (tr__hdf5_link){.length = (size_t)length,
                         .kind = kind == 0   ? TR__HDF5_HARD
                                 : kind == 1 ? TR__HDF5_SOFT
                                             : TR__HDF5_OTHER_FILE};
  out->name = (const char *)tr__hdf5_take(c, length);
  out->address = kind == 0 ? tr__hdf5_address(file, c) : TR__HDF5_NOWHERE;
  return version == 1 && !c->is_short && out->name != NULL
             ? TR_OK
             : tr__hdf5_damaged(file, "a link", 0);
}

static tr_status
on_message(tr__hdf5_file *file, tr__hdf5_message *m, void *user)
{
  visit *v = user;
  tr__hdf5_cursor *c = &m->body;
  if (m->type == TR__HDF5_SYMBOLS) {
    v->is_group = true;
    v->tree = tr__hdf5_address(file, c);
    v->names = tr__hdf5_address(file, c);
  } else if (m->type == TR__HDF5_LINK_INFO) {
    v->is_group = true;
    tr__hdf5_uint(c, 1);
    tr__hdf5_take(c, tr__hdf5_uint(c, 1) & 1 ? 8 : 0);
    v->heap = tr__hdf5_address(file, c);
    v->name_tree = tr__hdf5_address(file, c);
  } else if (m->type == TR__HDF5_LINK) {
    tr__hdf5_link link;
    TR_TRY(tr__hdf5_read_link(file, c, &link));
    TR_TRY(v->on_link(&link, v->user));
  }
  return c->is_short ? tr__hdf5_damaged(file, "a group's message cut off", 0)
                     : TR_OK;
}

/* A record of the name tree: a hash, then the link's identifier in the heap. */
static tr_status
on_record(tr__hdf5_file *file, tr__hdf5_cursor *record, void *user)
{
  visit *v = user;
  tr__hdf5_cursor object;
  tr__hdf5_link link;
  tr__hdf5_uint(record, 4);
  TR_TRY(tr__hdf5_heap_object(file, v->heap, record, &object));
  tr_status status = tr__hdf5_read_link(file, &object, &link);
  if (status == TR_OK) {
    status = v->on_link(&link, v->user);
  }
  tr__hdf5_release(&object);
  return status;
}

/* Read a symbol table node. The names of its entries are offsets into `names`,
 * a local heap. */
static tr_status read_symbols(tr__hdf5_file *file,
                              visit *v,
                              uint64_t address,
                              const tr__hdf5_cursor *names)
{
  enum { HEAD = 8, SOFT = 2 };
  tr__hdf5_cursor c;
  TR_TRY(tr__hdf5_block(file, address, HEAD, "SNOD", false, &c));
  tr__hdf5_uint(&c, 2);
  uint64_t count = tr__hdf5_uint(&c, 2);
  tr__hdf5_release(&c);
  uint64_t bytes =
      (uint64_t)(file->length_bytes + file->address_bytes) + 4 + 4 + 16;
  TR_TRY(tr__hdf5_block(file, address + HEAD, count * bytes, NULL, false, &c));
  tr_status status = TR_OK;
  for (uint64_t i = 0; i < count && status == TR_OK; i++) {
    uint64_t at = tr__hdf5_length(file, &c);
    tr__hdf5_link link = {.address = tr__hdf5_address(file, &c)};
    link.kind = tr__hdf5_uint(&c, 4) == SOFT ? TR__HDF5_SOFT : TR__HDF5_HARD;
    tr__hdf5_take(&c, 20);
    uint64_t room = (uint64_t)(names->end - names->at);
    link.name = (const char *)names->at + (at < room ? at : 0);
    const void *zero = at < room ? memchr(link.name, 0, room - at) : NULL;
    if (zero == NULL) {
      status = tr__hdf5_damaged(file, "a name beyond its heap", address);
    } else {
      link.length = (size_t)((const char *)zero - link.name);
      status = v->on_link(&link, v->user);
    }
  }
  tr__hdf5_release(&c);
  return status;
}

/* Read a node of the symbol table's B-tree, whose levels count down to 0. The
 * root may have any level: `expected` is -1. */
static tr_status read_tree(tr__hdf5_file *file,
                           visit *v,
                           uint64_t address,
                           int expected,
                           const tr__hdf5_cursor *names)
{
  tr__hdf5_cursor c;
  uint64_t head = 8 + 2 * (uint64_t)file->address_bytes;
  TR_TRY(tr__hdf5_block(file, address, head, "TREE", false, &c));
  int kind = (int)tr__hdf5_uint(&c, 1), level = (int)tr__hdf5_uint(&c, 1);
  uint64_t count = tr__hdf5_uint(&c, 2);
  tr__hdf5_release(&c);
  if (kind != 0 || level > MAX_LEVEL || (expected >= 0 && level != expected)) {
    return tr__hdf5_damaged(file, "a group's tree of another kind", address);
  }
  uint64_t bytes = count * (uint64_t)(file->length_bytes + file->address_bytes);
  TR_TRY(tr__hdf5_block(file, address + head, bytes, NULL, false, &c));
  tr_status status = TR_OK;
  for (uint64_t i = 0; i < count && status == TR_OK; i++) {
    tr__hdf5_length(file, &c);
    uint64_t child = tr__hdf5_address(file, &c);
    status = level > 0 ? read_tree(file, v, child, level - 1, names)
                       : read_symbols(file, v, child, names);
  }
  tr__hdf5_release(&c);
  return status;
}

static tr_status read_symbol_table(tr__hdf5_file *file, visit *v)
{
  tr__hdf5_cursor c;
  uint64_t head =
      8 + 2 * (uint64_t)file->length_bytes + (uint64_t)file->address_bytes;
  TR_TRY(tr__hdf5_block(file, v->names, head, "HEAP", false, &c));
  tr__hdf5_uint(&c, 4);
  uint64_t bytes = tr__hdf5_length(file, &c);
  tr__hdf5_length(file, &c);
  uint64_t at = tr__hdf5_address(file, &c);
  tr__hdf5_release(&c);
  TR_TRY(tr__hdf5_block(file, at, bytes, NULL, false, &c));
  tr_status status = read_tree(file, v, v->tree, -1, &c);
  tr__hdf5_release(&c);
  return status;
}

tr_status tr__hdf5_each_link(tr__hdf5_file *file,
                             uint64_t address,
                             tr__hdf5_on_link on_link,
                             void *user,
                             bool *is_group)
{
  visit v = {.tree = TR__HDF5_NOWHERE,
             .heap = TR__HDF5_NOWHERE,
             .on_link = on_link,
             .user = user};
  *is_group = false;
  TR_TRY(tr__hdf5_each_message(file, address, on_message, &v));
  *is_group = v.is_group;
  if (v.tree != TR__HDF5_NOWHERE) {
    TR_TRY(read_symbol_table(file, &v));
  }
  if (v.heap != TR__HDF5_NOWHERE) {
    TR_TRY(tr__hdf5_each_record(file, v.name_tree, 5, on_record, &v));
  }
  return TR_OK;
}
