/* What a model refuses, with which words. */
#include "layer_helper.h"

#define HUGE_EXTENT ((int64_t)1 << 40)

static tr_node vector(tr_model *net, int64_t extent)
{
  return tr_input(net, (tr_shape){1, {extent}});
}

static tr_node image(tr_model *net, int64_t height, int64_t width)
{
  return tr_input(net, (tr_shape){3, {3, height, width}});
}

static void linear_on_scalar(tr_model *net)
{
  tr_linear(net, tr_input(net, (tr_shape){0, {0}}),
            &(tr_linear_opts){.out = 2, .name = "fc"});
}

static void linear_without_outputs(tr_model *net)
{
  tr_linear(net, vector(net, 4), &(tr_linear_opts){.out = -3});
}

static void linear_too_large(tr_model *net)
{
  tr_linear(net, vector(net, HUGE_EXTENT),
            &(tr_linear_opts){.out = HUGE_EXTENT});
}

static void output_too_large(tr_model *net)
{
  tr_linear(net, vector(net, 1),
            &(tr_linear_opts){.out = (int64_t)1 << 58, .no_bias = 1});
}

static void parameters_too_large(tr_model *net)
{
  tr_node x = vector(net, (int64_t)1 << 29);
  for (int i = 0; i < 16; i++) {
    x = tr_linear(net, x, &(tr_linear_opts){.out = (int64_t)1 << 29});
  }
}

static void activations_too_large(tr_model *net)
{
  tr_node x = image(net, (int64_t)1 << 26, (int64_t)1 << 28);
  for (int i = 0; i < 30; i++) {
    x = tr_relu(net, x);
    tr_model_keep(net, x);
  }
}

static void conv_on_vector(tr_model *net)
{
  tr_conv2d(net, vector(net, 7), &(tr_conv2d_opts){.out = 2, .kernel = 3});
}

static void conv_kernel_too_large(tr_model *net)
{
  tr_conv2d(net, image(net, 5, 9),
            &(tr_conv2d_opts){.out = 2, .kernel = 8, .padding = 1});
}

static void conv_negative_stride(tr_model *net)
{
  tr_conv2d(net, image(net, 5, 9),
            &(tr_conv2d_opts){.out = 2, .kernel = 3, .stride = -2});
}

static void conv_negative_padding(tr_model *net)
{
  tr_conv2d(net, image(net, 5, 9),
            &(tr_conv2d_opts){.out = 2, .kernel = 3, .padding = -1});
}

static void conv_without_kernel(tr_model *net)
{
  tr_conv2d(net, image(net, 5, 9), &(tr_conv2d_opts){.out = 2});
}

static void conv_without_outputs(tr_model *net)
{
  tr_conv2d(net, image(net, 5, 9), &(tr_conv2d_opts){.kernel = 2});
}

static void conv_huge_padding(tr_model *net)
{
  tr_conv2d(net, image(net, 5, 9),
            &(tr_conv2d_opts){.out = 2, .kernel = 2, .padding = INT64_MAX / 2});
}

static void conv_output_too_large(tr_model *net)
{
  tr_conv2d(net, image(net, 5, 9),
            &(tr_conv2d_opts){.out = 2, .kernel = 2, .padding = HUGE_EXTENT});
}

static void conv_work_too_large(tr_model *net)
{
  tr_conv2d(net, image(net, (int64_t)1 << 26, (int64_t)1 << 28),
            &(tr_conv2d_opts){.out = 1, .kernel = (int64_t)1 << 20});
}

static void pool_padding_too_large(tr_model *net)
{
  tr_maxpool2d(net, image(net, 9, 9),
               &(tr_pool2d_opts){.kernel = 3, .padding = 2});
}

static void pool_without_kernel(tr_model *net)
{
  tr_maxpool2d(net, image(net, 9, 9), &(tr_pool2d_opts){.kernel = 0});
}

static void pool_on_vector(tr_model *net)
{
  tr_maxpool2d(net, vector(net, 9), &(tr_pool2d_opts){.kernel = 2});
}

static void pool_index_too_large(tr_model *net)
{
  tr_maxpool2d(net, image(net, 1 << 20, 1 << 20),
               &(tr_pool2d_opts){.kernel = 2});
}

static void average_of_vector(tr_model *net)
{
  tr_global_avgpool2d(net, vector(net, 9));
}

