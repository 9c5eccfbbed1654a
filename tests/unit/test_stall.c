/* The judgement on boards that are made up: who is named, for what, when. */
#include "test.h"

#include "run/stall_impl.h"
#include "run/watchdog_impl.h"

#include <sys/resource.h>

enum { RANKS = 4 };

static const long long second = 1000000000;

/* Ranks 0..3 of one node, a hundred seconds in, all waiting in the all-reduce
 * of step 17, their 40th call. */
typedef struct node {
  tr__seen seen[RANKS];
  tr__sight sight;
} node;

static void make_node(node *n)
{
  for (int i = 0; i < RANKS; i++) {
    n->seen[i] = (tr__seen){.rank = i,
                            .work = TR__WORK_ALLREDUCE,
                            .step = 17,
                            .since = 90 * second,
                            .calls = {{40, true, TR__CALL_ALLREDUCE, 4096},
                                      {20, false, TR__CALL_AGREE, 1}},
                            .is_waiting = true,
                            .series = TR__TRANSFERS,
                            .alive = 100 * second,
                            .awaited = -1};
  }
  n->sight = (tr__sight){.seen = n->seen,
                         .count = RANKS,
                         .own = 0,
                         .size = RANKS,
                         .heartbeat_s = 2.5,
                         .waited_s = 10,
                         .limit_s = 10,
                         .now = 100 * second,
                         .host = "node7"};
}

/* A rank computes, one call behind the others. */
static void make_late(node *n, int rank, tr__work work)
{
  n->seen[rank].work = work;
  n->seen[rank].calls[TR__TRANSFERS].begun = 39;
  n->seen[rank].calls[TR__TRANSFERS].is_open = false;
  n->seen[rank].is_waiting = false;
}

/* It waits in its meeting of this number instead. */
static void make_meet(node *n, int rank, tr__work work, long long number)
{
  make_late(n, rank, work);
  n->seen[rank].step = 16;
  n->seen[rank].is_waiting = true;
  n->seen[rank].series = TR__MEETINGS;
  n->seen[rank].calls[TR__MEETINGS] =
      (tr__seen_calls){number, true, TR__CALL_AGREE, 1};
}

static void expect(const node *n, int code, const char *text)
{
  tr__stall stall;
  tr__stall_judge(&n->sight, &stall);
  ASSERT_EQ(stall.exit_code, code);
  if (code != 0 && strcmp(stall.text, text) != 0) {
    test_fail(__FILE__, __LINE__, "says\n# %s\n# expected\n# %s", stall.text,
              text);
  }
}

static void test_names_the_late_rank_and_its_phase(void)
{
  node n;
  make_node(&n);
  make_late(&n, 3, TR__WORK_BACKWARD);
  expect(&n, 71,
         "libtrain: rank 3 has not come to all-reduce of step 17 for 10 s: it "
         "is in \"backward\" of step 17 (since 10 s); ranks 0, 1, 2 wait. "
         "Exit 71.");
  n.seen[3].alive = 92 * second;
  expect(&n, 71,
         "libtrain: rank 3 has not come to all-reduce of step 17 for 10 s: it "
         "is in \"backward\" of step 17 (since 10 s); its process has not run "
         "for 8 s; ranks 0, 1, 2 wait. Exit 71.");
}

static void test_names_the_rank_that_the_late_ones_wait_for(void)
{
  node n;
  make_node(&n);
  make_meet(&n, 2, TR__WORK_SAVE, 20);
  make_late(&n, 3, TR__WORK_OUTSIDE);
  n.seen[3].step = 16;
  expect(&n, 71,
         "libtrain: rank 3 has not come to all-reduce of step 17 for 10 s: it "
         "is in \"outside libtrain\" after step 16 (since 10 s); ranks 0, 1 "
         "wait. Exit 71.");
  n.sight.own = 2;
  n.seen[3].calls[TR__MEETINGS].begun = 19;
  expect(&n, 71,
         "libtrain: rank 3 has not come to agreement in \"checkpoint save\" "
         "after step 16 for 10 s: it is in \"outside libtrain\" after step 16 "
         "(since 10 s); rank 2 waits. Exit 71.");
}

