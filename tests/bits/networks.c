/* Small networks that between them use every layer, loss and activation. */
#include "bits.h"
#include "models.h"

const bits_network bits_mlp = {
    .name = "mlp", .build = example_mlp, .shape = {1, {64}}, .classes = 10};

const bits_network bits_convnet = {.name = "convnet",
                                   .build = example_convnet,
                                   .shape = {3, {1, 12, 12}},
                                   .classes = 10};

static void build_resnet(tr_model *net, tr_shape shape, int64_t classes)
{
  const example_resnet_opts opts = {.blocks = {1, 1, 1, 1}, .width = 8};
  example_resnet(net, shape, classes, &opts);
}

const bits_network bits_resnet = {.name = "resnet",
                                  .build = build_resnet,
                                  .shape = {3, {3, 16, 16}},
                                  .classes = 10};

const bits_network bits_resnet18 = {.name = "resnet18",
                                    .build = example_resnet18,
                                    .shape = {3, {3, 32, 32}},
                                    .classes = 10};

static void build_gpt(tr_model *net, tr_shape shape, int64_t classes)
{
  const example_gpt_opts opts = {.layers = 2, .heads = 2, .width = 32};
  example_gpt_sized(net, shape, classes, &opts);
}

const bits_network bits_gpt = {
    .name = "gpt", .build = build_gpt, .data = TEXT, .shape = {1, {16}}};

/* The head's weight is that of the token embedding. */
static void build_gpt_tied(tr_model *net, tr_shape shape, int64_t classes)
{
  const tr_embedding_opts embedding = {
      .num = classes, .out = 24, .name = "tok"};
  tr_node tok = tr_embedding(net, tr_input_ids(net, shape), &embedding);
  tr_node x = tr_position(net, tok, &(tr_position_opts){.std = 0.02});
  tr_node y = tr_rmsnorm(net, x, NULL);
  y = tr_linear(net, y, &(tr_linear_opts){.out = 3 * 24});
  y = tr_attention(net, y, &(tr_attention_opts){.heads = 3, .causal = 1});
  x = tr_add(net, x, tr_linear(net, y, &(tr_linear_opts){.out = 24}));
  const tr_linear_opts head = {.out = classes, .no_bias = 1, .name = "head"};
  tr_node logits = tr_linear(net, tr_layernorm(net, x, NULL), &head);
  tr_model_tie(net, logits, tok);
  tr_cross_entropy(net, logits);
}

const bits_network bits_gpt_tied = {.name = "gpt_tied",
                                    .build = build_gpt_tied,
                                    .data = TEXT,
                                    .shape = {1, {16}}};

static tr_node filters(tr_model *net, tr_node x, int64_t channels)
{
  const tr_conv1d_opts opts = {.out = channels, .kernel = 5, .padding = 2};
  return tr_relu(net, tr_conv1d(net, x, &opts));
}

/* A U-Net in one dimension, as examples/train_surrogate.c has it. */
static void build_surrogate(tr_model *net, tr_shape shape, int64_t unused)
{
  (void)unused;
  tr_node x = tr_input(net, shape);
  tr_node fine = filters(net, x, 8);
  tr_node coarse = tr_maxpool1d(net, fine, &(tr_pool1d_opts){.kernel = 2});
  coarse = filters(net, coarse, 16);
  const tr_node both[] = {tr_upsample1d(net, coarse, 2), fine, x};
  const tr_conv1d_opts last = {.out = 1, .kernel = 5, .padding = 2};
  tr_mse(net, tr_conv1d(net, tr_concat(net, both, 3, 0), &last), NULL);
}

const bits_network bits_surrogate = {.name = "surrogate",
                                     .build = build_surrogate,
                                     .data = NUMBERS,
                                     .shape = {2, {2, 32}},
                                     .target_shape = {2, {1, 32}}};

/* Convolutions that are grouped, strided, dilated; other activations. */
static void build_zoo(tr_model *net, tr_shape shape, int64_t classes)
{
  tr_node x = tr_input(net, shape);
  x = tr_conv2d(net, x, &(tr_conv2d_opts){.out = 8, .kernel = 5, .padding = 2});
  tr_node y = tr_leaky_relu(net, x, NULL);
  y = tr_conv2d(
      net, y,
      &(tr_conv2d_opts){
          .out = 8, .kernel = 3, .padding = 1, .groups = 8, .no_bias = 1});
  y = tr_conv2d(net, tr_gelu(net, y, NULL),
                &(tr_conv2d_opts){.out = 8, .kernel = 1});
  x = tr_add(net, x, y);
  x = tr_avgpool2d(net, x, &(tr_pool2d_opts){.kernel = 2});
  x = tr_conv2d(net, tr_silu(net, x),
                &(tr_conv2d_opts){.out = 12,
                                  .kernel = 3,
                                  .stride = 2,
                                  .dilation = 2,
                                  .padding = 2,
                                  .groups = 2});
  x = tr_groupnorm(net, x, &(tr_groupnorm_opts){.groups = 3});
  x = tr_flatten(net, tr_tanh(net, x));
  x = tr_mul(net,
             tr_sigmoid(net, tr_linear(net, x, &(tr_linear_opts){.out = 20})),
             tr_linear(net, x, &(tr_linear_opts){.out = 20}));
  tr_cross_entropy(net, tr_linear(net, x, &(tr_linear_opts){.out = classes}));
}

const bits_network bits_zoo = {
    .name = "zoo", .build = build_zoo, .shape = {3, {2, 10, 10}}, .classes = 5};

/* Random numbers in the step, running statistics, a rule on the loss. */
static void build_regularised(tr_model *net, tr_shape shape, int64_t classes)
{
  tr_node x = tr_input(net, shape);
  x = tr_batchnorm(net, tr_linear(net, x, &(tr_linear_opts){.out = 48}), NULL);
  x = tr_dropout(net, tr_relu(net, x), &(tr_dropout_opts){.p = 0.2});
  x = tr_linear(net, x, &(tr_linear_opts){.out = 24});
  x = tr_dropout(net, tr_gelu(net, x, &(tr_gelu_opts){.tanh = 1}),
                 &(tr_dropout_opts){.p = 0.1});
  const tr_cross_entropy_opts loss = {.label_smoothing = 0.1};
  tr_cross_entropy_with(
      net, tr_linear(net, x, &(tr_linear_opts){.out = classes}), &loss);
}

const bits_network bits_regularised = {.name = "regularised",
                                       .build = build_regularised,
                                       .shape = {1, {30}},
                                       .classes = 7};
