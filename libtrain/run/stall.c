/* Judges whether ranks wait in vain. These are pure functions of a status
 * board, so that tests can make up boards. */
#include "run/stall_impl.h"

#include <math.h>
#include <string.h>
#include <train/base.h>

enum { MOST_NAMED = 4, PATIENCE = 10 };

/* A wait without a poll for so many seconds hangs. Half of the limit counts if
 * it is shorter, half of this rank's wait if it is longer: a busy machine may
 * keep a rank from running. */
static const double still_s = 10;

/* Two ranks that have waited for each other this many seconds do so for ever.
 */
static const double mutual_s = 2;

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

/* Append to a text. What does not fit is left out. */
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

static double silent_s(const tr__sight *sight, const tr__seen *rank)
{
  return rank->alive != 0 ? seconds(sight, rank->alive) : 0;
}

static bool is_silent(const tr__sight *sight, const tr__seen *rank)
{
  return silent_s(sight, rank) > sight->heartbeat_s;
}

/* Appends the last call of a series: "all-reduce of step 17", or "agreement in
 * "checkpoint save" after step 16". */
static void add_call(char *text, const tr__seen *rank, tr__series series)
{
  tr__call call = rank->calls[series].call;
  add(text, "%s", call_texts[call]);
  if (rank->work != TR__WORK_ALLREDUCE && call < TR__CALL_INIT) {
    add(text, " in \"%s\"", work_texts[rank->work]);
  }
  add_step(text, rank);
}