static void test_a_transfer_behind_a_meeting_is_no_mismatch(void)
{
  for (int i = 0; i < 2; i++) {
    node n;
    make_node(&n);
    for (int r = 0; r < RANKS; r++) {
      make_meet(&n, r, TR__WORK_OUTSIDE, 20);
      n.seen[r].calls[TR__TRANSFERS].is_open = r == i;
      n.seen[r].calls[TR__TRANSFERS].begun = r == i ? 40 : 39;
    }
    make_late(&n, 3, TR__WORK_LOADING);
    n.seen[3].calls[TR__MEETINGS].begun = 19;
    n.sight.waited_s = 9;
    expect(&n, 0, "");
    n.sight.waited_s = 10;
    expect(&n, 71,
           "libtrain: rank 3 has not come to agreement in \"outside libtrain\" "
           "after step 16 for 10 s: it is in \"loading\" after step 16 (since "
           "10 s); ranks 0, 1, 2 wait. Exit 71.");
  }
}

static void test_a_wait_without_polls_hangs(void)
{
  node n;
  make_node(&n);
  n.seen[2].still_s = 6;
  expect(&n, 71,
         "libtrain: rank 2 hangs in all-reduce of step 17 for 10 s: it waits "
         "in all-reduce of step 17; ranks 0, 1, 3 wait. Exit 71.");
  /* Who hangs leaves it to the others, unless there is none. */
  n.sight.own = 2;
  expect(&n, 0, "");
  n.sight.waited_s = 20;
  tr__stall stall;
  tr__stall_judge(&n.sight, &stall);
  ASSERT_EQ(stall.exit_code, 71);
  /* A foreign call shows no polls. */
  make_node(&n);
  n.seen[2].still_s = 6;
  n.seen[2].is_blocked = true;
  tr__stall_judge(&n.sight, &stall);
  ASSERT(strstr(stall.text, "all 4 ranks have come to it") != NULL);
}

/* It waits, but has not polled for so long, or has not run at all. */
static void make_still(node *n, int rank, int seconds, bool runs)
{
  n->seen[rank].still_s = runs ? seconds : 0;
  n->seen[rank].alive = (runs ? 100 : 100 - seconds) * second;
}

static void expect_only(const node *n, const char *named, const char *other)
{
  tr__stall stall;
  tr__stall_judge(&n->sight, &stall);
  ASSERT_EQ(stall.exit_code, 71);
  ASSERT(strstr(stall.text, named) != NULL);
  ASSERT(strstr(stall.text, other) == NULL);
}

/* A busy machine may keep a rank that waits from running for a while. */
static void test_a_starved_wait_is_not_named_beside_who_is_away(void)
{
  for (int runs = 0; runs < 2; runs++) {
    node n;
    make_node(&n);
    make_late(&n, 3, TR__WORK_BACKWARD);
    make_still(&n, 1, 9, runs);
    expect_only(&n, "rank 3 has not come", "rank 1");
    make_late(&n, 3, TR__WORK_SAVE); /* nor does it cut the patience short */
    expect(&n, 0, "");
  }
}

static void test_a_starved_wait_is_not_named_beside_one_that_hangs(void)
{
  for (int runs = 0; runs < 2; runs++) {
    node n;
    make_node(&n);
    n.sight.waited_s = 30;
    make_still(&n, 1, 14, runs);
    make_still(&n, 2, 29, runs);
    expect_only(&n, "rank 2 hangs in", "rank 1");
  }
}

static void test_says_nothing_before_the_limit_or_without_a_wait(void)
{
  node n;
  make_node(&n);
  make_late(&n, 3, TR__WORK_BACKWARD);
  n.sight.waited_s = 9.9;
  expect(&n, 0, "");
  n.sight.waited_s = 1000;
  n.sight.own = 3;
  expect(&n, 0, "");
}

static void test_files_take_their_time_but_not_in_a_stopped_process(void)
{
  for (int i = 0; i < 2; i++) {
    node n;
    make_node(&n);
    make_late(&n, 2, i == 0 ? TR__WORK_SAVE : TR__WORK_RESUME);
    n.sight.waited_s = 99;
    expect(&n, 0, "");
    n.seen[2].alive = 50 * second;
    tr__stall stall;
    tr__stall_judge(&n.sight, &stall);
    ASSERT_EQ(stall.exit_code, 71);
    n.seen[2].alive = 100 * second;
    n.sight.waited_s = 100;
    tr__stall_judge(&n.sight, &stall);
    ASSERT_EQ(stall.exit_code, 71);
    /* Nor has one that waits within a save, or another one. */
    n.sight.waited_s = 10;
    n.seen[2].is_waiting = true;
    n.seen[2].still_s = 6;
    tr__stall_judge(&n.sight, &stall);
    ASSERT_EQ(stall.exit_code, 71);
    n.seen[2].is_waiting = false;
    n.sight.waited_s = 10;
    make_late(&n, 3, TR__WORK_LOADING);
    tr__stall_judge(&n.sight, &stall);
    ASSERT_EQ(stall.exit_code, 71);
  }
}

