/* The table of all layers. A new layer is a file of its own, a declaration
 * here, and a line in layer_table.c and meson.build. */
#ifndef TR_LAYERS_TABLE_IMPL_H
#define TR_LAYERS_TABLE_IMPL_H

#include "model/layer_impl.h"

extern const tr__layer_type tr__input_type;
extern const tr__layer_type tr__linear_type;
extern const tr__layer_type tr__relu_type;
extern const tr__layer_type tr__conv1d_type;
extern const tr__layer_type tr__conv2d_type;
extern const tr__layer_type tr__conv3d_type;
extern const tr__layer_type tr__conv_transpose2d_type;
extern const tr__layer_type tr__maxpool1d_type;
extern const tr__layer_type tr__maxpool2d_type;
extern const tr__layer_type tr__maxpool3d_type;
extern const tr__layer_type tr__avgpool1d_type;
extern const tr__layer_type tr__avgpool2d_type;
extern const tr__layer_type tr__avgpool3d_type;
extern const tr__layer_type tr__adaptive_avgpool_type;
extern const tr__layer_type tr__global_avgpool2d_type;
extern const tr__layer_type tr__global_maxpool2d_type;
extern const tr__layer_type tr__flatten_type;
extern const tr__layer_type tr__cross_entropy_type;
extern const tr__layer_type tr__mse_type;
extern const tr__layer_type tr__mae_type;
extern const tr__layer_type tr__huber_type;
extern const tr__layer_type tr__bce_type;
extern const tr__layer_type tr__add_type;
extern const tr__layer_type tr__mul_type;
extern const tr__layer_type tr__concat_type;
extern const tr__layer_type tr__reshape_type;
extern const tr__layer_type tr__transpose_type;
extern const tr__layer_type tr__upsample1d_type;
extern const tr__layer_type tr__upsample2d_type;
extern const tr__layer_type tr__input_ids_type;
extern const tr__layer_type tr__embedding_type;
extern const tr__layer_type tr__position_type;
extern const tr__layer_type tr__attention_type;
extern const tr__layer_type tr__leaky_relu_type;
extern const tr__layer_type tr__gelu_type;
extern const tr__layer_type tr__silu_type;
extern const tr__layer_type tr__sigmoid_type;
extern const tr__layer_type tr__tanh_type;
extern const tr__layer_type tr__softmax_type;
extern const tr__layer_type tr__layernorm_type;
extern const tr__layer_type tr__rmsnorm_type;
extern const tr__layer_type tr__groupnorm_type;
extern const tr__layer_type tr__batchnorm_type;
extern const tr__layer_type tr__dropout_type;

/* tr__layer_table - all layers, NULL at the end. */
const tr__layer_type *const *tr__layer_table(void);

#endif
