/* Element-wise activations: LeakyReLU, GELU, SiLU, sigmoid, tanh.
 *
 *   forward   y = f(x)                          x, y of any one shape
 *   backward  dx = dy f'(x)
 *
 * Where f' is a function of y, the layer runs in place unless another layer
 * reads x. Otherwise the model keeps x, and only the gradient is computed in
 * place.
 * Source: torch.nn.LeakyReLU, GELU, SiLU, Sigmoid, Tanh */
#include <train/activation.h>
#include <train/layers.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

/* Options of a node, set by the layer functions. */
typedef struct activation_opts {
  tr__activation kind;
  double slope;
} activation_opts;

static tr_status infer(tr_model *net, tr__node *node)
{
  const activation_opts *opts = node->opts;
  TR__CHECK_NODE(opts->slope >= 0 && opts->slope <= 1, node, TR_EINVAL,
                 "negative_slope is %g, expected 0 to 1", opts->slope);
  node->shape = *tr__input_shape(net, node, 0);
  node->flags =
      TR__IN_PLACE | (tr__activation_uses_output(opts->kind) ? TR__USES_OUTPUT
                                                             : TR__USES_INPUT);
  return TR_OK;
}

static void forward(const tr__pass *run, const tr__node *node)
{
  const activation_opts *opts = node->opts;
  run->ops->activation_forward(
      run->stream, &(tr__activation_forward_args){.y = tr__output(run, node),
                                                  .x = tr__input(run, node, 0),
                                                  .kind = opts->kind,
                                                  .slope = opts->slope});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  const activation_opts *opts = node->opts;
  run->ops->activation_backward(
      run->stream, &(tr__activation_backward_args){
                       .dx = tr__input_grad(run, node, 0),
                       .dy = tr__output_grad(run, node),
                       .value = tr__activation_uses_output(opts->kind)
                                    ? tr__output(run, node)
                                    : tr__input(run, node, 0),
                       .kind = opts->kind,
                       .slope = opts->slope,
                       .accumulate = tr__input_grad_adds(run, node, 0)});
}

static void describe(const tr__node *node, FILE *out)
{
  const activation_opts *opts = node->opts;
  if (opts->kind == TR__ACTIVATION_LEAKY_RELU) {
    tr__describe_number(out, "slope", opts->slope);
  }
  tr__describe_flag(out, "tanh", opts->kind == TR__ACTIVATION_GELU_TANH);
}

static tr_node random_input(tr_model *net, const tr__random *random)
{
  const tr_shape in = {
      2,
      {1 + tr__random_u32(random, 0) % 11, 1 + tr__random_u32(random, 1) % 13}};
  return tr_input(net, in);
}

static tr_node
add(tr_model *net, tr_node x, const tr__layer_type *type, activation_opts opts)
{
  return tr__add_node(net, &(tr__node_spec){.type = type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = &opts,
                                            .opts_bytes = sizeof opts});
}

/* The types differ in their names and in how tests build them. */
#define ACTIVATION_TYPE(layer, ...)                                            \
  static tr_node random_##layer(tr_model *net, const tr__random *random)       \
  {                                                                            \
    return tr_##layer(net, random_input(net, random), __VA_ARGS__);            \
  }                                                                            \
  const tr__layer_type tr__##layer##_type = {                                  \
      .name = #layer,                                                          \
      .infer = infer,                                                          \
      .forward = forward,                                                      \
      .backward = backward,                                                    \
      .describe = describe,                                                    \
      .random_build = random_##layer,                                          \
      .tolerance = 1e-7,                                                       \
  };

ACTIVATION_TYPE(leaky_relu,
                tr__random_u32(random, 2) % 2
                    ? NULL
                    : &(tr_leaky_relu_opts){.negative_slope = 0.3})
ACTIVATION_TYPE(gelu, &(tr_gelu_opts){.tanh = tr__random_u32(random, 2) % 2})

/* Types of layers without options. */
#define PLAIN_TYPE(layer)                                                      \
  static tr_node random_##layer(tr_model *net, const tr__random *random)       \
  {                                                                            \
    return tr_##layer(net, random_input(net, random));                         \
  }                                                                            \
  const tr__layer_type tr__##layer##_type = {                                  \
      .name = #layer,                                                          \
      .infer = infer,                                                          \
      .forward = forward,                                                      \
      .backward = backward,                                                    \
      .random_build = random_##layer,                                          \
      .tolerance = 1e-7,                                                       \
  };

PLAIN_TYPE(silu)
PLAIN_TYPE(sigmoid)
PLAIN_TYPE(tanh)

tr_node tr_leaky_relu(tr_model *net, tr_node x, const tr_leaky_relu_opts *opts)
{
  double slope = tr__or_default(opts != NULL ? opts->negative_slope : 0, 0.01);
  return add(net, x, &tr__leaky_relu_type,
             (activation_opts){TR__ACTIVATION_LEAKY_RELU, slope});
}

tr_node tr_gelu(tr_model *net, tr_node x, const tr_gelu_opts *opts)
{
  bool is_tanh = opts != NULL && opts->tanh;
  return add(net, x, &tr__gelu_type,
             (activation_opts){
                 is_tanh ? TR__ACTIVATION_GELU_TANH : TR__ACTIVATION_GELU, 0});
}

tr_node tr_silu(tr_model *net, tr_node x)
{
  return add(net, x, &tr__silu_type, (activation_opts){TR__ACTIVATION_SILU, 0});
}

tr_node tr_sigmoid(tr_model *net, tr_node x)
{
  return add(net, x, &tr__sigmoid_type,
             (activation_opts){TR__ACTIVATION_SIGMOID, 0});
}

tr_node tr_tanh(tr_model *net, tr_node x)
{
  return add(net, x, &tr__tanh_type, (activation_opts){TR__ACTIVATION_TANH, 0});
}
