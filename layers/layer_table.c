/* The table of all layers, which tests walk. */
#include "layers/layer_table_impl.h"

#include <stddef.h>

const tr__layer_type *const *tr__layer_table(void)
{
  static const tr__layer_type *const table[] = {
      &tr__input_type,
      &tr__linear_type,
      &tr__relu_type,
      &tr__conv1d_type,
      &tr__conv2d_type,
      &tr__conv3d_type,
      &tr__conv_transpose2d_type,
      &tr__maxpool1d_type,
      &tr__maxpool2d_type,
      &tr__maxpool3d_type,
      &tr__avgpool1d_type,
      &tr__avgpool2d_type,
      &tr__avgpool3d_type,
      &tr__adaptive_avgpool_type,
      &tr__global_avgpool2d_type,
      &tr__global_maxpool2d_type,
      &tr__flatten_type,
      &tr__cross_entropy_type,
      &tr__mse_type,
      &tr__mae_type,
      &tr__huber_type,
      &tr__bce_type,
      &tr__add_type,
      &tr__mul_type,
      &tr__concat_type,
      &tr__reshape_type,
      &tr__transpose_type,
      &tr__upsample1d_type,
      &tr__upsample2d_type,
      &tr__input_ids_type,
      &tr__embedding_type,
      &tr__position_type,
      &tr__attention_type,
      &tr__leaky_relu_type,
      &tr__gelu_type,
      &tr__silu_type,
      &tr__sigmoid_type,
      &tr__tanh_type,
      &tr__softmax_type,
      &tr__dropout_type,
      &tr__layernorm_type,
      &tr__rmsnorm_type,
      &tr__groupnorm_type,
      &tr__batchnorm_type,
      NULL,
  };
  return table;
}