static void loss_of_scalar(tr_model *net)
{
  tr_cross_entropy(net, tr_input(net, (tr_shape){0, {0}}));
}

static void add_of_unequal(tr_model *net)
{
  tr_add(net, vector(net, 3), vector(net, 4));
}

static void mul_of_unequal(tr_model *net)
{
  tr_mul(net, image(net, 2, 2), vector(net, 4));
}

static void concat_of_nothing(tr_model *net)
{
  vector(net, 3);
  tr_concat(net, NULL, 0, 0);
}

static void concat_of_nine(tr_model *net)
{
  tr_node x = vector(net, 3);
  tr_concat(net, (tr_node[]){x, x, x, x, x, x, x, x, x}, 9, 0);
}

static void concat_of_no_extent(tr_model *net)
{
  tr_node x = image(net, 2, 2);
  tr_concat(net, (tr_node[]){x, x}, 2, 3);
}

static void concat_of_unequal(tr_model *net)
{
  tr_concat(net, (tr_node[]){image(net, 2, 2), image(net, 2, 4)}, 2, 1);
}

static void reshape_of_other_count(tr_model *net)
{
  tr_reshape(net, vector(net, 7), (tr_shape){2, {2, 3}});
}

static void reshape_of_two_open(tr_model *net)
{
  tr_reshape(net, vector(net, 7), (tr_shape){2, {-1, -1}});
}

static void reshape_of_no_multiple(tr_model *net)
{
  tr_reshape(net, vector(net, 7), (tr_shape){2, {2, -1}});
}

static void reshape_of_many(tr_model *net)
{
  tr_reshape(net, vector(net, 7), tr_shape_of(99, NULL));
}

static void transpose_twice(tr_model *net)
{
  tr_transpose(net, image(net, 2, 2), &(tr_transpose_opts){{0, 0, 2}});
}

static void transpose_outside(tr_model *net)
{
  tr_transpose(net, image(net, 2, 2), &(tr_transpose_opts){{3, 0, 2}});
}

static void upsample_of_vector(tr_model *net)
{
  tr_upsample2d(net, vector(net, 3), 2);
}

static void upsample_by_nothing(tr_model *net)
{
  tr_upsample2d(net, image(net, 2, 2), 0);
}

static void upsample_of_image(tr_model *net)
{
  tr_upsample1d(net, image(net, 2, 2), 2);
}

static void relu_of_ids(tr_model *net)
{
  tr_relu(net, tr_input_ids(net, (tr_shape){1, {4}}));
}

static void loss_of_a_loss(tr_model *net)
{
  tr_node x = tr_linear(net, vector(net, 4), &(tr_linear_opts){.out = 3});
  tr_mse(net, tr_cross_entropy(net, x), NULL);
}

static void embedding_of_numbers(tr_model *net)
{
  tr_embedding(net, vector(net, 4), &(tr_embedding_opts){.num = 3, .out = 2});
}

static void embedding_of_nothing(tr_model *net)
{
  tr_node ids = tr_input_ids(net, (tr_shape){1, {4}});
  tr_embedding(net, ids, &(tr_embedding_opts){.out = 2});
}

static void attention_of_image(tr_model *net)
{
  tr_attention(net, image(net, 2, 3), &(tr_attention_opts){.heads = 1});
}

static tr_node sequence(tr_model *net, int64_t width)
{
  return tr_input(net, (tr_shape){2, {2, width}});
}

static void attention_of_no_thirds(tr_model *net)
{
  tr_attention(net, sequence(net, 4), &(tr_attention_opts){.heads = 1});
}

static void attention_of_odd_heads(tr_model *net)
{
  tr_attention(net, sequence(net, 12), &(tr_attention_opts){.heads = 3});
}

static void two_weighing_losses(tr_model *net)
{
  tr_node x = vector(net, 3);
  tr_cross_entropy(net, x);
  tr_cross_entropy_with(net, x, &(tr_cross_entropy_opts){.ignores = 1});
}

static void five_losses(tr_model *net)
{
  tr_node x = vector(net, 3);
  for (int i = 0; i < 5; i++) {
    tr_mse(net, x, NULL);
  }
}

static void negative_loss_weight(tr_model *net)
{
  tr_mae(net, vector(net, 3), &(tr_loss_opts){.weight = -1, .name = "l"});
}

