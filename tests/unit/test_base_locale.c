/* Texts of machines under a locale with a decimal comma. */
#include "test.h"

#include "base/file_impl.h"
#include "base/locale_impl.h"
#include "model/node_impl.h"
#include "optim/optimizer_impl.h"
#include "run/joblog_impl.h"

#include <string.h>
#include <train/train.h>
#include <unistd.h>

/* Makes a locale of its own, since few machines have one. */
static void set_comma(void)
{
  char path[512], command[1200], text[16];
  snprintf(path, sizeof path, "%s/source", test_scratch());
  FILE *source = fopen(path, "w");
  ASSERT(source != NULL);
  fputs("LC_NUMERIC\ndecimal_point \",\"\nthousands_sep \".\"\ngrouping 3\n"
        "END LC_NUMERIC\n",
        source);
  fclose(source);
  snprintf(command, sizeof command, "localedef -c -i %s %s/comma 2>/dev/null",
           path, test_scratch());
  (void)!system(command); /* it warns of all that the locale lacks */
  setenv("LOCPATH", test_scratch(), 1);
  const char *found = setlocale(LC_NUMERIC, "comma");
  snprintf(text, sizeof text, "%.1f", 0.5);
  if (found == NULL || strcmp(text, "0,5") != 0) {
    test_skip("no locale with a decimal comma, and no localedef to make one");
  }
}

/* The caller's locale is as it was. */
static void end_comma(void)
{
  char text[16];
  snprintf(text, sizeof text, "%.1f", 0.5);
  setlocale(LC_NUMERIC, "C");
  ASSERT_STR_EQ(text, "0,5");
}

static void test_the_log_has_a_decimal_point(void)
{
  char path[512], text[512] = "";
  int file;
  size_t got;
  tr__joblog log;
  set_comma();
  snprintf(path, sizeof path, "%s/log", test_scratch());
  ASSERT_OK(tr__joblog_open(path, TR_F32, &log));
  tr__joblog_step(
      &log, &(tr__joblog_entry){
                .step = 1, .loss = 0.5, .lr = 0.25, .samples_per_s = 1000.5});
  tr__joblog_rollback(&log, &(tr__joblog_back){.loss = 1.5, .lr_scale = 0.5});
  tr__joblog_final(&log, &(tr_report){.test_loss = 0.5, .peak_rss_mib = 1.5});
  tr__joblog_close(&log);
  end_comma();
  ASSERT_OK(tr__open_read(path, &file, NULL));
  ASSERT_EQ(tr__read_full(file, text, sizeof text - 1, &got), 0);
  close(file);
  ASSERT(strstr(text, "\"loss\":0.5,\"lr\":0.25,\"samples_per_s\":1000.5}") !=
         NULL);
  ASSERT(strstr(text, "\"loss\":1.5,\"lr_scale\":0.5}") != NULL);
  ASSERT(strstr(text, "\"peak_rss_mib\":1.5}") != NULL);
}

static char *written; /* by print_model() */
static size_t written_bytes;

static void print_model(const tr_model *net)
{
  FILE *out = open_memstream(&written, &written_bytes);
  ASSERT(out != NULL);
  ASSERT_OK(tr_model_print(net, out));
  fclose(out);
}

static void test_what_ranks_compare_has_a_decimal_point(void)
{
  tr_context *ctx;
  tr_model *net;
  tr_optimizer *opt;
  set_comma();
  ASSERT_OK(tr_context_create_auto(NULL, &ctx));
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, (tr_shape){1, {4}});
  x = tr_dropout(net, x, &(tr_dropout_opts){.p = 0.25});
  x = tr_linear(net, x, &(tr_linear_opts){.out = 2});
  tr_cross_entropy(net, x);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
  ASSERT_OK(tr_sgd_create(net, &(tr_sgd_opts){.lr = 0.125}, &opt));
  char *options = tr__model_options_text(net);
  char *rate = tr__optimizer_text(opt);
  print_model(net);
  TR_FAIL(TR_EINVAL, "rate is %g", 0.125);
  end_comma();
  ASSERT(options != NULL && rate != NULL);
  ASSERT(strstr(options, "p 0.25") != NULL && strchr(options, ',') != NULL);
  ASSERT(strstr(rate, "lr 0.125\n") != NULL && strchr(rate, ',') == NULL);
  ASSERT(strstr(written, "0.0 MiB") != NULL);
  ASSERT_STR_EQ(tr_error_message(), "rate is 0.125");
  free(options);
  free(rate);
  free(written);
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static void test_the_locale_is_put_back(void)
{
  char text[16];
  locale_t own = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  locale_t before = uselocale(own);
  ASSERT_EQ(tr__format(text, sizeof text, "%.2f", 0.25), 4);
  bool is_same = uselocale((locale_t)0) == own;
  locale_t inner = tr__locale_begin();
  tr__locale_end(inner);
  is_same = is_same && uselocale((locale_t)0) == own;
  uselocale(before);
  ASSERT(is_same);
  ASSERT_STR_EQ(text, "0.25");
  ASSERT(uselocale((locale_t)0) == before);
}

static const tr_test tests[] = {
    TEST(test_the_log_has_a_decimal_point),
    TEST(test_what_ranks_compare_has_a_decimal_point),
    TEST(test_the_locale_is_put_back),
};

TEST_MAIN(tests)
