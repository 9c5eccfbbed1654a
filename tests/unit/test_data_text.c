/* Texts: which windows come, how characters are numbered, what is refused. */
#include "data_helper.h"

#include <train/train.h>

static const char letters[] = "zebra and bee, and zebra; bee and a zoo, eh.";

static const char *write_text(const char *name, const char *text, size_t count)
{
  static char path[512];
  snprintf(path, sizeof path, "%s/%s", test_scratch(), name);
  FILE *file = fopen(path, "wb");
  ASSERT(file != NULL);
  ASSERT_EQ(fwrite(text, 1, count, file), count);
  fclose(file);
  return path;
}

static tr_dataset *
open_text(tr_context *ctx, const char *split, int64_t context, int64_t stride)
{
  const char *path = write_text("text", letters, sizeof letters - 1);
  const tr_text_opts opts = {
      .context = context, .stride = stride, .split = split};
  tr_dataset *data;
  ASSERT_OK(tr_text_open(ctx, path, &opts, &data));
  return data;
}

/* The characters of a window, and of its targets, from `begin` on. */
static void
check_window(const tr_dataset *data, int64_t id, int64_t context, int64_t begin)
{
  int32_t x[64], y[64];
  ASSERT_OK(tr_dataset_read(data, &id, 1, x, y));
  for (int64_t t = 0; t < context; t++) {
    ASSERT_EQ(tr_text_code(data, x[t]), letters[begin + t]);
    ASSERT_EQ(tr_text_code(data, y[t]), letters[begin + t + 1]);
  }
}

static void test_windows_cover_both_parts_of_the_text(void)
{
  alone a;
  tr_context *ctx = alone_init(&a, 0, 1, TR_F32);
  int64_t length = sizeof letters - 1, cut = length * 9 / 10;
  for (int64_t stride = 0; stride <= 3; stride++) {
    for (int part = 0; part < 2; part++) {
      int64_t begin = part == 0 ? 0 : cut, end = part == 0 ? cut : length;
      tr_dataset *data =
          open_text(ctx, part == 0 ? "train" : "test", 4, stride);
      int64_t step = stride > 0 ? stride : 4;
      ASSERT_EQ(tr_dataset_num_samples(data), (end - begin - 5) / step + 1);
      for (int64_t i = 0; i < tr_dataset_num_samples(data); i++) {
        check_window(data, i, 4, begin + i * step);
      }
      tr_dataset_destroy(&data);
    }
  }
}

static void test_ids_follow_the_codes_of_the_whole_file(void)
{
  alone a;
  tr_dataset *data = open_text(alone_init(&a, 0, 1, TR_F32), "test", 2, 0);
  int64_t classes = tr_dataset_num_classes(data);
  ASSERT(classes > 10);
  for (int64_t id = 1; id < classes; id++) {
    ASSERT(tr_text_code(data, id) > tr_text_code(data, id - 1));
  }
  ASSERT_EQ(tr_text_code(data, 0), ' ');
  ASSERT_EQ(tr_text_code(data, classes), -1);
  ASSERT_EQ(tr_text_code(data, -1), -1);
  ASSERT_EQ(tr_dataset_target_values(data), 2);
  tr_dataset_destroy(&data);
}

static void test_every_byte_is_a_character(void)
{
  alone a;
  char bytes[2560];
  for (size_t i = 0; i < sizeof bytes; i++) {
    bytes[i] = (char)(255 - i % 256);
  }
  tr_dataset *data;
  const tr_text_opts opts = {.context = 7, .split = "train"};
  ASSERT_OK(tr_text_open(alone_init(&a, 0, 1, TR_F64),
                         write_text("bytes", bytes, sizeof bytes), &opts,
                         &data));
  ASSERT_EQ(tr_dataset_num_classes(data), 256);
  int32_t x[7], y[7];
  ASSERT_OK(tr_dataset_read(data, (int64_t[]){0}, 1, x, y));
  ASSERT_EQ(x[0], 255);
  ASSERT_EQ(tr_text_code(data, 255), 255);
  tr_dataset_destroy(&data);
}