/* Ranks wait for rank 3 at their end, long beyond the limit. */
static void make_end(node *n, tr__work work)
{
  make_node(n);
  for (int i = 0; i < RANKS; i++) {
    n->seen[i].work = TR__WORK_LEFT;
    n->seen[i].series = TR__MEETINGS;
    n->seen[i].calls[TR__TRANSFERS].is_open = false;
    n->seen[i].calls[TR__MEETINGS] =
        (tr__seen_calls){20, true, TR__CALL_BARRIER, 0};
  }
  n->seen[3].work = work;
  n->seen[3].is_waiting = false;
  n->seen[3].calls[TR__MEETINGS].begun = 19;
  n->sight.waited_s = 1000;
}

static void test_a_rank_that_works_on_at_the_end_is_waited_for(void)
{
  static const tr__work between[] = {TR__WORK_OUTSIDE, TR__WORK_SETUP,
                                     TR__WORK_OWN};
  node n;
  for (int i = 0; i < 3; i++) {
    make_end(&n, between[i]);
    expect(&n, 0, "");
  }
  make_end(&n, TR__WORK_OUTSIDE);
  n.seen[3].alive = 10 * second; /* stopped */
  expect(
      &n, 71,
      "libtrain: rank 3 has not come to barrier in \"tr_context_destroy\" "
      "after step 17 for 1000 s: it is in \"outside libtrain\" after step 17 "
      "(since 10 s); its process has not run for 90 s; ranks 0, 1, 2 wait. "
      "Exit 71.");
  make_end(&n, TR__WORK_BACKWARD); /* in a call of the library */
  expect(&n, 71,
         "libtrain: rank 3 has not come to barrier in \"tr_context_destroy\" "
         "after step 17 for 1000 s: it is in \"backward\" of step 17 (since 10 "
         "s); ranks 0, 1, 2 wait. Exit 71.");
}

static void test_work_that_a_rank_has_announced_has_no_limit(void)
{
  node n;
  make_node(&n);
  make_late(&n, 3, TR__WORK_OWN);
  n.sight.waited_s = 1000;
  expect(&n, 0, "");
  make_late(&n, 2, TR__WORK_OUTSIDE); /* it has not */
  expect(&n, 71,
         "libtrain: rank 2 has not come to all-reduce of step 17 for 1000 s: "
         "it is in \"outside libtrain\" after step 17 (since 10 s); ranks 0, 1 "
         "wait. Exit 71.");
  make_node(&n);
  make_late(&n, 3, TR__WORK_OWN);
  n.seen[3].alive = 90 * second;
  expect(&n, 71,
         "libtrain: rank 3 has not come to all-reduce of step 17 for 10 s: it "
         "is in \"own work\" after step 17 (since 10 s); its process has not "
         "run for 10 s; ranks 0, 1, 2 wait. Exit 71.");
}

static void test_inference_is_named_and_a_sign_of_life(void)
{
  node n;
  make_node(&n);
  make_late(&n, 3, TR__WORK_OUTSIDE);
  n.seen[3].is_inferring = true;
  expect(&n, 71,
         "libtrain: rank 3 has not come to all-reduce of step 17 for 10 s: it "
         "is in \"inference\" after step 17 (since 10 s); ranks 0, 1, 2 wait. "
         "Exit 71.");
  tr__status_board *board = tr__status_board_create(5, 8);
  ASSERT(board != NULL);
  tr__seen before, seen;
  tr__work_begin(board, TR__WORK_SETUP, 0);
  tr__status_read(board, 0, &before);
  tr__infer_begin(board);
  tr__status_read(board, 0, &seen);
  ASSERT(seen.is_inferring);
  ASSERT_EQ(seen.work, TR__WORK_OUTSIDE);
  tr__infer_end(board);
  tr__status_read(board, 0, &seen);
  ASSERT(!seen.is_inferring);
  ASSERT(seen.ticks > before.ticks);
  board->release(board);
}

