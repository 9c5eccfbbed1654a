/* The networks that the example programs and the benchmarks train. */
#ifndef EXAMPLE_MODELS_H
#define EXAMPLE_MODELS_H

#include <train/train.h>

/* example_mlp - Linear(D, 512) ReLU Linear(512, 256) ReLU Linear(256, classes)
 * and cross-entropy; parameters fc1, fc2, fc3. */
void example_mlp(tr_model *net, tr_shape shape, int64_t classes);

/* example_image - an input of images (C, H, W), or (H, W): one channel, as
 * floats of (N, H, W) in a file are. */
tr_node example_image(tr_model *net, tr_shape shape);

/* example_convnet - three 3x3 convolutions with 64, 128 and 256 channels, each
 * with ReLU, the first two with 2x2 max pooling behind; global average, Linear
 * to the classes and cross-entropy; parameters conv1, conv2, conv3, fc. */
void example_convnet(tr_model *net, tr_shape shape, int64_t classes);

typedef struct example_resnet_opts {
  int blocks[4]; /* residual blocks of each stage */
  int64_t width; /* channels of the first stage; doubled from one to the next */
  int is_bottleneck; /* 1: three convolutions in a block, and 4 width behind */
} example_resnet_opts;

/* example_resnet - a residual network on images (C, H, W), and cross-entropy.
 *
 * The stem is a 7x7 convolution of stride 2 and a maximum pool for images of
 * height 64 and more, else a 3x3 convolution. Names of torchvision's: conv1,
 * bn1, layer1.0.conv1, layer1.0.bn1, layer2.0.downsample.0, ..., fc. */
void example_resnet(tr_model *net,
                    tr_shape shape,
                    int64_t classes,
                    const example_resnet_opts *opts);

/* example_resnet_init - the first values of torchvision's residual networks;
 * after tr_model_build().
 *
 * Weights of convolutions are normal with deviation sqrt(2 / fan_out); the rest
 * starts as it is built: BatchNorm at 1 and 0, fc as PyTorch's Linear.
 * Collective. */
tr_status example_resnet_init(tr_model *net);

/* example_resnet18 - 2, 2, 2, 2 blocks of two convolutions, width 64. */
void example_resnet18(tr_model *net, tr_shape shape, int64_t classes);

/* example_resnet50 - 3, 4, 6, 3 bottlenecks, width 64 (v1.5). */
void example_resnet50(tr_model *net, tr_shape shape, int64_t classes);

typedef struct example_gpt_opts {
  int layers;
  int64_t heads, width;
} example_gpt_opts;

/* example_gpt_sized - a transformer that predicts the next of `classes` tokens
 * at each place of a context of shape (T).
 *
 * Token embedding and learned positions; in each layer LayerNorm, attention
 * and its sum with what came in, LayerNorm, a linear layer to 4 width, GELU by
 * tanh, one back, and the sum; LayerNorm, a linear layer without bias to the
 * classes, cross-entropy. Parameters tok, pos, blocks.N.{ln1,qkv,proj,ln2,up,
 * down}, ln, head. Returns the logits, (T, classes). */
tr_node example_gpt_sized(tr_model *net,
                          tr_shape shape,
                          int64_t classes,
                          const example_gpt_opts *opts);

/* example_gpt - the same with 4 layers, 6 heads and width 192. */
void example_gpt(tr_model *net, tr_shape shape, int64_t classes);

#endif
