/* The judgement on a board: pure, so that tests can make up boards. */
#include "run/stall_impl.h"

#include <string.h>
#include <train/base.h>

enum { MOST_NAMED = 4, PATIENCE = 10 };

/* A wait that shows no poll for so long hangs, where the limit is longer than
 * twice as much. */
static const double still_s = 10;

static const char *const work_texts[] = {
#define TEXT(name, text, relation) [TR__WORK_##name] = (text),
    TR__WORKS(TEXT)
#undef TEXT
};

static const char *const relations[] = {
#define RELATION(name, text, relation) [TR__WORK_##name] = (relation),
    TR__WORKS(RELATION)
#undef RELATION
};

static const char *const call_texts[] = {
#define TEXT(name, text) [TR__CALL_##name] = (text),
    TR__CALLS(TEXT)
#undef TEXT
};

/* A text that is added to; what does not fit is left out. */
static TR_PRINTF(2, 3) void add(char text[1024], const char *format, ...)
{
  size_t used = strlen(text);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text + used, 1024 - used, format, arguments);
  va_end(arguments);
}

static double seconds(const tr__sight *sight, long long since)
{
  return (double)(sight->now - since) * 1e-9;
}

static void add_step(char *text, const tr__seen *rank)
{
  if (rank->step > 0) {
    add(text, " %s step %lld", relations[rank->work], rank->step);
  }
}

/* all-reduce of step 17; agreement in "checkpoint save" after step 16 */
static void add_call(char *text, const tr__seen *rank)
{
  add(text, "%s", call_texts[rank->call]);
  if (rank->work != TR__WORK_ALLREDUCE && rank->call < TR__CALL_INIT) {
    add(text, " in \"%s\"", work_texts[rank->work]);
  }
  add_step(text, rank);
}

/* it is in "backward" of step 17 (since 121 s) */
static void add_state(char *text, const tr__sight *sight, const tr__seen *rank)
{
  if (rank->is_waiting && rank->is_in_call) {
    add(text, "it waits in ");
    add_call(text, rank);
  } else {
    add(text, "it is in \"%s\"", work_texts[rank->work]);
    add_step(text, rank);
    add(text, " (since %.0f s)", seconds(sight, rank->since));
  }
  double silent = seconds(sight, rank->alive);
  if (rank->alive != 0 && silent > sight->heartbeat_s) {
    add(text, "; its process has not run for %.0f s", silent);
  }
}

typedef bool (*condition)(const tr__sight *sight, const tr__seen *rank);

static int count_ranks(const tr__sight *sight, condition is_meant)
{
  int count = 0;
  for (int i = 0; i < sight->count; i++) {
    count += is_meant(sight, &sight->seen[i]);
  }
  return count;
}

/* rank 3; ranks 0, 1; ranks 0, 1, 2, 3 and 12 more */
static void add_ranks(char *text, const tr__sight *sight, condition is_meant)
{
  int count = count_ranks(sight, is_meant), named = 0;
  add(text, count == 1 ? "rank" : "ranks");
  for (int i = 0; i < sight->count; i++) {
    const tr__seen *rank = &sight->seen[i];
    if (is_meant(sight, rank) && named < MOST_NAMED) {
      add(text, "%s %d", named++ > 0 ? "," : "", rank->rank);
    }
  }
  if (count > named) {
    add(text, " and %d more", count - named);
  }
}

static const tr__seen *own_of(const tr__sight *sight)
{
  return &sight->seen[sight->own];
}

/* It seems to wait, but does not poll. */
static bool is_stuck(const tr__sight *sight, const tr__seen *rank)
{
  double least = sight->limit_s / 2 < still_s ? sight->limit_s / 2 : still_s;
  return rank->is_waiting && !rank->is_blocked && rank->still_s >= least;
}