/* Appends "it is in "backward" of step 17 (since 121 s)". */
static void add_state(char *text, const tr__sight *sight, const tr__seen *rank)
{
  if (rank->is_waiting) {
    add(text, "it waits in ");
    add_call(text, rank, rank->series);
  } else {
    bool infers = rank->is_inferring && rank->work <= TR__WORK_TRAINER;
    add(text, "it is in \"%s\"", infers ? "inference" : work_texts[rank->work]);
    add_step(text, rank);
    add(text, " (since %.0f s)", seconds(sight, rank->since));
  }
  if (is_silent(sight, rank)) {
    add(text, "; its process has not run for %.0f s", silent_s(sight, rank));
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

/* Appends "rank 3", "ranks 0, 1" or "ranks 0, 1, 2, 3 and 12 more". */
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

/* The series of the call that this rank waits in. */
static tr__series series_of(const tr__sight *sight)
{
  return own_of(sight)->series;
}

static long long number_of(const tr__sight *sight, const tr__seen *rank)
{
  return rank->calls[series_of(sight)].begun;
}

/* The rank is in a wait, but does not poll, or its process does not run. */
static bool is_stuck(const tr__sight *sight, const tr__seen *rank)
{
  double half = sight->waited_s / 2;
  double still = fmax(half, fmin(sight->limit_s / 2, still_s));
  double silent = fmax(half, sight->heartbeat_s);
  bool is_still = !rank->is_blocked && rank->still_s >= still;
  return rank->is_waiting && (is_still || silent_s(sight, rank) > silent);
}

/* The rank itself waits for others, and is not stuck. */
static bool goes_on(const tr__sight *sight, const tr__seen *rank)
{
  return rank->is_waiting && !is_stuck(sight, rank);
}

static bool waits_too(const tr__sight *sight, const tr__seen *rank)
{
  const tr__seen *own = own_of(sight);
  return rank == own || (goes_on(sight, rank) && rank->series == own->series &&
                         number_of(sight, rank) == number_of(sight, own));
}

static bool is_behind(const tr__sight *sight, const tr__seen *rank)
{
  long long own = number_of(sight, own_of(sight));
  long long number = number_of(sight, rank);
  bool is_open = rank->calls[series_of(sight)].is_open;
  return number < own || (number == own && is_open && !goes_on(sight, rank) &&
                          rank != own_of(sight));
}

static bool holds_up(const tr__sight *sight, const tr__seen *rank)
{
  return is_behind(sight, rank) && !goes_on(sight, rank);
}

/* The rank is behind and waits for nobody. */
static bool is_away(const tr__sight *sight, const tr__seen *rank)
{
  return is_behind(sight, rank) && !rank->is_waiting;
}

/* The rank may be late: its process runs, and it has announced work of its own,
 * or is in no call of the library while this rank is at its end. */
static bool is_excused(const tr__sight *sight, const tr__seen *rank)
{
  bool is_between = rank->work <= TR__WORK_TRAINER || rank->is_inferring;
  bool may_work = rank->work == TR__WORK_OWN ||
                  (is_between && own_of(sight)->work == TR__WORK_LEFT);
  return is_away(sight, rank) && may_work && !is_silent(sight, rank);
}

static bool is_lost(const tr__sight *sight, const tr__seen *rank)
{
  return is_away(sight, rank) && !is_excused(sight, rank);
}

/* The ranks to blame, the first of these sets that is not empty: away without
 * excuse, away, stuck in a wait, behind. */
static bool is_late(const tr__sight *sight, const tr__seen *rank)
{
  condition is_meant = is_behind;
  if (count_ranks(sight, is_lost) > 0) {
    is_meant = is_lost;
  } else if (count_ranks(sight, is_away) > 0) {
    is_meant = is_away;
  } else if (count_ranks(sight, holds_up) > 0) {
    is_meant = holds_up;
  }
  return is_meant(sight, rank);
}

static bool hangs_in_call(const tr__sight *sight, const tr__seen *rank)
{
  return is_late(sight, rank) && rank->is_waiting &&
         number_of(sight, rank) == number_of(sight, own_of(sight));
}

/* Saves and resumes may take long, because they read and write files. */
static bool is_busy(const tr__sight *sight, const tr__seen *rank)
{
  bool saves = rank->work == TR__WORK_SAVE || rank->work == TR__WORK_RESUME;
  return is_late(sight, rank) && saves && !rank->is_waiting &&
         !is_silent(sight, rank);
}

/* Calls of the same number must be the same call with the same bytes. */
static bool is_in_another(const tr__sight *sight, const tr__seen *rank)
{
  const tr__seen_calls *mine = &own_of(sight)->calls[series_of(sight)];
  const tr__seen_calls *theirs = &rank->calls[series_of(sight)];
  return mine->is_open && theirs->is_open && mine->begun == theirs->begun &&
         (mine->call != theirs->call || mine->bytes != theirs->bytes);
}

/* Each of the two waits in a call that the other has not begun. */
static bool wait_for_each_other(const tr__sight *sight, const tr__seen *rank)
{
  const tr__seen *own = own_of(sight);
  return goes_on(sight, rank) && rank->series != own->series &&
         sight->waited_s >= mutual_s &&
         number_of(sight, rank) < number_of(sight, own) &&
         own->calls[rank->series].begun < rank->calls[rank->series].begun;
}

static bool is_astray(const tr__sight *sight, const tr__seen *rank)
{
  return is_in_another(sight, rank) || wait_for_each_other(sight, rank);
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

static void tell_astray(const tr__sight *sight, char *text)
{
  const tr__seen *own = own_of(sight), *other = find(sight, is_astray);
  tr__series mine = series_of(sight);
  tr__series theirs = is_in_another(sight, other) ? mine : other->series;
  const tr__seen_calls *a = &own->calls[mine], *b = &other->calls[theirs];
  bool tells_bytes = a->call == b->call && a->bytes != b->bytes;
  add(text, "ranks make different calls: rank %d waits in ", own->rank);
  add_call(text, own, mine);
  if (tells_bytes) {
    add(text, ", %lld bytes", a->bytes);
  }
  add(text, ", rank %d in ", other->rank);
  add_call(text, other, theirs);
  if (tells_bytes) {
    add(text, ", %lld bytes", b->bytes);
  }
}

static void add_late(const tr__sight *sight, char *text)
{
  int count = count_ranks(sight, is_late), told = 0;
  for (int i = 0; i < sight->count; i++) {
    const tr__seen *rank = &sight->seen[i];
    if (!is_late(sight, rank) || told == MOST_NAMED) {
      continue;
    }
    add(text, told++ > 0 ? "; " : "");
    if (count > 1) {
      add(text, "rank %d: ", rank->rank);
    }
    add_state(text, sight, rank);
  }
}

/* A rank of this node has not come. */
static void tell_late(const tr__sight *sight, char *text)
{
  add_ranks(text, sight, is_late);
  if (sight->host != NULL && sight->count < sight->size) {
    add(text, " on %s", sight->host);
  }
  int count = count_ranks(sight, is_late);
  if (count_ranks(sight, hangs_in_call) == count) {
    add(text, count == 1 ? " hangs in " : " hang in ");
  } else {
    add(text, count == 1 ? " has not come to " : " have not come to ");
  }
  add_call(text, own_of(sight), series_of(sight));
  add(text, " for %.0f s: ", sight->waited_s);
  add_late(sight, text);
  add(text, "; ");
  add_ranks(text, sight, waits_too);
  add(text, count_ranks(sight, waits_too) == 1 ? " waits" : " wait");
}

/* The rank waits for a message of a rank on another node. */
static bool waits_for_unseen(const tr__sight *sight, const tr__seen *rank)
{
  bool is_unseen = rank->awaited >= 0 && waits_too(sight, rank);
  for (int i = 0; i < sight->count; i++) {
    is_unseen = is_unseen && sight->seen[i].rank != rank->awaited;
  }
  return is_unseen;
}

/* All ranks of this node have come: one of them may wait for another node. */
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
  add_call(text, own, own->series);
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
  if (sight->stopped > 0) {
    add(text, "; the process of rank %d of the job is stopped",
        sight->stopped - 1);
  }
}

static double limit_of(const tr__sight *sight)
{
  tr__work work = own_of(sight)->work;
  int late = count_ranks(sight, is_late);
  if (find(sight, is_excused) != NULL && find(sight, is_lost) == NULL) {
    return INFINITY;
  }
  bool is_unseen_and_long =
      late == 0 && sight->count < sight->size &&
      (work == TR__WORK_SAVE || work == TR__WORK_RESUME ||
       work == TR__WORK_EVALUATION || work == TR__WORK_LEFT);
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
  } else if (sight->waited_s >= limit_of(sight)) {
    bool is_seen = find(sight, is_behind) != NULL;
    out->exit_code = tr_status_exit_code(TR_ECOMM);
    out->is_elsewhere = !is_seen;
    (is_seen ? tell_late : tell_unseen)(sight, out->text);
  }
  add(out->text, ". Exit %d.", out->exit_code);
}
