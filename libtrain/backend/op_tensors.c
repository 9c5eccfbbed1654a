/* One row per op: the size of its arguments, the tensors that they begin with,
 * and which of these may be 16-bit (op_tensors_impl.h). */
#include "backend/op_tensors_impl.h"
#include "base/half_impl.h"

#define PLACE(op, member)                                                      \
  ((int)(offsetof(tr__##op##_args, member) / sizeof(tr__tensor)))
#define ROW(op, last, scratch, halves, writes)                                 \
  [TR__OP_##op] = {                                                            \
      #op,   sizeof(tr__##op##_args), 1 + PLACE(op, last), scratch, halves,    \
      writes}

/* `last` is the last of the leading tensors, `halves` the set of those that may
 * be 16-bit. If tensor 0 is in `halves`, the op writes it. */
#define PLAIN(op, last, halves) ROW(op, last, -1, halves, ((halves)&1) != 0)
#define WITH_WORKSPACE(op, halves)                                             \
  ROW(op, workspace, PLACE(op, workspace), halves, ((halves)&1) != 0)
/* A reduction whose tensor 0 is an input: the op writes no 16-bit tensor. */
#define SUMS(op, halves) ROW(op, workspace, PLACE(op, workspace), halves, false)

/* Sets of the first one, two or three tensors of an op. */
enum { ONE = 1, TWO = 3, THREE = 7 };
#define BIT(op, member) (1u << PLACE(op, member))

static const tr__op_info table[TR__NUM_OPS] = {
    PLAIN(sum, b, THREE),
    PLAIN(product, b, THREE),
    PLAIN(copy, x, TWO),
    PLAIN(cast, x, TWO),
    PLAIN(permute, x, TWO),
    PLAIN(upsample2d_forward, x, TWO),
    PLAIN(upsample2d_backward, dy, TWO),
    PLAIN(embedding_forward, ids, ONE),
    WITH_WORKSPACE(embedding_backward, BIT(embedding_backward, dy)),
    PLAIN(position_forward, w, TWO),
    WITH_WORKSPACE(position_backward, BIT(position_backward, dy)),
    WITH_WORKSPACE(attention_forward, ONE | BIT(attention_forward, qkv)),
    WITH_WORKSPACE(attention_backward, THREE | BIT(attention_backward, qkv)),
    PLAIN(activation_forward, x, TWO),
    PLAIN(activation_backward, value, THREE),
    PLAIN(softmax_forward, x, TWO),
    PLAIN(softmax_backward, y, THREE),
    PLAIN(dropout, block, TWO),
    PLAIN(norm_forward, stats, TWO),
    PLAIN(norm_backward_input, stats, THREE),
    WITH_WORKSPACE(norm_backward_weight,
                   BIT(norm_backward_weight, x) |
                       BIT(norm_backward_weight, dy)),
    SUMS(batchnorm_sums, ONE),
    PLAIN(batchnorm_stats, parts, 0),
    PLAIN(batchnorm_forward, stats, TWO),
    SUMS(batchnorm_backward_sums, TWO),
    PLAIN(batchnorm_backward_input, grad_sums, THREE),
    PLAIN(fill, y, 0),
    PLAIN(add, x, 0),
    WITH_WORKSPACE(linear_forward, THREE),
    PLAIN(linear_backward_input, w, THREE),
    WITH_WORKSPACE(linear_backward_weight,
                   BIT(linear_backward_weight, x) |
                       BIT(linear_backward_weight, dy)),
    WITH_WORKSPACE(conv_forward, THREE),
    WITH_WORKSPACE(conv_backward_input, THREE),
    WITH_WORKSPACE(conv_backward_weight,
                   BIT(conv_backward_weight, x) |
                       BIT(conv_backward_weight, dy)),
    PLAIN(relu_forward, x, TWO),
    PLAIN(relu_backward, y, THREE),
    PLAIN(maxpool_forward, index, TWO),
    PLAIN(maxpool_backward, index, TWO),
    PLAIN(avgpool_forward, x, TWO),
    PLAIN(avgpool_backward, dy, TWO),
    PLAIN(global_avgpool2d_forward, x, TWO),
    PLAIN(global_avgpool2d_backward, dy, TWO),
    PLAIN(softmax_xent_forward, target, BIT(softmax_xent_forward, x)),
    PLAIN(softmax_xent_backward, block, ONE),
    PLAIN(loss_sum, share, 0),
    PLAIN(sgd_update, block, 0),
    PLAIN(adam_update, block, 0),
    PLAIN(count_nonfinite, count, 0),
    PLAIN(xent_rule_forward, class_weight, BIT(xent_rule_forward, x)),
    PLAIN(xent_rule_backward, block, ONE),
    PLAIN(regression_forward, pos_weight, BIT(regression_forward, x)),
    PLAIN(regression_backward, block, TWO),
    PLAIN(rmsprop_update, block, 0),
    PLAIN(adagrad_update, block, 0),
    PLAIN(sum_squares, sums, 0),
    PLAIN(clip_factor, block, 0),
    WITH_WORKSPACE(muon_update, 0),
    PLAIN(ema_update, p, 0),
    PLAIN(swap, b, 0),
};

const tr__op_info *tr__op_info_of(tr__op op)
{
  return &table[op];
}

bool tr__op_has_16bit(tr__op op, const void *args)
{
  const tr__tensor *tensors = args;
  bool has = false;
  for (int i = 0; table[op].halves >> i != 0; i++) {
    has |= (table[op].halves >> i & 1) && tr__is_half(tensors[i].dtype);
  }
  return has;
}
