/* Loading a part of a model by a pattern of names. */
#include "checkpoint/checkpoint_impl.h"
#include "layer_helper.h"

#include <glob.h>

enum { MAX_VALUES = 128 };

static const char *path_of(const char *name)
{
  static char path[512];
  snprintf(path, sizeof path, "%s/%s", test_scratch(), name);
  return path;
}

/* conv1 (2, 1, 3, 3), conv2 (3, 2, 3, 3), fc (classes, 3) */
static tr_model *make_net(tr_context *ctx, int64_t classes)
{
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, tr_shape_of(3, (int64_t[]){1, 7, 7}));
  x = tr_relu(net, tr_conv2d(net, x,
                             &(tr_conv2d_opts){
                                 .out = 2, .kernel = 3, .name = "conv1"}));
  x = tr_relu(net, tr_conv2d(net, x,
                             &(tr_conv2d_opts){
                                 .out = 3, .kernel = 3, .name = "conv2"}));
  x = tr_global_avgpool2d(net, x);
  tr_cross_entropy(
      net, tr_linear(net, x, &(tr_linear_opts){.out = classes, .name = "fc"}));
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 2}));
  return net;
}

/* The old network's values: other ones than those of a fresh model. */
static void fill(tr_model *net, const char *name, float first)
{
  float values[MAX_VALUES];
  for (int i = 0; i < MAX_VALUES; i++) {
    values[i] = first + (float)i;
  }
  ASSERT(tr__store_param(&net->store, name)->count <= MAX_VALUES);
  ASSERT_OK(tr_model_set_param(net, name, values));
}

static float first_value(tr_model *net, const char *name)
{
  float values[MAX_VALUES];
  ASSERT_OK(tr_model_get_param(net, name, values));
  return values[0];
}

/* Saves a network of 5 classes, conv1 from 100 and conv2 from 200 on, and gives
 * the name of its sealed file. */
static const char *save_old(void)
{
  static char path[512];
  tr_context *ctx = make_context("cpu", TR_F32);
  tr_model *old = make_net(ctx, 5);
  fill(old, "conv1.weight", 100);
  fill(old, "conv1.bias", 150);
  fill(old, "conv2.weight", 200);
  fill(old, "conv2.bias", 250);
  fill(old, "fc.weight", 300);
  fill(old, "fc.bias", 350);
  snprintf(path, sizeof path, "%s", path_of("old"));
  ASSERT_OK(tr_checkpoint_save(ctx, path, &(tr_checkpoint){.model = old}));
  tr_model_destroy(&old);
  tr_context_destroy(&ctx);
  glob_t found;
  ASSERT_EQ(glob(path_of("old/step*.h5"), 0, NULL, &found), 0);
  snprintf(path, sizeof path, "%s", found.gl_pathv[found.gl_pathc - 1]);
  globfree(&found);
  return path;
}