static void too_smooth(tr_model *net)
{
  tr_cross_entropy_with(net, vector(net, 3),
                        &(tr_cross_entropy_opts){.label_smoothing = 1.5});
}

static void two_class_weights(tr_model *net)
{
  const double weights[] = {1, 2};
  tr_cross_entropy_with(net, vector(net, 3),
                        &(tr_cross_entropy_opts){.class_weights = weights,
                                                 .num_class_weights = 2});
}

static void no_pos_weights(tr_model *net)
{
  tr_bce_with_logits(net, vector(net, 3), &(tr_bce_opts){.num_pos_weight = 3});
}

static void negative_delta(tr_model *net)
{
  tr_huber(net, vector(net, 3), &(tr_huber_opts){.delta = -1});
}

static void name_taken(tr_model *net)
{
  tr_linear_opts opts = {.out = 2, .name = "fc"};
  tr_linear(net, tr_linear(net, vector(net, 3), &opts), &opts);
}

static void name_empty(tr_model *net)
{
  tr_linear(net, vector(net, 3), &(tr_linear_opts){.out = 2, .name = ""});
}

static void name_with_slash(tr_model *net)
{
  tr_linear(net, vector(net, 3), &(tr_linear_opts){.out = 2, .name = "a/b"});
}

static void name_too_long(tr_model *net)
{
  char name[200];
  memset(name, 'n', sizeof name);
  name[199] = '\0';
  tr_linear(net, vector(net, 3), &(tr_linear_opts){.out = 2, .name = name});
}

static void node_of_another_model(tr_model *net)
{
  vector(net, 3);
  tr_relu(net, (tr_node){7});
}

static void failed_node(tr_model *net)
{
  tr_relu(net, (tr_node){-1});
}

static void keep_of_no_node(tr_model *net)
{
  tr_model_keep(net, (tr_node){vector(net, 3).index + 1});
}

static void no_input(tr_model *net)
{
  (void)net;
}

static void five_inputs(tr_model *net)
{
  for (int i = 0; i < 5; i++) {
    vector(net, 1 + i);
  }
}

static void negative_input(tr_model *net)
{
  tr_input(net, (tr_shape){2, {3, -4}});
}

static void empty_input(tr_model *net)
{
  vector(net, 0);
}

static void input_of_many_extents(tr_model *net)
{
  tr_input(net, (tr_shape){6, {1, 1, 1, 1, 1, 1}});
}

static void input_of_no_shape(tr_model *net)
{
  tr_input(net, tr_shape_of(99, NULL));
}

static void input_too_large(tr_model *net)
{
  image(net, HUGE_EXTENT, HUGE_EXTENT);
}

static void first_of_two_errors(tr_model *net)
{
  tr_node x = tr_relu(net, (tr_node){5});
  tr_linear(net, x, &(tr_linear_opts){.out = 2, .name = "a/b"});
}

typedef struct bad_model {
  void (*add)(tr_model *net);
  tr_status status;
  const char *texts[3];
} bad_model;

