/* Reads object headers: the messages that describe an array or a group. */
#include "hdf5/hdf5_format_impl.h"

/* The most blocks of one object header. */
#define MAX_PIECES 512

/* The flag of a message that a reader must not skip if it does not know it. */
#define MUST_BE_KNOWN 0x80
#define LAST_KNOWN    0x17

typedef struct piece {
  uint64_t address, bytes;
} piece;

typedef struct walk {
  tr__hdf5_file *file;
  bool is_new;       /* version 2 */
  bool has_order;    /* messages have a creation order */
  uint64_t num_left; /* messages, in version 1 */
  piece pieces[MAX_PIECES];
  int num_pieces;
  tr__hdf5_on_message on_message;
  void *user;
} walk;

static tr_status add_piece(walk *w, tr__hdf5_cursor *c, uint64_t at)
{
  piece p = {tr__hdf5_address(w->file, c), 0};
  p.bytes = tr__hdf5_length(w->file, c);
  if (c->is_short || w->num_pieces == MAX_PIECES) {
    return tr__hdf5_damaged(w->file, "an object in too many pieces", at);
  }
  w->pieces[w->num_pieces++] = p;
  return TR_OK;
}

/* Visit one message; *is_end where only padding is left. */
static tr_status
next_message(walk *w, tr__hdf5_cursor *c, uint64_t at, bool *is_end)
{
  int head = w->is_new ? (w->has_order ? 6 : 4) : 8;
  *is_end = c->end - c->at < head || (!w->is_new && w->num_left == 0);
  if (*is_end) {
    return TR_OK;
  }
  w->num_left--;
  tr__hdf5_message m = {.type = (int)tr__hdf5_uint(c, w->is_new ? 1 : 2)};
  uint64_t bytes = tr__hdf5_uint(c, 2);
  m.flags = (unsigned)tr__hdf5_uint(c, 1);
  tr__hdf5_take(c, (uint64_t)(head - (w->is_new ? 4 : 5)));
  m.body.at = tr__hdf5_take(c, bytes);
  if (m.body.at == NULL) {
    return tr__hdf5_damaged(w->file, "an object with a message too long", at);
  }
  m.body.end = m.body.at + bytes;
  if (m.type > LAST_KNOWN && (m.flags & MUST_BE_KNOWN) != 0) {
    return TR_FAIL(TR_EDATA,
                   "%s: message %d at byte %llu is of a newer HDF5 format",
                   w->file->path, m.type, (unsigned long long)at);
  }
  if (m.type == TR__HDF5_CONTINUATION) {
    return add_piece(w, &m.body, at);
  }
  return w->on_message(w->file, &m, w->user);
}

static tr_status read_messages(walk *w, tr__hdf5_cursor *c, uint64_t at)
{
  bool is_end = false;
  while (!is_end) {
    TR_TRY(next_message(w, c, at, &is_end));
  }
  return TR_OK;
}

static tr_status read_piece(walk *w, const piece *p)
{
  tr__hdf5_cursor c;
  TR_TRY(tr__hdf5_block(w->file, p->address, p->bytes,
                        w->is_new ? "OCHK" : NULL, w->is_new, &c));
  tr_status status = read_messages(w, &c, p->address);
  tr__hdf5_release(&c);
  return status;
}

/* Version 1: 16 bytes, then the messages. */
static tr_status read_old(walk *w, uint64_t address, tr__hdf5_cursor *c)
{
  tr__hdf5_take(c, 2);
  w->num_left = tr__hdf5_uint(c, 2);
  tr__hdf5_take(c, 4);
  w->pieces[w->num_pieces++] = (piece){address + 16, tr__hdf5_uint(c, 4)};
  return c->is_short ? tr__hdf5_damaged(w->file, "an object cut off", address)
                     : TR_OK;
}

/* Version 2: a prefix whose length its flags give, messages, a checksum. */
static tr_status read_new(walk *w, uint64_t address, tr__hdf5_cursor *start)
{
  tr__hdf5_take(start, 4);
  int version = (int)tr__hdf5_uint(start, 1);
  unsigned flags = (unsigned)tr__hdf5_uint(start, 1);
  uint64_t prefix = 6 + (flags & 0x20 ? 16u : 0u) + (flags & 0x10 ? 4u : 0u);
  int width = 1 << (flags & 3);
  tr__hdf5_take(start, prefix - 6);
  uint64_t bytes = tr__hdf5_uint(start, width);
  if (version != 2 || start->is_short) {
    return tr__hdf5_damaged(w->file, "an object of an unknown version",
                            address);
  }
  TR_TRY(tr__hdf5_check_room(w->file, "an object", address, bytes));
  w->is_new = true;
  w->has_order = (flags & 4) != 0;
  prefix += (uint64_t)width;
  tr__hdf5_cursor c;
  TR_TRY(
      tr__hdf5_block(w->file, address, prefix + bytes + 4, "OHDR", true, &c));
  tr__hdf5_take(&c, prefix - 4);
  tr_status status = read_messages(w, &c, address);
  tr__hdf5_release(&c);
  return status;
}

tr_status tr__hdf5_each_message(tr__hdf5_file *file,
                                uint64_t address,
                                tr__hdf5_on_message on_message,
                                void *user)
{
  walk w = {.file = file, .on_message = on_message, .user = user};
  tr__hdf5_cursor c;
  uint64_t room = (uint64_t)(file->bytes - file->base);
  TR_TRY(tr__hdf5_check_room(file, "an object", address, 12));
  uint64_t most = room - address < 34 ? room - address : 34;
  TR_TRY(tr__hdf5_block(file, address, most, NULL, false, &c));
  bool is_old = c.at[0] == 1;
  bool is_new = c.at[0] == 'O';
  tr_status status = is_old   ? read_old(&w, address, &c)
                     : is_new ? read_new(&w, address, &c)
                              : tr__hdf5_damaged(file, "no object", address);
  tr__hdf5_release(&c);
  for (int i = 0; i < w.num_pieces && status == TR_OK; i++) {
    status = read_piece(&w, &w.pieces[i]);
  }
  return status;
}
