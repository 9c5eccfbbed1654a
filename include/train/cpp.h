/* C++ overloads: in C++20, options as a braced list at the call.
 *
 *   tr_node x = tr_linear(net, x, {.out = 10});
 *   TR_MUST(tr_loader_create(ctx, data, {.batch = 64, .shuffle = 1}, &loader));
 *
 * Every function of the C interface that takes a pointer to options has an
 * overload here that takes a reference and does the same. In C++11 to 17, pass
 * a named variable: tr_linear_opts opts{}; opts.out = 10. */
#ifndef TRAIN_CPP_H
#define TRAIN_CPP_H

#include <train/activation.h>
#include <train/checkpoint.h>
#include <train/context.h>
#include <train/conv.h>
#include <train/data.h>
#include <train/inference.h>
#include <train/init.h>
#include <train/layers.h>
#include <train/loss.h>
#include <train/metrics.h>
#include <train/model.h>
#include <train/norm.h>
#include <train/optim.h>
#include <train/pool.h>
#include <train/sequence.h>
#include <train/shape.h>
#include <train/trainer.h>

#ifdef __cplusplus

/* Options that a list omits are zero, which means the default. GCC's -Wextra
 * would warn of each of them. */
#if defined(__GNUC__) && !defined(__clang__) && __cplusplus >= 202002L
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif

#define TR__LAYER(builder, options)                                            \
  inline tr_node builder(tr_model *net, tr_node x, const options &opts)        \
  {                                                                            \
    return builder(net, x, &opts);                                             \
  }
TR__LAYER(tr_linear, tr_linear_opts)
TR__LAYER(tr_conv1d, tr_conv1d_opts)
TR__LAYER(tr_conv2d, tr_conv2d_opts)
TR__LAYER(tr_conv3d, tr_conv3d_opts)
TR__LAYER(tr_conv_transpose2d, tr_conv_transpose2d_opts)
TR__LAYER(tr_maxpool1d, tr_pool1d_opts)
TR__LAYER(tr_maxpool2d, tr_pool2d_opts)
TR__LAYER(tr_maxpool3d, tr_pool3d_opts)
TR__LAYER(tr_avgpool1d, tr_pool1d_opts)
TR__LAYER(tr_avgpool2d, tr_pool2d_opts)
TR__LAYER(tr_avgpool3d, tr_pool3d_opts)
TR__LAYER(tr_adaptive_avgpool, tr_adaptive_pool_opts)
TR__LAYER(tr_leaky_relu, tr_leaky_relu_opts)
TR__LAYER(tr_gelu, tr_gelu_opts)
TR__LAYER(tr_dropout, tr_dropout_opts)
TR__LAYER(tr_layernorm, tr_layernorm_opts)
TR__LAYER(tr_rmsnorm, tr_rmsnorm_opts)
TR__LAYER(tr_groupnorm, tr_groupnorm_opts)
TR__LAYER(tr_batchnorm, tr_batchnorm_opts)
TR__LAYER(tr_transpose, tr_transpose_opts)
TR__LAYER(tr_embedding, tr_embedding_opts)
TR__LAYER(tr_position, tr_position_opts)
TR__LAYER(tr_attention, tr_attention_opts)
TR__LAYER(tr_cross_entropy_with, tr_cross_entropy_opts)
TR__LAYER(tr_mse, tr_loss_opts)
TR__LAYER(tr_mae, tr_loss_opts)
TR__LAYER(tr_huber, tr_huber_opts)
TR__LAYER(tr_bce_with_logits, tr_bce_opts)
#undef TR__LAYER

#define TR__OPTIMIZER(create, options)                                         \
  inline tr_status create(tr_model *net, const options &opts,                  \
                          tr_optimizer **out)                                  \
  {                                                                            \
    return create(net, &opts, out);                                            \
  }
TR__OPTIMIZER(tr_sgd_create, tr_sgd_opts)
TR__OPTIMIZER(tr_adam_create, tr_adam_opts)
TR__OPTIMIZER(tr_adamw_create, tr_adamw_opts)
TR__OPTIMIZER(tr_rmsprop_create, tr_rmsprop_opts)
TR__OPTIMIZER(tr_adagrad_create, tr_adagrad_opts)
TR__OPTIMIZER(tr_muon_create, tr_muon_opts)
#undef TR__OPTIMIZER

inline tr_status tr_model_build(tr_model *net, const tr_build_opts &opts)
{
  return tr_model_build(net, &opts);
}

inline tr_status tr_inference_create(tr_model *net,
                                     const tr_inference_opts &opts,
                                     tr_inference **out)
{
  return tr_inference_create(net, &opts, out);
}

inline tr_status tr_model_init_param(tr_model *net,
                                     const char *pattern,
                                     const tr_init_opts &opts)
{
  return tr_model_init_param(net, pattern, &opts);
}

inline tr_status tr_class_metrics_create(tr_context *ctx,
                                         const tr_class_metrics_opts &opts,
                                         tr_class_metrics **out)
{
  return tr_class_metrics_create(ctx, &opts, out);
}

inline tr_status
tr_array_open(tr_context *ctx, const tr_array_opts &opts, tr_dataset **out)
{
  return tr_array_open(ctx, &opts, out);
}

inline tr_status tr_text_open(tr_context *ctx,
                              const char *path,
                              const tr_text_opts &opts,
                              tr_dataset **out)
{
  return tr_text_open(ctx, path, &opts, out);
}

inline tr_status tr_loader_create(tr_context *ctx,
                                  const tr_dataset *data,
                                  const tr_loader_opts &opts,
                                  tr_loader **out)
{
  return tr_loader_create(ctx, data, &opts, out);
}

inline tr_status
tr_context_create_f(int comm, const tr_context_opts &opts, tr_context **out)
{
  return tr_context_create_f(comm, &opts, out);
}

inline tr_status tr_context_create_auto(const tr_context_opts &opts,
                                        tr_context **out)
{
  return tr_context_create_auto(&opts, out);
}

inline tr_status tr_model_load_matching(tr_model *net,
                                        const char *path,
                                        const tr_load_opts &opts,
                                        int *num_loaded)
{
  return tr_model_load_matching(net, path, &opts, num_loaded);
}

inline tr_status
tr_checkpoint_save(tr_context *ctx, const char *dir, const tr_checkpoint &run)
{
  return tr_checkpoint_save(ctx, dir, &run);
}

inline tr_status
tr_checkpoint_resume(tr_context *ctx, const char *dir, const tr_checkpoint &run)
{
  return tr_checkpoint_resume(ctx, dir, &run);
}

inline tr_status tr_trainer_create(tr_context *ctx,
                                   const tr_trainer_opts &opts,
                                   tr_trainer **out)
{
  return tr_trainer_create(ctx, &opts, out);
}

#endif

#endif
