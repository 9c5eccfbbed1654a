#include "backend/op_tensors_impl.h"

#define ROW(op, last, scratch)                                                 \
  [TR__OP_##                                                                   \
      op] = {#op, sizeof(tr__##op##_args),                                     \
             1 + (int)(offsetof(tr__##op##_args, last) / sizeof(tr__tensor)),  \
             scratch}
/* last: the last leading tensor. */
#define PLAIN(op, last) ROW(op, last, -1)
#define WITH_WORKSPACE(op)                                                     \
  ROW(op, workspace,                                                           \
      (int)(offsetof(tr__##op##_args, workspace) / sizeof(tr__tensor)))

static const tr__op_info table[TR__NUM_OPS] = {
    PLAIN(sum, b),
    PLAIN(product, b),
    PLAIN(copy, x),
    PLAIN(permute, x),
    PLAIN(upsample2d_forward, x),
    PLAIN(upsample2d_backward, dy),
    PLAIN(embedding_forward, ids),
    WITH_WORKSPACE(embedding_backward),
    PLAIN(position_forward, w),
    WITH_WORKSPACE(position_backward),
    WITH_WORKSPACE(attention_forward),
    WITH_WORKSPACE(attention_backward),
    PLAIN(activation_forward, x),
    PLAIN(activation_backward, value),
    PLAIN(softmax_forward, x),
    PLAIN(softmax_backward, y),
    PLAIN(dropout, block),
    PLAIN(norm_forward, stats),
    PLAIN(norm_backward_input, stats),
    WITH_WORKSPACE(norm_backward_weight),
    WITH_WORKSPACE(batchnorm_sums),
    PLAIN(batchnorm_stats, sums),
    PLAIN(batchnorm_forward, stats),
    WITH_WORKSPACE(batchnorm_backward_sums),
    PLAIN(batchnorm_backward_input, grad_sums),
    PLAIN(fill, y),
    PLAIN(add, x),
    PLAIN(linear_forward, b),
    PLAIN(linear_backward_input, w),
    WITH_WORKSPACE(linear_backward_weight),
    WITH_WORKSPACE(conv_forward),
    WITH_WORKSPACE(conv_backward_input),
    WITH_WORKSPACE(conv_backward_weight),
    PLAIN(relu_forward, x),
    PLAIN(relu_backward, y),
    PLAIN(maxpool_forward, index),
    PLAIN(maxpool_backward, index),
    PLAIN(avgpool_forward, x),
    PLAIN(avgpool_backward, dy),
    PLAIN(global_avgpool2d_forward, x),
    PLAIN(global_avgpool2d_backward, dy),
    PLAIN(softmax_xent_forward, target),
    PLAIN(softmax_xent_backward, block),
    PLAIN(loss_sum, share),
    PLAIN(sgd_update, block),
    PLAIN(adam_update, block),
    PLAIN(count_nonfinite, count),
    PLAIN(xent_rule_forward, class_weight),
    PLAIN(xent_rule_backward, block),
    PLAIN(regression_forward, pos_weight),
    PLAIN(regression_backward, block),
    PLAIN(rmsprop_update, block),
    PLAIN(adagrad_update, block),
    WITH_WORKSPACE(muon_update),
    PLAIN(sum_squares, sums),
    PLAIN(clip_factor, block),
    PLAIN(ema_update, p),
    PLAIN(swap, b),
};

const tr__op_info *tr__op_info_of(tr__op op)
{
  return &table[op];
}
