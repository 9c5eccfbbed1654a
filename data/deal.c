/* Distributed data: how many samples each rank gives to a global batch when
 * every rank holds samples of its own.
 *
 * Rank r holds n_r of N samples. Its sample j has the time (2 j + 1) / (2 n_r).
 * The global order sorts all samples by time, and samples of the same time by
 * rank; a batch takes the next B samples of this order. So each rank gives
 * samples in proportion to n_r, each sample comes once, and the counts of all
 * ranks add up to exactly B.
 *
 * Source: Webster's method of apportionment, Balinski and Young 1982 */
#include "data/deal_impl.h"

#include <stdlib.h>
#include <string.h>

tr_status
tr__deal_create(const int64_t *counts, int size, int rank, tr__deal **out)
{
  *out = NULL;
  tr__deal *deal = calloc(1, sizeof *deal);
  TR_CHECK(deal != NULL, TR_ENOMEM, "loader: out of memory");
  *deal = (tr__deal){.rank = rank,
                     .size = size,
                     .counts = counts,
                     .begin = calloc((size_t)size, sizeof *deal->begin),
                     .end = calloc((size_t)size, sizeof *deal->end),
                     .heap = calloc((size_t)size, sizeof *deal->heap)};
  for (int r = 0; r < size; r++) {
    deal->total += counts[r];
  }
  if (deal->begin == NULL || deal->end == NULL || deal->heap == NULL) {
    tr__deal_destroy(&deal);
    return TR_FAIL(TR_ENOMEM, "loader: no memory for the counts of %d ranks",
                   size);
  }
  *out = deal;
  return TR_OK;
}

void tr__deal_destroy(tr__deal **deal)
{
  if (*deal == NULL) {
    return;
  }
  free((*deal)->begin);
  free((*deal)->end);
  free((*deal)->heap);
  free(*deal);
  *deal = NULL;
}

/* Does the next sample of rank a come before that of rank b? A rank that has
 * given all its samples comes last. */
static bool is_before(const tr__deal *deal, const int64_t *given, int a, int b)
{
  int64_t n_a = deal->counts[a], n_b = deal->counts[b];
  if (given[a] == n_a || given[b] == n_b) {
    return given[a] < n_a;
  }
  tr__wide left = (tr__wide)(2 * given[a] + 1) * n_b;
  tr__wide right = (tr__wide)(2 * given[b] + 1) * n_a;
  return left != right ? left < right : a < b;
}

/* Sift down in the binary heap: the rank at its root gives the next sample. */
static void sink(const tr__deal *deal, const int64_t *given, int at)
{
  int *heap = deal->heap;
  for (int child = 2 * at + 1; child < deal->size; child = 2 * at + 1) {
    if (child + 1 < deal->size &&
        is_before(deal, given, heap[child + 1], heap[child])) {
      child++;
    }
    if (!is_before(deal, given, heap[child], heap[at])) {
      return;
    }
    int rank = heap[at];
    heap[at] = heap[child];
    heap[child] = rank;
    at = child;
  }
}

/* given[r] <- how many samples of rank r are among the first `done` of an
 * epoch.
 *
 * At most t N + size / 2 samples have times up to t. With t = (done - size) / N
 * these are fewer than done, so a formula counts them; the heap adds the rest
 * one by one. */
static void count_given(tr__deal *deal, int64_t done, int64_t *given)
{
  int64_t sure = tr__max(0, done - deal->size), sum = 0;
  for (int r = 0; r < deal->size; r++) {
    tr__wide twice = (tr__wide)2 * deal->counts[r] * sure + deal->total;
    given[r] = (int64_t)(twice / ((tr__wide)2 * deal->total));
    sum += given[r];
    deal->heap[r] = r;
  }
  for (int at = deal->size / 2 - 1; at >= 0; at--) {
    sink(deal, given, at);
  }
  for (; sum < done; sum++) {
    given[deal->heap[0]]++;
    sink(deal, given, 0);
  }
}

tr__deal_part tr__deal_at(tr__deal *deal, int64_t done, int64_t count)
{
  int rank = deal->rank;
  count_given(deal, done, deal->begin);
  count_given(deal, done + count, deal->end);
  tr__deal_part part = {.place = deal->begin[rank],
                        .count = deal->end[rank] - deal->begin[rank]};
  for (int r = 0; r < rank; r++) {
    part.first += deal->end[r] - deal->begin[r];
  }
  return part;
}

/* The times of a batch lie in an interval of some length L, in which rank r has
 * at least n_r L - 1 and at most n_r L + 1 samples. The sum of the lower
 * bounds, N L - size, is at most `batch`:
 *
 *   L <= (batch + size) / N,  rows <= n_r L + 1 */
int64_t tr__deal_max_rows(const tr__deal *deal, int64_t batch)
{
  int64_t most = 0;
  for (int r = 0; r < deal->size; r++) {
    most = tr__max(most, deal->counts[r]);
  }
  batch = tr__min(batch, deal->total);
  tr__wide rows = ((tr__wide)batch + deal->size) * most / deal->total + 1;
  return tr__min((int64_t)tr__min(batch, most),
                 rows > INT64_MAX ? INT64_MAX : (int64_t)rows);
}
