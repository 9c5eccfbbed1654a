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

static tr_node
conv3x3(tr_model *net, tr_node x, int64_t channels, const char *name)
{
  const tr_conv2d_opts opts = {
      .out = channels, .kernel = 3, .padding = 1, .name = name};
  return tr_relu(net, tr_conv2d(net, x, &opts));
}

void example_convnet(tr_model *net, tr_shape shape, int64_t classes)
{
  tr_node x = tr_input(net, shape);
  x = conv3x3(net, x, 64, "conv1");
  x = tr_maxpool2d(net, x, &(tr_pool2d_opts){.kernel = 2});
  x = conv3x3(net, x, 128, "conv2");
  x = tr_maxpool2d(net, x, &(tr_pool2d_opts){.kernel = 2});
  x = conv3x3(net, x, 256, "conv3");
  x = tr_global_avgpool2d(net, x);
  x = tr_linear(net, x, &(tr_linear_opts){.out = classes, .name = "fc"});
  tr_cross_entropy(net, x);
}
