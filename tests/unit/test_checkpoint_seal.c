#include "checkpoint_sample.h"

static uint64_t random_state;

static uint64_t next_random(void)
{
  /* SplitMix64; the numbers only have to differ from case to case. */
  uint64_t z = random_state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static void test_crc32c_gives_the_published_values(void)
{
  unsigned char zeros[32] = {0}, ones[32], up[32];
  memset(ones, 0xff, sizeof ones);
  for (int i = 0; i < 32; i++) {
    up[i] = (unsigned char)i;
  }
  /* RFC 3720, appendix B.4, and the check value of the algorithm. */
  ASSERT_EQ(tr__crc32c(0, zeros, 32), 0x8a9136aa);
  ASSERT_EQ(tr__crc32c(0, ones, 32), 0x62a8ab43);
  ASSERT_EQ(tr__crc32c(0, up, 32), 0x46dd794e);
  ASSERT_EQ(tr__crc32c(0, "123456789", 9), 0xe3069283);
  ASSERT_EQ(tr__crc32c_portable(0, "123456789", 9), 0xe3069283);
  ASSERT_EQ(tr__crc32c(0, "", 0), 0);
}

static void test_crc32c_is_the_same_with_and_without_the_instruction(void)
{
  unsigned char data[300];
  random_state = test_seed();
  for (int trial = 0; trial < 500; trial++) {
    for (size_t i = 0; i < sizeof data; i++) {
      data[i] = (unsigned char)next_random();
    }
    size_t from = next_random() % 16, cut = next_random() % 100;
    size_t bytes = cut + next_random() % 150;
    uint32_t whole = tr__crc32c(0, data + from, bytes);
    ASSERT_EQ(whole, tr__crc32c_portable(0, data + from, bytes));
    uint32_t parts = tr__crc32c(0, data + from, cut);
    parts = tr__crc32c_portable(parts, data + from + cut, bytes - cut);
    ASSERT_EQ(whole, parts);
  }
}

static void test_a_sealed_file_gives_back_what_was_put_in(void)
{
  sample_file file = sample_sealed(120);
  tr__image *image = sample_image();
  tr__sealed sealed;
  sample_fill(image, 120);
  ASSERT_OK(tr__seal_verify("f", file.bytes, file.length, &sealed));
  ASSERT_EQ(sealed.num_entries, image->num_entries);
  ASSERT_EQ(sealed.seal.step, 120);
  ASSERT_STR_EQ((const char *)sealed.seal.run_id, "sample run 0001");
  for (int i = 0; i < image->num_entries; i++) {
    const tr__image_entry *entry = &image->entries[i];
    const tr__sealed_entry *found = tr__sealed_find(&sealed, entry->view.name);
    ASSERT(found != NULL);
    ASSERT_EQ(found->bytes, entry->bytes);
    ASSERT(memcmp(found->data, tr__image_at(image, i), entry->bytes) == 0);
  }
  ASSERT(tr__sealed_find(&sealed, "/params/fc1") == NULL);
  tr__sealed_release(&sealed);
  tr__image_destroy(&image);
  free(file.bytes);
}

/* The data set that a byte of the file belongs to, or NULL. */
static const char *owner_of(const tr__image *image, size_t at)
{
  for (int i = 0; i < image->num_entries; i++) {
    const tr__image_entry *entry = &image->entries[i];
    if (at >= entry->offset && at < entry->offset + entry->bytes) {
      return entry->view.name;
    }
  }
  return NULL;
}

static void test_every_flipped_bit_is_refused_and_its_data_set_named(void)
{
  sample_file file = sample_sealed(1);
  tr__image *image = sample_image();
  tr__sealed sealed;
  char expected[300];
  int64_t inside = 0;
  for (size_t bit = 0; bit < 8 * file.length; bit++) {
    const char *owner = owner_of(image, bit / 8);
    if (owner != NULL) {
      snprintf(expected, sizeof expected, "f: data set %s is damaged", owner);
      inside++;
    } else if (bit / 8 >= TR__IMAGE_USER_BLOCK && bit / 8 < image->length) {
      snprintf(expected, sizeof expected, "f: is damaged outside any data set");
    } else {
      snprintf(expected, sizeof expected, "damaged");
    }
    file.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    ASSERT_FAILS(tr__seal_verify("f", file.bytes, file.length, &sealed),
                 TR_EDATA, expected);
    ASSERT(sealed.entries == NULL);
    file.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
  }
  ASSERT_EQ(inside, 8 * (2 * 35 * 4 + 7 * 8 + 8 + 20 + 3));
  ASSERT_OK(tr__seal_verify("f", file.bytes, file.length, &sealed));
  tr__sealed_release(&sealed);
  tr__image_destroy(&image);
  free(file.bytes);
}

static void test_every_truncation_and_every_tail_is_refused(void)
{
  sample_file file = sample_sealed(1);
  tr__sealed sealed;
  for (size_t length = 0; length < file.length; length++) {
    ASSERT_FAILS(tr__seal_verify("f", file.bytes, length, &sealed), TR_EDATA,
                 "bytes");
  }
  unsigned char *longer = calloc(1, file.length + 8);
  ASSERT(longer != NULL);
  memcpy(longer, file.bytes, file.length);
  for (size_t more = 1; more <= 8; more++) {
    ASSERT_FAILS(tr__seal_verify("f", longer, file.length + more, &sealed),
                 TR_EDATA, "bytes, expected");
  }
  free(longer);
  free(file.bytes);
}

static void test_blocks_of_two_checkpoints_do_not_mix(void)
{
  sample_file a = sample_sealed(1), b = sample_sealed(2);
  unsigned char *mixed = malloc(a.length);
  tr__sealed sealed;
  ASSERT(mixed != NULL);
  ASSERT_EQ(a.length, b.length);
  random_state = test_seed();
  for (int trial = 0; trial < 2000; trial++) {
    memcpy(mixed, a.bytes, a.length);
    size_t from = next_random() % a.length;
    size_t bytes = next_random() % (a.length - from) + 1;
    memcpy(mixed + from, b.bytes + from, bytes);
    if (memcmp(mixed, a.bytes, a.length) != 0 &&
        memcmp(mixed, b.bytes, a.length) != 0) {
      ASSERT_FAILS(tr__seal_verify("f", mixed, a.length, &sealed), TR_EDATA,
                   "damaged");
    }
  }
  free(mixed);
  free(a.bytes);
  free(b.bytes);
}

/* A liar who repairs both checksums of header and table still cannot make the
 * reader look outside the file. */
static void test_a_forged_table_stays_inside_the_file(void)
{
  sample_file file = sample_sealed(1);
  unsigned char *forged = malloc(file.length);
  tr__sealed sealed;
  ASSERT(forged != NULL);
  random_state = test_seed();
  for (int trial = 0; trial < 20000; trial++) {
    memcpy(forged, file.bytes, file.length);
    uint64_t table, value = next_random() >> next_random() % 64;
    memcpy(&table, forged + 48, 8);
    size_t at = trial % 2 == 0 ? 12 + next_random() % 50
                               : table + next_random() % (file.length - table);
    size_t bytes = (size_t)tr__min(8, (int64_t)(file.length - at));
    memcpy(forged + at, &value, bytes);
    memcpy(&table, forged + 48, 8);
    if (table < file.length) {
      uint32_t crc = tr__crc32c(0, forged + table, file.length - table);
      memcpy(forged + 64, &crc, 4);
    }
    uint32_t crc = tr__crc32c(0, forged, TR__SEAL_CRC_OFFSET);
    memcpy(forged + TR__SEAL_CRC_OFFSET, &crc, 4);
    if (memcmp(forged, file.bytes, file.length) != 0) {
      ASSERT_FAILS(tr__seal_verify("f", forged, file.length, &sealed), TR_EDATA,
                   "f: ");
    }
  }
  free(forged);
  free(file.bytes);
}

static tr_status
full_sink(void *user, size_t offset, const void *data, size_t bytes)
{
  (void)offset;
  (void)data;
  (void)bytes;
  return --*(int *)user < 0 ? TR_FAIL(TR_EIO, "the sink is full") : TR_OK;
}

static void test_a_sink_that_fails_ends_the_sealing(void)
{
  tr__image *image = sample_image();
  tr__seal seal = {.step = 1};
  int calls = 0;
  for (;; calls++) {
    int left = calls;
    tr_status status = tr__seal_emit(image, &seal, full_sink, &left);
    if (status == TR_OK) {
      break;
    }
    ASSERT_FAILS(status, TR_EIO, "the sink is full");
  }
  ASSERT(calls > SAMPLE_VIEWS);
  tr__image_destroy(&image);
}

static const tr_test tests[] = {
    TEST(test_crc32c_gives_the_published_values),
    TEST(test_crc32c_is_the_same_with_and_without_the_instruction),
    TEST(test_a_sealed_file_gives_back_what_was_put_in),
    TEST(test_every_flipped_bit_is_refused_and_its_data_set_named),
    TEST(test_every_truncation_and_every_tail_is_refused),
    TEST(test_blocks_of_two_checkpoints_do_not_mix),
    TEST(test_a_forged_table_stays_inside_the_file),
    TEST(test_a_sink_that_fails_ends_the_sealing),
};
TEST_MAIN(tests)
