/* A model of characters goes on in the alphabet that it was trained in. */
#include "resume_helper.h"

/* The same letters, one of them as a capital in the other text. */
static const char plain[] = "a quick fox and a quiet queen ask a quaint squid";
static const char capital[] =
    "a Quick fox and a Quiet Queen ask a Quaint sQuid";
static const char fewer[] = "a fox and an ox ask a queen as a fox and an ox do";

static const char *write_text(const char *text)
{
  static char path[512];
  snprintf(path, sizeof path, "%s/text", test_scratch());
  FILE *file = fopen(path, "wb");
  ASSERT(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
  return path;
}

/* A run on a text, in an alphabet or in the text's own. */
static run begin_text(const char *text, const tr_alphabet *alphabet)
{
  run r = {0};
  const tr_context_opts opts = {.threads = 1, .log = keep_line};
  const tr_text_opts read = {
      .context = 5, .split = "train", .alphabet = alphabet};
  ASSERT_OK(tr_context_create_auto(&opts, &r.ctx));
  ASSERT_OK(tr_text_open(r.ctx, write_text(text), &read, &r.data));
  ASSERT_OK(tr_loader_create(r.ctx, r.data, &(tr_loader_opts){.batch = 4},
                             &r.loader));
  int64_t K = tr_dataset_num_classes(r.data);
  ASSERT_OK(tr_model_create(r.ctx, &r.net));
  tr_node x = tr_input_ids(r.net, tr_dataset_shape(r.data));
  x = tr_embedding(r.net, x, &(tr_embedding_opts){.num = K, .out = 4});
  x = tr_linear(r.net, x, &(tr_linear_opts){.out = K});
  tr_cross_entropy(r.net, x);
  ASSERT_OK(tr_model_build(r.net, NULL));
  ASSERT_OK(tr_sgd_create(r.net, &(tr_sgd_opts){.lr = 0.1}, &r.opt));
  r.checkpoint =
      (tr_checkpoint){.model = r.net, .optimizer = r.opt, .loader = r.loader};
  told[0] = '\0';
  return r;
}

static const char *saved_text(void)
{
  const char *dir = new_dir();
  run r = begin_text(plain, NULL);
  train(&r, 1);
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  end(&r);
  return dir;
}

static void test_another_text_of_as_many_characters_is_refused(void)
{
  const char *dir = saved_text();
  run r = begin_text(capital, NULL);
  uint64_t hash = hash_of(&r);
  ASSERT_FAILS(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint), TR_EMISMATCH,
               "another numbering: it has \"id 1 is character 97 'a'\", this "
               "run has \"id 1 is character 81 'Q'\"");
  ASSERT_EQ(hash_of(&r), hash);
  end(&r);
}

static tr_alphabet alphabet_of(const char *dir)
{
  tr_context *ctx;
  tr_alphabet alphabet;
  ASSERT_OK(tr_context_create_auto(&(tr_context_opts){.threads = 1}, &ctx));
  ASSERT_OK(tr_checkpoint_get_alphabet(ctx, dir, &alphabet));
  tr_context_destroy(&ctx);
  return alphabet;
}

static void test_a_text_of_some_of_the_characters_goes_on(void)
{
  const char *dir = saved_text();
  tr_alphabet alphabet = alphabet_of(dir);
  ASSERT_EQ(alphabet.count, 15);
  ASSERT_EQ(alphabet.codes[0], ' ');
  run r = begin_text(fewer, &alphabet);
  ASSERT_EQ(tr_dataset_num_classes(r.data), 15);
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  for (int id = 0; id < alphabet.count; id++) {
    ASSERT_EQ(tr_text_code(r.data, id), alphabet.codes[id]);
  }
  end(&r);
}

static void test_a_character_outside_the_alphabet_is_named(void)
{
  tr_alphabet alphabet = alphabet_of(saved_text());
  tr_context *ctx;
  tr_dataset *data;
  const tr_text_opts opts = {
      .context = 5, .split = "train", .alphabet = &alphabet};
  ASSERT_OK(tr_context_create_auto(&(tr_context_opts){.threads = 1}, &ctx));
  ASSERT_FAILS(tr_text_open(ctx, write_text(capital), &opts, &data),
               TR_EMISMATCH, "byte 2 is character 81 'Q'");
  alphabet.codes[3] = alphabet.codes[7];
  ASSERT_FAILS(tr_text_open(ctx, write_text(plain), &opts, &data), TR_EINVAL,
               "twice");
  tr_context_destroy(&ctx);
}

static void test_where_no_text_was_saved_there_is_no_alphabet(void)
{
  ASSERT_EQ(alphabet_of(new_dir()).count, 0);
  ASSERT_EQ(alphabet_of(saved_run((run_opts){0}, 1)).count, 0);
  const char *dir = new_dir();
  run r = begin_text(plain, NULL);
  save_as_0_1(&r, dir);
  end(&r);
  ASSERT_EQ(alphabet_of(dir).count, 0);
}

static const tr_test tests[] = {
    TEST(test_another_text_of_as_many_characters_is_refused),
    TEST(test_a_text_of_some_of_the_characters_goes_on),
    TEST(test_a_character_outside_the_alphabet_is_named),
    TEST(test_where_no_text_was_saved_there_is_no_alphabet),
};

TEST_MAIN(tests)