static bool waits_too(const tr__sight *sight, const tr__seen *rank)
{
  const tr__seen *own = own_of(sight);
  return rank == own || (rank->is_waiting && rank->begun == own->begun &&
                         rank->call == own->call && !is_stuck(sight, rank));
}

static bool is_behind(const tr__sight *sight, const tr__seen *rank)
{
  const tr__seen *own = own_of(sight);
  bool goes_on = rank->is_waiting && !is_stuck(sight, rank);
  return rank->begun < own->begun ||
         (rank->begun == own->begun && rank->is_in_call && !goes_on);
}

/* Of those that are behind, the ones that the others of them wait for. */
static bool is_last(const tr__sight *sight, const tr__seen *rank)
{
  if (!is_behind(sight, rank)) {
    return false;
  }
  for (int i = 0; i < sight->count; i++) {
    const tr__seen *other = &sight->seen[i];
    if (is_behind(sight, other) && other->begun < rank->begun) {
      return false;
    }
  }
  return true;
}

static bool has_left(const tr__sight *sight, const tr__seen *rank)
{
  return rank->is_in_call && rank->call == TR__CALL_LEAVE &&
         rank->begun < own_of(sight)->begun;
}

static bool hangs_in_call(const tr__sight *sight, const tr__seen *rank)
{
  return is_last(sight, rank) && rank->begun == own_of(sight)->begun &&
         rank->is_waiting;
}

/* With files: that may take long. */
static bool is_busy(const tr__sight *sight, const tr__seen *rank)
{
  bool saves = rank->work == TR__WORK_SAVE || rank->work == TR__WORK_RESUME;
  return is_last(sight, rank) && saves && !rank->is_waiting &&
         seconds(sight, rank->alive) <= sight->heartbeat_s;
}

/* Calls are numbered: those of the same number must be the same. */
static bool is_astray(const tr__sight *sight, const tr__seen *rank)
{
  const tr__seen *own = own_of(sight);
  bool differs = rank->call != own->call || rank->bytes != own->bytes;
  return own->is_in_call && rank->is_in_call && rank->begun == own->begun &&
         differs;
}

static const tr__seen *find(const tr__sight *sight, condition is_meant)
{
  for (int i = 0; i < sight->count; i++) {
    if (is_meant(sight, &sight->seen[i])) {
      return &sight->seen[i];
    }
  }
  return NULL;
}

static void add_bytes(char *text, const tr__seen *rank, const tr__seen *other)
{
  if (rank->call == other->call) {
    add(text, ", %lld bytes", rank->bytes);
  }
}

static void tell_astray(const tr__sight *sight, char *text)
{
  const tr__seen *own = own_of(sight), *other = find(sight, is_astray);
  add(text, "ranks make different calls: rank %d waits in ", own->rank);
  add_call(text, own);
  add_bytes(text, own, other);
  add(text, ", rank %d in ", other->rank);
  add_call(text, other);
  add_bytes(text, other, own);
}

static void tell_left(const tr__sight *sight, char *text)
{
  const tr__seen *other = find(sight, has_left);
  add(text,
      "ranks make different numbers of calls: rank %d has called "
      "tr_context_destroy",
      other->rank);
  add_step(text, other);
  add(text, ", and will not come to ");
  add_call(text, own_of(sight));
  add(text, ", where ");
  add_ranks(text, sight, waits_too);
  add(text, count_ranks(sight, waits_too) == 1 ? " waits" : " wait");
}

static void add_late(const tr__sight *sight, char *text)
{
  int count = count_ranks(sight, is_last), told = 0;
  for (int i = 0; i < sight->count; i++) {
    const tr__seen *rank = &sight->seen[i];
    if (!is_last(sight, rank) || told == MOST_NAMED) {
      continue;
    }
    add(text, told++ > 0 ? "; " : "");
    if (count > 1) {
      add(text, "rank %d: ", rank->rank);
    }
    add_state(text, sight, rank);
  }
}