static const bad_model bad_models[] = {
    {linear_on_scalar, TR_ESHAPE, {"linear \"fc\"", "one number"}},
    {linear_without_outputs, TR_EINVAL, {"linear_1", "-3", "at least 1"}},
    {linear_too_large, TR_ESHAPE, {"linear_1", "weight", "too large"}},
    {output_too_large, TR_ESHAPE, {"linear_1", "3 samples", "too large"}},
    {parameters_too_large, TR_ESHAPE, {"parameters", "too large"}},
    {activations_too_large, TR_ESHAPE, {"activations", "too large"}},
    {conv_on_vector, TR_ESHAPE, {"conv2d_1", "(7)", "(C, H, W)"}},
    {conv_kernel_too_large,
     TR_ESHAPE,
     {"conv2d_1", "kernel of 8", "(3, 5, 9) with padding 1"}},
    {conv_negative_stride, TR_EINVAL, {"conv2d_1", "stride -2", "at least"}},
    {conv_negative_padding, TR_EINVAL, {"conv2d_1", "padding -1", "at least"}},
    {conv_without_kernel, TR_EINVAL, {"conv2d_1", "kernel is 0", "at least"}},
    {conv_without_outputs, TR_EINVAL, {"conv2d_1", "out is 0", "at least 1"}},
    {conv_huge_padding, TR_ESHAPE, {"conv2d_1", "padding"}},
    {conv_output_too_large, TR_ESHAPE, {"conv2d_1", "too large"}},
    {conv_work_too_large, TR_ESHAPE, {"conv2d_1", "too large"}},
    {pool_padding_too_large,
     TR_EINVAL,
     {"maxpool2d_1", "padding is 2", "half the kernel, 1"}},
    {pool_without_kernel, TR_EINVAL, {"maxpool2d_1", "kernel is 0"}},
    {pool_on_vector, TR_ESHAPE, {"maxpool2d_1", "(9)", "(C, H, W)"}},
    {pool_index_too_large, TR_ESHAPE, {"maxpool2d_1", "1048576 x 1048576"}},
    {average_of_vector, TR_ESHAPE, {"global_avgpool2d_1", "(9)", "(C, H, W)"}},
    {loss_of_scalar, TR_ESHAPE, {"cross_entropy_1", "per class"}},
    {add_of_unequal, TR_ESHAPE, {"add_1", "(3) and (4)", "equal"}},
    {mul_of_unequal, TR_ESHAPE, {"mul_1", "(3, 2, 2) and (4)", "equal"}},
    {concat_of_nothing, TR_EINVAL, {"concat_1", "no inputs"}},
    {concat_of_nine, TR_EINVAL, {"concat_1", "9 inputs", "at most 8"}},
    {concat_of_no_extent, TR_EINVAL, {"concat_1", "axis is 3", "0 to 2"}},
    {concat_of_unequal, TR_ESHAPE, {"concat_1", "(3, 2, 2)", "(3, 2, 4)"}},
    {reshape_of_other_count, TR_ESHAPE, {"reshape_1", "(7)", "(2, 3)"}},
    {reshape_of_two_open, TR_ESHAPE, {"reshape_1", "(7)", "(-1, -1)"}},
    {reshape_of_no_multiple, TR_ESHAPE, {"reshape_1", "(7)", "(2, -1)"}},
    {reshape_of_many, TR_ESHAPE, {"reshape_1", "so many axes"}},
    {relu_of_ids, TR_EINVAL, {"relu_1", "integers", "tr_embedding()"}},
    {loss_of_a_loss, TR_EINVAL, {"cross_entropy_1", "is a loss"}},
    {embedding_of_numbers, TR_EINVAL, {"embedding_1", "tr_input_ids()"}},
    {embedding_of_nothing,
     TR_EINVAL,
     {"embedding_1", "num is 0", "at least 1"}},
    {attention_of_image, TR_ESHAPE, {"attention_1", "(3, 2, 3)", "(T, 3 D)"}},
    {attention_of_no_thirds, TR_ESHAPE, {"attention_1", "(2, 4)", "(T, 3 D)"}},
    {attention_of_odd_heads, TR_EINVAL, {"attention_1", "heads is 3", "D = 4"}},
    {upsample_of_vector, TR_ESHAPE, {"upsample2d_1", "(3)", "(C, H, W)"}},
    {upsample_of_image, TR_ESHAPE, {"upsample1d_1", "(C, L)"}},
    {upsample_by_nothing, TR_EINVAL, {"upsample2d_1", "scale is 0"}},
    {transpose_twice, TR_EINVAL, {"transpose_1", "order[1] is 0", "once"}},
    {transpose_outside, TR_EINVAL, {"transpose_1", "order[0] is 3"}},
    {two_weighing_losses,
     TR_EUNSUPPORTED,
     {"cross_entropy_2", "the loss \"cross_entropy_1\" too"}},
    {five_losses, TR_EINVAL, {"mse_5", "at most 4 losses"}},
    {negative_loss_weight, TR_EINVAL, {"mae \"l\"", "weight is -1"}},
    {too_smooth, TR_EINVAL, {"cross_entropy_1", "label_smoothing is 1.5"}},
    {two_class_weights,
     TR_ESHAPE,
     {"cross_entropy_1", "2 class weights", "3 classes"}},
    {no_pos_weights, TR_ESHAPE, {"bce_with_logits_1", "3 places"}},
    {negative_delta, TR_EINVAL, {"huber_1", "delta is -1"}},
    {name_taken, TR_EINVAL, {"\"fc\" is taken by a linear"}},
    {name_empty, TR_EINVAL, {"linear", "is empty"}},
    {name_with_slash, TR_EINVAL, {"linear", "a/b", "has a '/'"}},
    {name_too_long, TR_EINVAL, {"linear", "nnnn", "too long"}},
    {node_of_another_model, TR_EINVAL, {"relu_1", "no node of this model"}},
    {failed_node, TR_EINVAL, {"relu_1", "no node of this model"}},
    {keep_of_no_node, TR_EINVAL, {"tr_model_keep", "no node"}},
    {no_input, TR_EINVAL, {"no tr_input()"}},
    {five_inputs, TR_EINVAL, {"input_5", "at most 4"}},
    {negative_input, TR_ESHAPE, {"input_1", "positive extents"}},
    {empty_input, TR_ESHAPE, {"input_1", "positive extents"}},
    {input_of_many_extents, TR_ESHAPE, {"input_1", "0 to 5", "6 axes"}},
    {input_of_no_shape, TR_ESHAPE, {"input_1", "0 to 5"}},
    {input_too_large, TR_ESHAPE, {"input_1", "positive extents"}},
    {first_of_two_errors, TR_EINVAL, {"relu_1", "no node of this model"}},
};