static void test_different_calls_are_a_mismatch_at_once(void)
{
  node n;
  make_node(&n);
  n.sight.waited_s = 2;
  make_meet(&n, 2, TR__WORK_EVALUATION, 21);
  expect(&n, 78,
         "libtrain: ranks make different calls: rank 0 waits in all-reduce of "
         "step 17, rank 2 in agreement in \"evaluation\" after step 16. Exit "
         "78.");
  n.sight.waited_s = 1.9;
  expect(&n, 0, "");
  for (int i = 0; i < RANKS; i++) {
    make_meet(&n, i, i == 1 ? TR__WORK_LEFT : TR__WORK_SAVE, 21);
  }
  n.sight.waited_s = 0.1;
  n.seen[1].calls[TR__MEETINGS].call = TR__CALL_BARRIER;
  expect(&n, 78,
         "libtrain: ranks make different calls: rank 0 waits in agreement in "
         "\"checkpoint save\" after step 16, rank 1 in barrier in "
         "\"tr_context_destroy\" after step 16. Exit 78.");
  make_node(&n);
  n.sight.waited_s = 0.1;
  n.seen[1].calls[TR__TRANSFERS].bytes = 8192;
  expect(&n, 78,
         "libtrain: ranks make different calls: rank 0 waits in all-reduce of "
         "step 17, 4096 bytes, rank 1 in all-reduce of step 17, 8192 bytes. "
         "Exit 78.");
  /* What it did in its last call says nothing of the next. */
  n.seen[1].calls[TR__TRANSFERS].begun = 39;
  expect(&n, 0, "");
  n.seen[1].calls[TR__TRANSFERS].begun = 40;
  n.seen[1].calls[TR__TRANSFERS].is_open = false;
  expect(&n, 0, "");
}

static void test_ranks_of_other_nodes_are_known_by_their_messages(void)
{
  node n;
  make_node(&n);
  n.sight.size = 8;
  n.seen[0].awaited = 5;
  tr__stall stall;
  tr__stall_judge(&n.sight, &stall);
  ASSERT(stall.is_elsewhere);
  expect(&n, 71,
         "libtrain: rank 0 on node7 has waited for 10 s in all-reduce of step "
         "17, for a message of rank 5: that rank, one that it waits for, or "
         "the network does not get on. Exit 71.");
  n.seen[0].awaited = 1;
  n.seen[1].awaited = 6;
  expect(&n, 71,
         "libtrain: rank 1 on node7 has waited for 10 s in all-reduce of step "
         "17, for a message of rank 6: that rank, one that it waits for, or "
         "the network does not get on. Exit 71.");
  n.seen[0].awaited = n.seen[1].awaited = -1;
  expect(&n, 71,
         "libtrain: rank 0 on node7 has waited for 10 s in all-reduce of step "
         "17: a rank that this one cannot see, or the network, does not get "
         "on. Exit 71.");
  for (int i = 0; i < RANKS; i++) {
    n.seen[i].work = TR__WORK_SAVE;
  }
  expect(&n, 0, "");
  make_late(&n, 3, TR__WORK_LOADING);
  tr__stall_judge(&n.sight, &stall);
  ASSERT_EQ(stall.exit_code, 71);
  ASSERT(!stall.is_elsewhere);
  ASSERT(strstr(stall.text, "rank 3 on node7 has not come") != NULL);
}

static void test_a_stopped_process_is_named_before_ranks_share_a_board(void)
{
  tr__seen seen = {.rank = 1,
                   .work = TR__WORK_SETUP,
                   .calls = {{0}, {1, true, TR__CALL_INIT, 0}},
                   .is_waiting = true,
                   .is_blocked = true,
                   .series = TR__MEETINGS,
                   .alive = 100 * second,
                   .awaited = -1};
  const tr__sight sight = {.seen = &seen,
                           .count = 1,
                           .size = 1,
                           .heartbeat_s = 2.5,
                           .waited_s = 10,
                           .limit_s = 10,
                           .stopped = 1,
                           .now = 100 * second};
  tr__stall stall;
  tr__stall_judge(&sight, &stall);
  ASSERT_EQ(stall.exit_code, 71);
  ASSERT(strcmp(stall.text,
                "libtrain: rank 1 has waited for 10 s in MPI_Init: a rank has "
                "not come to it; the process of rank 0 of the job is stopped. "
                "Exit 71.") == 0);
}

static void test_many_late_ranks_fit_into_one_line(void)
{
  enum { MANY = 200 };
  node n;
  make_node(&n);
  tr__seen *seen = calloc(MANY, sizeof *seen);
  ASSERT(seen != NULL);
  for (int i = 0; i < MANY; i++) {
    seen[i] = n.seen[0];
    seen[i].rank = 1000000 + i;
    if (i % 2 == 1) {
      seen[i].is_waiting = false;
      seen[i].calls[TR__TRANSFERS].begun = 39;
      seen[i].work = TR__WORK_OUTSIDE;
      seen[i].alive = 1;
    }
  }
  n.sight.seen = seen;
  n.sight.count = n.sight.size = MANY;
  tr__stall stall;
  tr__stall_judge(&n.sight, &stall);
  ASSERT_EQ(stall.exit_code, 71);
  ASSERT(strstr(stall.text, "1000007 and 96 more have not come") != NULL);
  ASSERT(strstr(stall.text, "Exit 71.") != NULL);
  free(seen);
}