static void test_bad_texts_and_options_are_refused(void)
{
  alone a;
  tr_context *ctx = alone_init(&a, 0, 1, TR_F32);
  const char *path = write_text("short", "abcdefghij", 10);
  tr_dataset *data;
  tr_text_opts opts = {.context = 4, .split = "test"};
  ASSERT_FAILS(tr_text_open(ctx, path, &opts, &data), TR_EDATA,
               "short (test): 1 characters, expected more than a context of 4");
  ASSERT(data == NULL);
  opts.split = "train";
  opts.context = 9;
  ASSERT_FAILS(tr_text_open(ctx, path, &opts, &data), TR_EDATA, "(train): 9");
  opts.context = 8;
  ASSERT_OK(tr_text_open(ctx, path, &opts, &data));
  ASSERT_EQ(tr_dataset_num_samples(data), 1);
  tr_dataset_destroy(&data);
  opts.context = 0;
  ASSERT_FAILS(tr_text_open(ctx, path, &opts, &data), TR_EINVAL,
               "context is 0");
  opts = (tr_text_opts){.context = 4, .stride = -1, .split = "train"};
  ASSERT_FAILS(tr_text_open(ctx, path, &opts, &data), TR_EINVAL,
               "stride is -1");
  opts = (tr_text_opts){.context = 4, .split = "dev"};
  ASSERT_FAILS(tr_text_open(ctx, path, &opts, &data), TR_EINVAL,
               "split is \"dev\"");
  opts.split = "train";
  ASSERT_FAILS(tr_text_open(ctx, "/no/such/text", &opts, &data), TR_ENOINPUT,
               "/no/such/text");
  ASSERT_FAILS(tr_text_open(ctx, test_scratch(), &opts, &data), TR_EDATA,
               "expected a regular file");
  ASSERT_FAILS(tr_text_open(ctx, write_text("empty", "", 0), &opts, &data),
               TR_EDATA, "0 characters");
  ASSERT_FAILS(tr_text_open(ctx, path, NULL, &data), TR_EINVAL, "options");
}

/* A batch of the loader goes through a model of ids and a loss per token. */
static void test_a_model_learns_what_follows_a_character(void)
{
  tr_context *ctx;
  ASSERT_OK(tr_context_create_auto(&(tr_context_opts){.threads = 1}, &ctx));
  tr_dataset *data = open_text(ctx, "train", 4, 1);
  tr_loader *loader;
  const tr_loader_opts opts = {.batch = 6, .shuffle = 1};
  ASSERT_OK(tr_loader_create(ctx, data, &opts, &loader));
  int64_t classes = tr_dataset_num_classes(data);
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input_ids(net, tr_dataset_shape(data));
  x = tr_embedding(net, x,
                   &(tr_embedding_opts){.num = classes, .out = classes});
  tr_cross_entropy(net, x);
  ASSERT_OK(tr_model_build(net, NULL));
  tr_optimizer *opt;
  ASSERT_OK(tr_sgd_create(net, &(tr_sgd_opts){.lr = 8}, &opt));
  double loss = 0, first = 0;
  tr_batch batch;
  while (tr_loader_epoch(loader) < 30) {
    while (tr_loader_next(loader, &batch)) {
      ASSERT_EQ(batch.target_values[0], 4);
      ASSERT_OK(tr_model_forward(net, &batch));
      ASSERT_OK(tr_model_backward(net));
      ASSERT_OK(tr_model_allreduce_grads(net));
      ASSERT_OK(tr_model_loss(net, &loss));
      first = first == 0 ? loss : first;
      ASSERT_OK(tr_optimizer_step(opt));
    }
    ASSERT_OK(tr_loader_status(loader));
  }
  ASSERT(first > 2 && loss < 1.2);
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
  tr_loader_destroy(&loader);
  tr_dataset_destroy(&data);
  tr_context_destroy(&ctx);
}

static const tr_test tests[] = {
    TEST(test_windows_cover_both_parts_of_the_text),
    TEST(test_ids_follow_the_codes_of_the_whole_file),
    TEST(test_every_byte_is_a_character),
    TEST(test_bad_texts_and_options_are_refused),
    TEST(test_a_model_learns_what_follows_a_character),
};

TEST_MAIN(tests)
