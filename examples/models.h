/* The networks that the example programs and the benchmarks train. */
#ifndef EXAMPLE_MODELS_H
#define EXAMPLE_MODELS_H

#include <train/train.h>

/* example_mlp - Linear(D, 512) ReLU Linear(512, 256) ReLU Linear(256, classes)
 * and cross-entropy; parameters fc1, fc2, fc3. */
void example_mlp(tr_model *net, tr_shape shape, int64_t classes);

/* example_convnet - three 3x3 convolutions with 64, 128 and 256 channels, each
 * with ReLU, the first two with 2x2 max pooling behind; global average, Linear
 * to the classes and cross-entropy; parameters conv1, conv2, conv3, fc. */
void example_convnet(tr_model *net, tr_shape shape, int64_t classes);

#endif
