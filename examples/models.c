#include "models.h"

void example_mlp(tr_model *net, tr_shape shape, int64_t classes)
{
  tr_node x = tr_input(net, shape);
  x = tr_flatten(net, x);
  x = tr_linear(net, x, &(tr_linear_opts){.out = 512, .name = "fc1"});
  x = tr_relu(net, x);
  x = tr_linear(net, x, &(tr_linear_opts){.out = 256, .name = "fc2"});
  x = tr_relu(net, x);
  x = tr_linear(net, x, &(tr_linear_opts){.out = classes, .name = "fc3"});
  tr_cross_entropy(net, x);
}

tr_node example_image(tr_model *net, tr_shape shape)
{
  tr_node x = tr_input(net, shape);
  if (shape.ndim == 2) {
    x = tr_reshape(net, x, (tr_shape){3, {1, shape.dims[0], shape.dims[1]}});
  }
  return x;
}

static tr_node
conv3x3(tr_model *net, tr_node x, int64_t channels, const char *name)
{
  const tr_conv2d_opts opts = {
      .out = channels, .kernel = 3, .padding = 1, .name = name};
  return tr_relu(net, tr_conv2d(net, x, &opts));
}

void example_convnet(tr_model *net, tr_shape shape, int64_t classes)
{
  tr_node x = example_image(net, shape);
  x = conv3x3(net, x, 64, "conv1");
  x = tr_maxpool2d(net, x, &(tr_pool2d_opts){.kernel = 2});
  x = conv3x3(net, x, 128, "conv2");
  x = tr_maxpool2d(net, x, &(tr_pool2d_opts){.kernel = 2});
  x = conv3x3(net, x, 256, "conv3");
  x = tr_global_avgpool2d(net, x);
  x = tr_linear(net, x, &(tr_linear_opts){.out = classes, .name = "fc"});
  tr_cross_entropy(net, x);
}

static tr_node dense(tr_model *net, tr_node x, int64_t out, const char *name)
{
  return tr_linear(net, x, &(tr_linear_opts){.out = out, .name = name});
}

static tr_node normal(tr_model *net, tr_node x, const char *name)
{
  return tr_layernorm(net, x, &(tr_layernorm_opts){.name = name});
}

/* "blocks.3.qkv" in a buffer of the caller. */
static const char *part_of_block(char name[32], int block, const char *part)
{
  snprintf(name, 32, "blocks.%d.%s", block, part);
  return name;
}

static tr_node
gpt_block(tr_model *net, tr_node x, int number, const example_gpt_opts *opts)
{
  const tr_attention_opts attention = {.heads = opts->heads, .causal = 1};
  int64_t width = opts->width;
  char name[32];
  tr_node h = normal(net, x, part_of_block(name, number, "ln1"));
  h = dense(net, h, 3 * width, part_of_block(name, number, "qkv"));
  h = tr_attention(net, h, &attention);
  h = dense(net, h, width, part_of_block(name, number, "proj"));
  x = tr_add(net, x, h);
  h = normal(net, x, part_of_block(name, number, "ln2"));
  h = dense(net, h, 4 * width, part_of_block(name, number, "up"));
  h = tr_gelu(net, h, &(tr_gelu_opts){.tanh = 1});
  h = dense(net, h, width, part_of_block(name, number, "down"));
  return tr_add(net, x, h);
}

tr_node example_gpt_sized(tr_model *net,
                          tr_shape shape,
                          int64_t classes,
                          const example_gpt_opts *opts)
{
  tr_node x = tr_input_ids(net, shape);
  x = tr_embedding(
      net, x,
      &(tr_embedding_opts){.num = classes, .out = opts->width, .name = "tok"});
  x = tr_position(net, x, &(tr_position_opts){.name = "pos"});
  for (int i = 0; i < opts->layers; i++) {
    x = gpt_block(net, x, i, opts);
  }
  x = normal(net, x, "ln");
  x = tr_linear(
      net, x, &(tr_linear_opts){.out = classes, .no_bias = 1, .name = "head"});
  tr_cross_entropy(net, x);
  return x;
}

void example_gpt(tr_model *net, tr_shape shape, int64_t classes)
{
  const example_gpt_opts opts = {.layers = 4, .heads = 6, .width = 192};
  example_gpt_sized(net, shape, classes, &opts);
}
