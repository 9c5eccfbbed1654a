/* A checkpoint resumes into the run that it is of, and says what differs. */
#include "resume_helper.h"

static void refuses(const char *dir, run_opts o, const char *text)
{
  run r = begin(o);
  uint64_t hash = hash_of(&r);
  ASSERT_FAILS(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint), TR_EMISMATCH,
               text);
  ASSERT_EQ(hash_of(&r), hash);
  ASSERT_EQ(tr_optimizer_num_steps(r.opt), 0);
  end(&r);
}

static void test_another_option_of_any_layer_is_refused_with_both_sides(void)
{
  const char *dir = saved_run((run_opts){0}, 2);
  refuses(dir, (run_opts){.heads = 2},
          "heads 1, gives (4, 6)\", this run has \"layer attention_1: "
          "attention of qkv, heads 2");
  refuses(dir, (run_opts){.causal = 1}, "heads 1, causal");
  refuses(dir, (run_opts){.eps = 0.1}, "eps 0.1");
  refuses(dir, (run_opts){.groups = 3}, "groups 3");
  refuses(dir, (run_opts){.pool = 5}, "kernel 5");
  refuses(dir, (run_opts){.dilation = 2}, "dilation 2");
  refuses(dir, (run_opts){.momentum = 0.3}, "momentum 0.3");
  refuses(dir, (run_opts){.sync = 1}, "sync");
  refuses(dir, (run_opts){.slope = 0.5}, "slope 0.5");
}

static void test_the_same_options_and_another_dropout_resume(void)
{
  const char *dir = saved_run((run_opts){0}, 2);
  run r = begin((run_opts){.p = 0.5});
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT_EQ(tr_optimizer_num_steps(r.opt), 2);
  ASSERT(was_told("resume changes \"layer dropout_1: dropout of flatten_1, p "
                  "0.25, gives (144)\" to \"layer dropout_1: dropout of "
                  "flatten_1, p 0.5, gives (144)\""));
  end(&r);
}

static void test_a_wished_change_resumes_and_is_told(void)
{
  const char *dir = saved_run((run_opts){0}, 2);
  run r = begin((run_opts){.slope = 0.5});
  r.checkpoint.allow_changes = 1;
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT_EQ(tr_optimizer_num_steps(r.opt), 2);
  ASSERT(was_told("slope 0.01") && was_told("slope 0.5"));
  end(&r);
}

static void test_a_wished_change_does_not_resume_another_model(void)
{
  const char *dir = saved_run((run_opts){0}, 2);
  run r = begin((run_opts){0});
  tr_optimizer_destroy(&r.opt);
  tr_model_destroy(&r.net);
  ASSERT_OK(tr_model_create(r.ctx, &r.net));
  tr_cross_entropy(r.net,
                   tr_flatten(r.net, tr_input(r.net, (tr_shape){1, {3}})));
  ASSERT_OK(tr_model_build(r.net, NULL));
  const tr_checkpoint other = {.model = r.net, .allow_changes = 1};
  ASSERT_FAILS(tr_checkpoint_resume(r.ctx, dir, &other), TR_EMISMATCH,
               "another model");
  end(&r);
}

static void test_a_checkpoint_of_0_1_resumes_with_a_warning(void)
{
  const char *dir = new_dir();
  run first = begin((run_opts){.seed = 3});
  train(&first, 3);
  save_as_0_1(&first, dir);
  uint64_t hash = hash_of(&first);
  train(&first, 4);
  uint64_t last = hash_of(&first);
  end(&first);
  run second = begin((run_opts){.seed = 3});
  ASSERT_OK(tr_checkpoint_resume(second.ctx, dir, &second.checkpoint));
  ASSERT(was_told("!") && was_told("without the options of its layers"));
  ASSERT_EQ(hash_of(&second), hash);
  train(&second, 4);
  ASSERT_EQ(hash_of(&second), last);
  /* What it saves has the options. */
  ASSERT_OK(tr_checkpoint_save(second.ctx, dir, &second.checkpoint));
  end(&second);
  refuses(dir, (run_opts){.heads = 2}, "heads 2");
}