static void check_fine_tuning(const char *device)
{
  const char *path = save_old();
  tr_context *ctx = make_context(device, TR_F32);
  tr_model *net = make_net(ctx, 3);
  float fc = first_value(net, "fc.weight");
  int num_loaded = -1;
  ASSERT_OK(tr_model_load_matching(
      net, path, &(tr_load_opts){.pattern = "conv*"}, &num_loaded));
  ASSERT_EQ(num_loaded, 4);
  ASSERT_NEAR(first_value(net, "conv1.weight"), 100, 0);
  ASSERT_NEAR(first_value(net, "conv1.bias"), 150, 0);
  ASSERT_NEAR(first_value(net, "conv2.weight"), 200, 0);
  ASSERT_NEAR(first_value(net, "fc.weight"), fc, 0);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static void test_only_what_matches_is_loaded_from_a_checkpoint(void)
{
  check_fine_tuning("cpu");
  check_fine_tuning("strict");
}

static void test_a_shape_that_differs_is_refused_with_both_sides(void)
{
  const char *path = save_old();
  tr_context *ctx = make_context("cpu", TR_F32);
  tr_model *net = make_net(ctx, 3);
  float before = first_value(net, "conv1.weight");
  int num_loaded = -1;
  ASSERT_FAILS(tr_model_load_matching(
                   net, path, &(tr_load_opts){.allow_missing = 1}, &num_loaded),
               TR_ESHAPE,
               "/params/fc.weight has (5, 3), the model expects (3, 3)");
  ASSERT_EQ(num_loaded, 0);
  ASSERT_NEAR(first_value(net, "conv1.weight"), before, 0);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

/* A network with a layer that the file does not have. */
static void test_what_is_missing_is_refused_or_left_alone(void)
{
  const char *path = save_old();
  tr_context *ctx = make_context("cpu", TR_F32);
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, tr_shape_of(1, (int64_t[]){3}));
  x = tr_linear(net, x, &(tr_linear_opts){.out = 5, .name = "fc"});
  tr_linear(net, x, &(tr_linear_opts){.out = 4, .name = "fc2"});
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
  float fc2 = first_value(net, "fc2.weight");
  int num_loaded;
  ASSERT_FAILS(tr_model_load_matching(net, path, NULL, &num_loaded),
               TR_EMISMATCH, "no link \"fc2.");
  ASSERT(first_value(net, "fc.weight") < 1);
  ASSERT_OK(tr_model_load_matching(
      net, path, &(tr_load_opts){.allow_missing = 1}, &num_loaded));
  ASSERT_EQ(num_loaded, 2);
  ASSERT_NEAR(first_value(net, "fc.weight"), 300, 0);
  ASSERT_NEAR(first_value(net, "fc.bias"), 350, 0);
  ASSERT_NEAR(first_value(net, "fc2.weight"), fc2, 0);
  ASSERT_OK(tr_model_load_matching(
      net, path, &(tr_load_opts){.pattern = "fc2*", .allow_missing = 1},
      &num_loaded));
  ASSERT_EQ(num_loaded, 0);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static void flip_byte(const char *path, long from_end)
{
  FILE *file = fopen(path, "r+b");
  ASSERT(file != NULL && fseek(file, -from_end, SEEK_END) == 0);
  int byte = fgetc(file);
  ASSERT(fseek(file, -from_end, SEEK_END) == 0);
  fputc(byte ^ 1, file);
  ASSERT_EQ(fclose(file), 0);
}

static void test_a_damaged_checkpoint_file_is_refused(void)
{
  const char *path = save_old();
  tr_context *ctx = make_context("cpu", TR_F32);
  tr_model *net = make_net(ctx, 5);
  ASSERT_OK(tr_model_load(net, path));
  flip_byte(path, 2000);
  ASSERT_FAILS(tr_model_load(net, path), TR_EDATA, "");
  ASSERT_FAILS(tr_model_load_matching(
                   net, path, &(tr_load_opts){.pattern = "conv1*"}, NULL),
               TR_EDATA, "");
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

typedef struct contents {
  unsigned char *bytes;
  size_t length;
} contents;

static contents read_contents(const char *path)
{
  contents c;
  ASSERT_OK(tr__read_file(tr__file_ops_system(), path, SIZE_MAX / 2, &c.bytes,
                          &c.length));
  return c;
}

static const char *write_contents(const char *name, contents c)
{
  const char *path = path_of(name);
  FILE *file = fopen(path, "wb");
  ASSERT(file != NULL && fwrite(c.bytes, 1, c.length, file) == c.length);
  ASSERT_EQ(fclose(file), 0);
  return path;
}

static void test_a_damaged_header_does_not_skip_the_seal(void)
{
  contents c = read_contents(save_old());
  tr_context *ctx = make_context("cpu", TR_F32);
  tr_model *net = make_net(ctx, 5);
  for (int bit = 0; bit < 64; bit++) {
    c.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    ASSERT_FAILS(tr_model_load(net, write_contents("flipped.h5", c)), TR_EDATA,
                 "header is damaged");
    c.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
  }
  ASSERT_OK(tr_model_load(net, write_contents("whole.h5", c)));
  memset(c.bytes, 0, TR__IMAGE_USER_BLOCK);
  ASSERT_FAILS(tr_model_load(net, write_contents("zeroed.h5", c)), TR_EDATA,
               "header is damaged");
  free(c.bytes);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static char last_line[1024];

static void keep_last(void *user, tr_log_level level, const char *line)
{
  (void)user;
  (void)level;
  snprintf(last_line, sizeof last_line, "%s", line);
}

/* As other programs write, with a text of their own in front. */
static void test_a_user_block_of_another_program_is_told(void)
{
  tr_context *ctx;
  ASSERT_OK(tr_context_create_auto(&(tr_context_opts){.log = keep_last}, &ctx));
  tr_model *net = make_net(ctx, 5);
  ASSERT_OK(tr_checkpoint_save(ctx, path_of("foreign"),
                               &(tr_checkpoint){.model = net}));
  const tr__checkpoint_cache *cache = net->attachment.data;
  contents c = {cache->image->bytes, cache->image->length};
  strcpy((char *)c.bytes, "MATLAB 7.3 MAT-file");
  ASSERT_OK(tr_model_load(net, write_contents("matlab.h5", c)));
  ASSERT(strstr(last_line, "matlab.h5: has a user block that is no seal"));
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static void test_patterns_without_a_match_are_refused(void)
{
  tr_context *ctx = make_context("cpu", TR_F32);
  tr_model *net = make_net(ctx, 5);
  ASSERT_FAILS(tr_model_load_matching(net, "x.h5",
                                      &(tr_load_opts){.pattern = "bn*"}, NULL),
               TR_EINVAL, "no parameter matches \"bn*\"; there are conv1.bias");
  ASSERT_FAILS(tr_model_load_matching(net, path_of("none.h5"), NULL, NULL),
               TR_ENOINPUT, "none.h5");
  tr_model_destroy(&net);
  ASSERT_OK(tr_model_create(ctx, &net));
  ASSERT_FAILS(tr_model_load_matching(net, "x.h5", NULL, NULL), TR_ESTATE,
               "before tr_model_build()");
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static const tr_test tests[] = {
    TEST(test_only_what_matches_is_loaded_from_a_checkpoint),
    TEST(test_a_shape_that_differs_is_refused_with_both_sides),
    TEST(test_what_is_missing_is_refused_or_left_alone),
    TEST(test_a_damaged_checkpoint_file_is_refused),
    TEST(test_a_damaged_header_does_not_skip_the_seal),
    TEST(test_a_user_block_of_another_program_is_told),
    TEST(test_patterns_without_a_match_are_refused),
};

TEST_MAIN(tests)
