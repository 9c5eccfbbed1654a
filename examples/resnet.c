/* ResNet-18 and ResNet-50 with the parameter names of torchvision.
 *
 * Source: He et al. 2015, arXiv:1512.03385; v1.5: the stride of a bottleneck
 * is in its 3x3 convolution (torchvision.models.resnet). */
#include "models.h"

#include <stdio.h>

enum { STAGES = 4, LARGE_IMAGE = 64 };

/* A convolution without bias and its normalisation. */
typedef struct unit {
  int64_t out, kernel, stride;
  char conv[48], norm[48];
} unit;

static tr_node add_unit(tr_model *net, tr_node x, const unit *u)
{
  x = tr_conv2d(net, x,
                &(tr_conv2d_opts){.out = u->out,
                                  .kernel = u->kernel,
                                  .stride = u->stride,
                                  .padding = u->kernel / 2,
                                  .no_bias = 1,
                                  .name = u->conv});
  return tr_batchnorm(net, x, &(tr_batchnorm_opts){.name = u->norm});
}

/* Unit number i, counted from 1, of the block "layer2.0". */
static unit unit_of(const char *block, int i, int64_t out, int64_t kernel)
{
  unit u = {.out = out, .kernel = kernel, .stride = 1};
  snprintf(u.conv, sizeof u.conv, "%s.conv%d", block, i);
  snprintf(u.norm, sizeof u.norm, "%s.bn%d", block, i);
  return u;
}

/* Where a block changes the image's extents or channels, so does its side. */
static tr_node
side(tr_model *net, tr_node x, const char *block, const unit *shape)
{
  unit u = *shape;
  snprintf(u.conv, sizeof u.conv, "%s.downsample.0", block);
  snprintf(u.norm, sizeof u.norm, "%s.downsample.1", block);
  return add_unit(net, x, &u);
}

typedef struct residual {
  const char *name;
  int64_t width, stride;
  int is_bottleneck, has_side;
} residual;

static tr_node add_block(tr_model *net, tr_node x, const residual *r)
{
  int64_t out = r->is_bottleneck ? 4 * r->width : r->width;
  unit first = unit_of(r->name, 1, r->width, r->is_bottleneck ? 1 : 3);
  unit second = unit_of(r->name, 2, r->width, 3);
  (r->is_bottleneck ? &second : &first)->stride = r->stride;
  tr_node y = tr_relu(net, add_unit(net, x, &first));
  y = add_unit(net, y, &second);
  if (r->is_bottleneck) {
    unit third = unit_of(r->name, 3, out, 1);
    y = add_unit(net, tr_relu(net, y), &third);
  }
  if (r->has_side) {
    const unit shape = {.out = out, .kernel = 1, .stride = r->stride};
    x = side(net, x, r->name, &shape);
  }
  return tr_relu(net, tr_add(net, y, x));
}

static tr_node add_stem(tr_model *net, tr_node x, int64_t width, int is_large)
{
  unit stem = {.out = width,
               .kernel = is_large ? 7 : 3,
               .stride = is_large ? 2 : 1,
               .conv = "conv1",
               .norm = "bn1"};
  x = tr_relu(net, add_unit(net, x, &stem));
  const tr_pool2d_opts pool = {.kernel = 3, .stride = 2, .padding = 1};
  return is_large ? tr_maxpool2d(net, x, &pool) : x;
}

void example_resnet(tr_model *net,
                    tr_shape shape,
                    int64_t classes,
                    const example_resnet_opts *opts)
{
  tr_node x = example_image(net, shape);
  int64_t height = shape.dims[shape.ndim == 2 ? 0 : 1];
  x = add_stem(net, x, opts->width, height >= LARGE_IMAGE);
  for (int stage = 0; stage < STAGES; stage++) {
    for (int i = 0; i < opts->blocks[stage]; i++) {
      char name[32];
      snprintf(name, sizeof name, "layer%d.%d", stage + 1, i);
      const residual block = {.name = name,
                              .width = opts->width << stage,
                              .stride = i == 0 && stage > 0 ? 2 : 1,
                              .is_bottleneck = opts->is_bottleneck,
                              .has_side =
                                  i == 0 && (stage > 0 || opts->is_bottleneck)};
      x = add_block(net, x, &block);
    }
  }
  x = tr_global_avgpool2d(net, x);
  x = tr_linear(net, x, &(tr_linear_opts){.out = classes, .name = "fc"});
  tr_cross_entropy(net, x);
}

tr_status example_resnet_init(tr_model *net)
{
  const tr_init_opts he = {
      .kind = "kaiming_normal", .mode = "fan_out", .nonlinearity = "relu"};
  TR_TRY(tr_model_init_param(net, "*conv?.weight", &he));
  return tr_model_init_param(net, "*.downsample.0.weight", &he);
}

void example_resnet18(tr_model *net, tr_shape shape, int64_t classes)
{
  const example_resnet_opts opts = {.blocks = {2, 2, 2, 2}, .width = 64};
  example_resnet(net, shape, classes, &opts);
}

void example_resnet50(tr_model *net, tr_shape shape, int64_t classes)
{
  const example_resnet_opts opts = {
      .blocks = {3, 4, 6, 3}, .width = 64, .is_bottleneck = 1};
  example_resnet(net, shape, classes, &opts);
}