/* Dropout is drawn with the seed of the run that goes on. */
static void test_another_seed_gives_the_bits_of_the_saved_run(void)
{
  run whole = begin((run_opts){.seed = 1});
  train(&whole, 9);
  const char *dir = saved_run((run_opts){.seed = 1}, 4);
  run r = begin((run_opts){.seed = 2, .no_shuffle = 1});
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT(was_told("resume ignores seed 2: the saved run's is 1"));
  ASSERT(was_told("resume ignores that this run does not shuffle its samples"));
  train(&r, 2);
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  end(&r);
  r = begin((run_opts){.seed = 5});
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT(was_told("resume ignores seed 5: the saved run's is 1"));
  train(&r, 3);
  ASSERT_EQ(hash_of(&r), hash_of(&whole));
  end(&r);
  end(&whole);
}

static void test_other_virtual_shards_are_refused_unless_wished(void)
{
  const char *dir = saved_run((run_opts){.shards = 4}, 2);
  refuses(dir, (run_opts){0}, "4 virtual shards, this run has 0");
  refuses(dir, (run_opts){.shards = 8}, "4 virtual shards, this run has 8");
  run r = begin((run_opts){.shards = 8});
  r.checkpoint.allow_changes = 1;
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT(was_told("resume changes virtual shards from 4 to 8"));
  end(&r);
}

static void test_a_resume_tells_where_it_goes_on(void)
{
  const char *dir = saved_run((run_opts){0}, 7);
  run r = begin((run_opts){0});
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT(was_told("/step-00000007.h5: step 7, epoch 1, 16 of its 40 samples "
                  "done\n"));
  ASSERT(!was_told("changes") && !was_told("ignores") && !was_told("!"));
  end(&r);
}

static void test_a_resume_without_a_checkpoint_says_so(void)
{
  run r = begin((run_opts){0});
  ASSERT_OK(tr_checkpoint_resume(r.ctx, new_dir(), &r.checkpoint));
  ASSERT(was_told("no checkpoint to resume from"));
  end(&r);
}

static void test_changed_options_of_training_are_told(void)
{
  const char *dir = saved_run((run_opts){0}, 2);
  run r = begin((run_opts){
      .lr = 0.25, .batch = 4, .clip = 2, .decay = 0.5, .total = 200});
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT(was_told("resume changes lr from 0.125 to 0.25\n"));
  ASSERT(was_told("resume changes batch from 8 to 4\n"));
  ASSERT(was_told("resume changes clip_norm from 0 to 2\n"));
  ASSERT(was_told("resume changes weight_decay from 0 to 0.5\n"));
  ASSERT(was_told("resume changes schedule total from 100 to 200\n"));
  end(&r);
}

static void test_reading_parameters_alone_tells_nothing(void)
{
  const char *dir = saved_run((run_opts){.seed = 4}, 2);
  run r = begin((run_opts){.seed = 5});
  const tr_checkpoint params = {.model = r.net, .must_exist = 1};
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &params));
  ASSERT(told[0] == '\0');
  end(&r);
}

static const tr_test tests[] = {
    TEST(test_another_option_of_any_layer_is_refused_with_both_sides),
    TEST(test_the_same_options_and_another_dropout_resume),
    TEST(test_a_wished_change_resumes_and_is_told),
    TEST(test_a_wished_change_does_not_resume_another_model),
    TEST(test_a_checkpoint_of_0_1_resumes_with_a_warning),
    TEST(test_another_seed_gives_the_bits_of_the_saved_run),
    TEST(test_other_virtual_shards_are_refused_unless_wished),
    TEST(test_a_resume_tells_where_it_goes_on),
    TEST(test_a_resume_without_a_checkpoint_says_so),
    TEST(test_changed_options_of_training_are_told),
    TEST(test_reading_parameters_alone_tells_nothing),
};

TEST_MAIN(tests)