static void test_lines_say_phase_step_and_call(void)
{
  tr__status_board *board = tr__status_board_create(2, 4);
  ASSERT(board != NULL);
  tr__seen seen;
  tr__work outer = tr__work_begin(board, TR__WORK_EVALUATION, 0);
  tr__work inner = tr__work_begin(board, TR__WORK_FORWARD, 5);
  tr__status_read(board, 0, &seen);
  ASSERT_EQ(seen.rank, 2);
  ASSERT_EQ(seen.work, TR__WORK_EVALUATION);
  ASSERT_EQ(seen.step, 0);
  tr__work_end(board, inner);
  tr__work_end(board, outer);
  outer = tr__work_begin(board, TR__WORK_FORWARD, 5);
  tr__call_begin(board, TR__CALL_ALLREDUCE, 64);
  tr__wait_begin(board, TR__TRANSFERS);
  tr__status_read(board, 0, &seen);
  const tr__seen_calls *calls = &seen.calls[TR__TRANSFERS];
  ASSERT_EQ(seen.step, 5);
  ASSERT(calls->is_open && seen.is_waiting && !seen.is_blocked);
  ASSERT_EQ(calls->call, TR__CALL_ALLREDUCE);
  ASSERT_EQ(calls->bytes, 64);
  tr__wait_end(board);
  tr__call_end(board, TR__TRANSFERS);
  tr__work_end(board, outer);
  tr__status_read(board, 0, &seen);
  ASSERT(!calls->is_open && !seen.is_waiting);
  ASSERT_EQ(calls->begun, 1);
  ASSERT_EQ(seen.calls[TR__MEETINGS].begun, 0);
  ASSERT_EQ(seen.work, TR__WORK_OUTSIDE);
  board->release(board);
}

static void test_a_watchdog_starts_stops_and_may_be_off(void)
{
  tr__watchdog *dog;
  ASSERT_EQ(tr__watchdog_start(-1, 0, TR__CALL_CREATE, &dog), TR_OK);
  ASSERT(dog == NULL);
  tr__watchdog_see(dog, NULL);
  tr__watchdog_stop(&dog);
  ASSERT(tr__watchdog_limit(0) == 120);
  tr__status_board *board = tr__status_board_create(0, 2);
  ASSERT(board != NULL);
  ASSERT_EQ(tr__watchdog_start(120, 0, TR__CALL_CREATE, &dog), TR_OK);
  tr__watchdog_see(dog, board);
  tr__watchdog_see(dog, NULL);
  tr__watchdog_stop(&dog);
  ASSERT(dog == NULL);
  board->release(board);
}

/* The first test: later ones find the stack of a thread that has ended. */
static void test_a_watchdog_without_memory_is_the_machines_fault(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  test_skip("a sanitizer needs memory of its own");
#endif
  struct rlimit before, none = {.rlim_cur = 1};
  tr__watchdog *dog;
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  none.rlim_max = before.rlim_max;
  ASSERT_EQ(setrlimit(RLIMIT_AS, &none), 0);
  tr_status status = tr__watchdog_start(120, 0, TR__CALL_CREATE, &dog);
  ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
  ASSERT_EQ(status, TR_ENOMEM);
  ASSERT(dog == NULL);
}

static const tr_test tests[] = {
    TEST(test_a_watchdog_without_memory_is_the_machines_fault),
    TEST(test_names_the_late_rank_and_its_phase),
    TEST(test_names_the_rank_that_the_late_ones_wait_for),
    TEST(test_a_transfer_behind_a_meeting_is_no_mismatch),
    TEST(test_a_wait_without_polls_hangs),
    TEST(test_a_starved_wait_is_not_named_beside_who_is_away),
    TEST(test_a_starved_wait_is_not_named_beside_one_that_hangs),
    TEST(test_says_nothing_before_the_limit_or_without_a_wait),
    TEST(test_files_take_their_time_but_not_in_a_stopped_process),
    TEST(test_a_rank_that_works_on_at_the_end_is_waited_for),
    TEST(test_work_that_a_rank_has_announced_has_no_limit),
    TEST(test_inference_is_named_and_a_sign_of_life),
    TEST(test_different_calls_are_a_mismatch_at_once),
    TEST(test_ranks_of_other_nodes_are_known_by_their_messages),
    TEST(test_a_stopped_process_is_named_before_ranks_share_a_board),
    TEST(test_many_late_ranks_fit_into_one_line),
    TEST(test_lines_say_phase_step_and_call),
    TEST(test_a_watchdog_starts_stops_and_may_be_off),
};
TEST_MAIN(tests)