enum { NUM_BAD_MODELS = sizeof bad_models / sizeof bad_models[0] };

/* A model that could not be built stays refused, for the same reason. */
static void check_bad_model(tr_context *ctx, int number)
{
  const bad_model *bad = &bad_models[number];
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  bad->add(net);
  for (int attempt = 0; attempt < 2; attempt++) {
    tr_status status =
        tr_model_build(net, &(tr_build_opts){.max_local_batch = 3});
    for (int i = 0; i < 3; i++) {
      const char *text = bad->texts[i] != NULL ? bad->texts[i] : "";
      if (status != bad->status || strstr(tr_error_message(), text) == NULL) {
        test_fail(__FILE__, __LINE__,
                  "model %d, attempt %d: %s \"%s\", expected %s \"...%s...\"",
                  number, attempt, tr_status_name(status), tr_error_message(),
                  tr_status_name(bad->status), text);
      }
    }
  }
  ASSERT_EQ(tr_model_num_params(net), 0);
  tr_model_destroy(&net);
  ASSERT(net == NULL);
}

static void check_bad_models(const char *device, tr_dtype dtype)
{
  tr_context *ctx = make_context(device, dtype);
  for (int i = 0; i < NUM_BAD_MODELS; i++) {
    check_bad_model(ctx, i);
  }
  tr_context_destroy(&ctx);
}

static void test_bad_models_are_refused_by_name(void)
{
  check_bad_models("reference", TR_F64);
  check_bad_models("cpu", TR_F32);
  check_bad_models("strict", TR_F32);
}

