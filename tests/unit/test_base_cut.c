/* How virtual shards are dealt out to ranks. */
#include "test.h"

#include "core/comm_impl.h"

#include <stdlib.h>

/* Is first..end-1 a node of the tree over the shards lo..hi-1? */
static bool is_node(int64_t first, int64_t end, int64_t lo, int64_t hi)
{
  if (first == lo && end == hi) {
    return true;
  }
  if (hi - lo < 2) {
    return false;
  }
  int64_t mid = lo + tr__tree_half(hi - lo);
  return end <= mid ? is_node(first, end, lo, mid)
                    : first >= mid && is_node(first, end, mid, hi);
}

static void check_cut(int64_t shards, int ranks)
{
  tr__comm comm = {.size = ranks};
  ASSERT_OK(tr__comm_set_shards(&comm, shards));
  ASSERT_EQ(tr__comm_num_shards(&comm), shards);
  ASSERT_EQ(comm.shards.first[0], 0);
  ASSERT_EQ(comm.shards.first[ranks], shards);
  for (int r = 0; r < ranks; r++) {
    int64_t first = comm.shards.first[r], end = comm.shards.first[r + 1];
    ASSERT(first < end);
    ASSERT(is_node(first, end, 0, shards));
  }
  bool is_power = (ranks & (ranks - 1)) == 0 && shards % ranks == 0 &&
                  ((shards / ranks) & (shards / ranks - 1)) == 0;
  if (is_power) {
    ASSERT_EQ(tr__comm_most_shards(&comm), shards / ranks);
  }
  free(comm.shards.first);
}

static void test_every_rank_holds_one_node_of_the_tree(void)
{
  for (int64_t shards = 1; shards <= 40; shards++) {
    for (int ranks = 1; ranks <= shards; ranks++) {
      check_cut(shards, ranks);
    }
  }
  check_cut(1 << 20, 1023);
}

static void test_ranks_share_the_load(void)
{
  static const struct {
    int64_t shards, most;
    int ranks;
  } cases[] = {{8, 4, 3},  {8, 2, 5},  {8, 2, 6},  {8, 2, 7}, {12, 4, 3},
               {12, 2, 6}, {24, 8, 3}, {24, 4, 6}, {16, 8, 3}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    tr__comm comm = {.size = cases[i].ranks};
    ASSERT_OK(tr__comm_set_shards(&comm, cases[i].shards));
    ASSERT_EQ(tr__comm_most_shards(&comm), cases[i].most);
    free(comm.shards.first);
  }
}

static void test_rows_are_cut_at_shards(void)
{
  tr__comm comm = {.size = 3};
  ASSERT_OK(tr__comm_set_shards(&comm, 8)); /* 2, 2 and 4 */
  static const int64_t first[] = {0, 5, 11, 22};
  for (int r = 0; r <= 3; r++) {
    ASSERT_EQ(tr__comm_first_row(&comm, 22, r), first[r]);
  }
  ASSERT_EQ(tr__comm_first_row(&comm, 1, 2), 0);
  ASSERT_EQ(tr__comm_first_row(&comm, 1, 3), 1);
  free(comm.shards.first);
}

static void test_fewer_shards_than_ranks_are_refused(void)
{
  tr__comm comm = {.size = 5};
  ASSERT_FAILS(tr__comm_set_shards(&comm, 4), TR_EINVAL,
               "virtual_shards is 4, expected at least the number of ranks, 5");
  ASSERT_OK(tr__comm_set_shards(&comm, 0));
  ASSERT_EQ(tr__comm_num_shards(&comm), 5);
}

static const tr_test tests[] = {
    TEST(test_every_rank_holds_one_node_of_the_tree),
    TEST(test_ranks_share_the_load),
    TEST(test_rows_are_cut_at_shards),
    TEST(test_fewer_shards_than_ranks_are_refused),
};

TEST_MAIN(tests)