/* Some rank of this node has not come. */
static void tell_late(const tr__sight *sight, char *text)
{
  add_ranks(text, sight, is_last);
  if (sight->host != NULL && sight->count < sight->size) {
    add(text, " on %s", sight->host);
  }
  int count = count_ranks(sight, is_last);
  if (count_ranks(sight, hangs_in_call) == count) {
    add(text, count == 1 ? " hangs in " : " hang in ");
  } else {
    add(text, count == 1 ? " has not come to " : " have not come to ");
  }
  add_call(text, own_of(sight));
  add(text, " for %.0f s: ", sight->waited_s);
  add_late(sight, text);
  add(text, "; ");
  add_ranks(text, sight, waits_too);
  add(text, count_ranks(sight, waits_too) == 1 ? " waits" : " wait");
}

/* It waits for a message of a rank that cannot be seen. */
static bool waits_for_unseen(const tr__sight *sight, const tr__seen *rank)
{
  bool is_unseen = rank->awaited >= 0 && waits_too(sight, rank);
  for (int i = 0; i < sight->count; i++) {
    is_unseen = is_unseen && sight->seen[i].rank != rank->awaited;
  }
  return is_unseen;
}

/* All that can be seen have come: one of them may wait for another node. */
static void tell_unseen(const tr__sight *sight, char *text)
{
  const tr__seen *own = find(sight, waits_for_unseen);
  own = own != NULL ? own : own_of(sight);
  if (own->rank >= 0) {
    add(text, "rank %d", own->rank);
  } else {
    add(text, "a rank");
  }
  if (sight->host != NULL && sight->count < sight->size) {
    add(text, " on %s", sight->host);
  }
  add(text, " has waited for %.0f s in ", sight->waited_s);
  add_call(text, own);
  bool is_known = own->awaited >= 0 && own->awaited != own->rank;
  if (is_known) {
    add(text, ", for a message of rank %d", own->awaited);
  }
  if (sight->count < sight->size) {
    add(text, is_known ? ": that rank, one that it waits for, or the network "
                         "does not get on"
                       : ": a rank that this one cannot see, or the network, "
                         "does not get on");
  } else if (sight->count > 1) {
    add(text, ": all %d ranks have come to it", sight->count);
  } else {
    add(text, ": a rank has not come to it");
  }
}

static double limit_of(const tr__sight *sight)
{
  tr__work work = own_of(sight)->work;
  int late = count_ranks(sight, is_last);
  bool is_unseen_and_long = late == 0 && sight->count < sight->size &&
                            (work == TR__WORK_SAVE || work == TR__WORK_RESUME ||
                             work == TR__WORK_EVALUATION);
  bool is_long = late > 0 && count_ranks(sight, is_busy) == late;
  return (is_long || is_unseen_and_long ? PATIENCE : 1) * sight->limit_s;
}

void tr__stall_judge(const tr__sight *sight, tr__stall *out)
{
  *out = (tr__stall){.text = "libtrain: "};
  const tr__seen *own = own_of(sight);
  bool speaks = !is_stuck(sight, own) || sight->waited_s >= 2 * sight->limit_s;
  if (!own->is_waiting || !speaks) {
    return;
  }
  if (find(sight, is_astray) != NULL) {
    out->exit_code = tr_status_exit_code(TR_EMISMATCH);
    tell_astray(sight, out->text);
  } else if (find(sight, has_left) != NULL) {
    out->exit_code = tr_status_exit_code(TR_EMISMATCH);
    tell_left(sight, out->text);
  } else if (sight->waited_s >= limit_of(sight)) {
    bool is_seen = find(sight, is_behind) != NULL;
    out->exit_code = tr_status_exit_code(TR_ECOMM);
    out->is_elsewhere = !is_seen;
    (is_seen ? tell_late : tell_unseen)(sight, out->text);
  }
  add(out->text, ". Exit %d.", out->exit_code);
}