static void test_a_batch_size_must_be_known(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  vector(net, 3);
  ASSERT_FAILS(tr_model_build(net, NULL), TR_EINVAL, "no batch size is known");
  ASSERT_FAILS(tr_model_build(net, &(tr_build_opts){.max_local_batch = -1}),
               TR_EINVAL, "batch is -1");
  ASSERT_FAILS(
      tr_model_build(net, &(tr_build_opts){.max_local_batch = INT64_MAX / 2}),
      TR_ESHAPE, "too large");
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

/* A backend with a mebibyte of memory. */

static const tr__backend_type *whole_type;

static tr_status small_alloc(tr__backend *backend, size_t bytes, void **out)
{
  *out = NULL;
  TR_CHECK(bytes <= 1 << 20, TR_ENOMEM, "no memory");
  return whole_type->alloc(backend, bytes, out);
}

static void test_too_little_memory_is_refused_with_the_bytes(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  whole_type = ctx->backend->type;
  tr__backend_type type = *whole_type;
  type.alloc = small_alloc;
  ctx->backend->type = &type;
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  vector(net, 1024);
  tr_build_opts opts = {.max_local_batch = 1024};
  for (int attempt = 0; attempt < 2; attempt++) {
    ASSERT_FAILS(tr_model_build(net, &opts), TR_ENOMEM,
                 "no memory for 8396800 bytes of activations for 1024 samples");
  }
  tr_model_destroy(&net);
  ctx->backend->type = whole_type;
  tr_context_destroy(&ctx);
}

/* Calls in the wrong order. */

static tr_model *small_model(tr_context *ctx, bool has_loss)
{
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = vector(net, 2);
  x = tr_linear(net, x, &(tr_linear_opts){.out = 2, .name = "fc"});
  if (has_loss) {
    tr_cross_entropy(net, x);
  }
  return net;
}

static const double sample[2] = {1, 2};
static const int32_t target[1] = {1};
static const tr_batch one = {
    .count = 1, .global_count = 1, .inputs = {sample}, .targets = {target}};

static tr_status no_visit(void *user, const tr_param_info *info)
{
  (void)user;
  return TR_FAIL(TR_EDATA, "saw %s", info->name);
}

static void test_nothing_works_before_build(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  tr_model *net = small_model(ctx, true);
  double values[4];
  uint64_t hash;
  tr_optimizer *opt;
  ASSERT_FAILS(tr_model_forward(net, &one), TR_ESTATE, "tr_model_build()");
  ASSERT_FAILS(tr_model_backward(net), TR_ESTATE, "tr_model_forward()");
  ASSERT_FAILS(tr_model_allreduce_grads(net), TR_ESTATE, "backward");
  ASSERT_FAILS(tr_model_loss(net, values), TR_ESTATE, "forward");
  ASSERT_FAILS(tr_model_accuracy(net, values), TR_ESTATE, "forward");
  ASSERT_FAILS(tr_model_get_param(net, "fc.weight", values), TR_ESTATE,
               "tr_model_get_param before tr_model_build()");
  ASSERT_FAILS(tr_model_get_grad(net, "fc.weight", values), TR_ESTATE,
               "tr_model_get_grad");
  ASSERT_FAILS(tr_model_set_param(net, "fc.weight", values), TR_ESTATE,
               "tr_model_set_param");
  ASSERT_FAILS(tr_model_visit(net, no_visit, NULL), TR_ESTATE, "build");
  ASSERT_FAILS(tr_model_params_hash(net, &hash), TR_ESTATE, "build");
  ASSERT_FAILS(tr_model_print_plan(net, stdout), TR_ESTATE, "build");
  ASSERT_FAILS(tr_sgd_create(net, &(tr_sgd_opts){.lr = 1}, &opt), TR_ESTATE,
               "tr_sgd_create before tr_model_build()");
  ASSERT(opt == NULL);
  ASSERT_EQ(tr_model_shape(net, (tr_node){0}).ndim, -1);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static void test_calls_out_of_order_are_refused(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  tr_model *net = small_model(ctx, true);
  tr_optimizer *opt;
  double values[4];
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
  ASSERT_FAILS(tr_model_build(net, NULL), TR_ESTATE, "called twice");
  ASSERT_OK(tr_sgd_create(net, &(tr_sgd_opts){.lr = 0.1}, &opt));
  ASSERT_FAILS(tr_model_backward(net), TR_ESTATE, "before tr_model_forward()");
  ASSERT_FAILS(tr_model_loss(net, values), TR_ESTATE, "tr_model_forward()");
  ASSERT_FAILS(tr_model_get_grad(net, "fc.bias", values), TR_ESTATE,
               "before tr_model_backward()");
  ASSERT_FAILS(tr_optimizer_step(opt), TR_ESTATE, "tr_model_backward()");
  ASSERT_FAILS(tr_model_allreduce_grads(net), TR_ESTATE, "tr_model_backward()");
  ASSERT_OK(tr_model_forward(net, &one));
  ASSERT_FAILS(tr_optimizer_step(opt), TR_ESTATE, "tr_model_backward()");
  ASSERT_OK(tr_model_backward(net));
  ASSERT_FAILS(tr_model_backward(net), TR_ESTATE, "tr_model_forward()");
  ASSERT_OK(tr_model_allreduce_grads(net));
  ASSERT_FAILS(tr_model_allreduce_grads(net), TR_ESTATE, "called twice");
  ASSERT_OK(tr_model_forward(net, &one));
  ASSERT_FAILS(tr_model_backward(net), TR_ESTATE, "tr_optimizer_step()");
  ASSERT_OK(tr_optimizer_step(opt));
  ASSERT_FAILS(tr_optimizer_step(opt), TR_ESTATE, "tr_model_backward()");
  ASSERT_OK(tr_model_backward(net));
  ASSERT_EQ(tr_relu(net, (tr_node){0}).index, -1);
  tr_optimizer_destroy(&opt);
  tr_optimizer_destroy(&opt);
  tr_optimizer_destroy(NULL);
  tr_model_destroy(&net);
  tr_model_destroy(&net);
  tr_model_destroy(NULL);
  tr_context_destroy(&ctx);
}

static void test_a_model_without_loss_only_goes_forward(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  tr_model *net = small_model(ctx, false);
  double loss;
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
  ASSERT_OK(tr_model_forward(net, &one));
  ASSERT_FAILS(tr_model_backward(net), TR_ESTATE, "has no loss");
  ASSERT_FAILS(tr_model_loss(net, &loss), TR_ESTATE, "without a loss");
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static void test_bad_batches_are_refused(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  tr_model *net = small_model(ctx, true);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 2}));
  tr_batch batch = one;
  batch.count = batch.global_count = 3;
  ASSERT_FAILS(tr_model_forward(net, &batch), TR_EINVAL,
               "batch has 3 samples, expected 0 to 2");
  batch = one;
  batch.count = -1;
  ASSERT_FAILS(tr_model_forward(net, &batch), TR_EINVAL, "-1 samples");
  batch = one;
  batch.global_count = 0;
  ASSERT_FAILS(tr_model_forward(net, &batch), TR_EINVAL, "global_count is 0");
  batch = one;
  batch.inputs[0] = NULL;
  ASSERT_FAILS(tr_model_forward(net, &batch), TR_EINVAL, "inputs[0]");
  batch = one;
  batch.target_values[0] = 3;
  ASSERT_FAILS(tr_model_forward(net, &batch), TR_EINVAL,
               "targets[0] has 3 classes per sample");
  batch = one;
  batch.targets[0] = NULL;
  ASSERT_FAILS(tr_model_forward(net, &batch), TR_EINVAL, "targets[0]");
  batch = one;
  batch.input_bytes[0] = 3;
  ASSERT_FAILS(tr_model_forward(net, &batch), TR_ESHAPE,
               "inputs[0] has 3 bytes per sample");
  batch = one;
  batch.target_bytes[0] = 8;
  ASSERT_FAILS(tr_model_forward(net, &batch), TR_ESHAPE,
               "targets[0] has 8 bytes per sample");
  double values[4];
  ASSERT_FAILS(tr_model_get_param(net, "fc.wait", values), TR_EINVAL,
               "\"fc.wait\"; there are fc.bias fc.weight");
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

/* Ids of no row: the loss is NaN, and the gradient has the legal ones alone. */
static void check_wild_ids(const char *device)
{
  tr_context *ctx = make_context(device, TR_F64);
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input_ids(net, (tr_shape){1, {4}});
  x = tr_embedding(net, x,
                   &(tr_embedding_opts){.num = 3, .out = 2, .name = "tok"});
  tr_cross_entropy(net, x);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
  const int32_t ids[4] = {INT32_MIN, 3, INT32_MAX, 1},
                targets[4] = {0, 1, 0, 1};
  const tr_batch batch = {.count = 1,
                          .global_count = 1,
                          .inputs = {ids},
                          .targets = {targets},
                          .target_values = {4}};
  double loss, grad[6];
  ASSERT_OK(tr_model_forward(net, &batch));
  ASSERT_OK(tr_model_loss(net, &loss));
  ASSERT(isnan(loss));
  ASSERT_OK(tr_model_backward(net));
  ASSERT_OK(tr_model_get_grad(net, "tok.weight", grad));
  ASSERT(grad[0] == 0 && grad[1] == 0 && grad[4] == 0 && grad[5] == 0);
  ASSERT(grad[2] > 0 && grad[3] < 0);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static void test_ids_of_no_row_give_nan_and_touch_no_memory(void)
{
  check_wild_ids("reference");
  check_wild_ids("cpu");
  check_wild_ids("strict");
}

static const tr_test tests[] = {
    TEST(test_bad_models_are_refused_by_name),
    TEST(test_a_batch_size_must_be_known),
    TEST(test_too_little_memory_is_refused_with_the_bytes),
    TEST(test_nothing_works_before_build),
    TEST(test_calls_out_of_order_are_refused),
    TEST(test_a_model_without_loss_only_goes_forward),
    TEST(test_bad_batches_are_refused),
    TEST(test_ids_of_no_row_give_nan_and_touch_no_memory),
};

TEST_MAIN(tests)
