/* What the implementation of a layer calls: tr__add_node() in its builder call,
 * declarations in infer, text helpers in describe, and tensors in forward and
 * backward. */
#ifndef TR_NODE_IMPL_H
#define TR_NODE_IMPL_H

#include "model/model_impl.h"

/* tr__add_node - every builder call ends here: add a node of a type on its
 * inputs, with a copy of its options. what->opts may be NULL. With what->name
 * NULL the node gets a standard name, type and number. */
typedef struct tr__node_spec {
  const tr__layer_type *type;
  const tr_node *inputs;
  int num_inputs;
  const void *opts;
  size_t opts_bytes;
  const char *name;
} tr__node_spec;
tr_node tr__add_node(tr_model *net, const tr__node_spec *what);

/* In infer. */

/* TR__CHECK_NODE - TR_CHECK with the layer's type and name in front of the
 * message. */
#define TR__CHECK_NODE(condition, node, status, format, ...)                   \
  TR_CHECK(condition, status, "%s \"%s\": " format, (node)->type->name,        \
           (node)->name, __VA_ARGS__)

/* tr__input_shape - the extents of one sample of input i. */
const tr_shape *
tr__input_shape(const tr_model *net, const tr__node *node, int i);

/* tr__declare_param - declare the parameter "<node>.<name>" with its
 * initialiser. Its number i within the node is the number of declarations
 * before it. The "weight" of a tied node is the weight of node tied_to instead.
 */
tr_status tr__declare_param(tr_model *net,
                            tr__node *node,
                            const char *name,
                            tr_shape shape,
                            tr__init init);

/* tr__declare_buffer - likewise, for values that the layer updates itself in
 * forward. They have no gradient. Checkpoints and hashes include them. */
tr_status tr__declare_buffer(tr_model *net,
                             tr__node *node,
                             const char *name,
                             tr_shape shape,
                             tr__init init);

/* tr__declare_saved - declare a tensor with one row per sample that forward
 * writes and backward reads. */
void tr__declare_saved(tr__node *node, tr_dtype dtype, tr_shape shape);

/* tr__declare_single - likewise, but one tensor for all samples together. */
void tr__declare_single(tr__node *node, tr_dtype dtype, tr_shape shape);

/* tr__shape_tensor - a tensor without data, with net->max_rows rows, to ask a
 * backend for the workspace of an op. */
tr__tensor tr__shape_tensor(const tr_model *net, const tr_shape *shape);

/* tr__param_tensor - likewise, with the extents of parameter i of a node. */
tr__tensor tr__param_tensor(const tr_model *net, const tr__node *node, int i);

/* tr__plan_shards - likewise, the shards of a batch of net->max_rows rows. */
tr__shards tr__plan_shards(const tr_model *net);

/* tr__workspace_bytes - the bytes of workspace that the backend needs for an
 * op. */
size_t tr__workspace_bytes(const tr_model *net, tr__op op, const void *args);

/* In describe: each writes ", <name> <value>". */

/* tr__describe_number - in the fewest digits that read back as the same number.
 */
void tr__describe_number(FILE *out, const char *name, double value);
void tr__describe_integer(FILE *out, const char *name, int64_t value);

/* tr__describe_flag - writes ", <name>" where the flag is set, else nothing. */
void tr__describe_flag(FILE *out, const char *name, bool is_set);

/* tr__describe_array - writes the hash of the array; nothing where count is 0.
 */
void tr__describe_array(FILE *out,
                        const char *name,
                        const double *values,
                        int64_t count);

/* In flops. */

/* tr__product_flops - FLOPs of a product of parameter `weight` with input 0
 * that takes so many multiply-adds. Backward takes as many again for each
 * gradient that the plan computes: that of the weight and that of the input. */
tr__flops tr__product_flops(const tr_model *net,
                            const tr__node *node,
                            int weight,
                            double multiply_adds);

/* In forward and backward. */

tr__tensor tr__output(const tr__pass *run, const tr__node *node);
tr__tensor tr__input(const tr__pass *run, const tr__node *node, int i);
tr__tensor tr__workspace(const tr__pass *run, const tr__node *node);
tr__tensor tr__saved(const tr__pass *run, const tr__node *node, int i);

/* tr__value - parameter i in the context's dtype.
 * tr__weight - parameter i as products read it: in mixed precision, the 16-bit
 * copy. */
tr__tensor tr__value(const tr__pass *run, const tr__node *node, int i);
tr__tensor tr__weight(const tr__pass *run, const tr__node *node, int i);
tr__tensor tr__sample_weights(const tr__pass *run); /* absent (data NULL): all
                                                       are 1 */
tr__tensor tr__loss_sums(const tr__pass *run);

/* tr__loss_scale - the factor of a loss and its gradient: the loss's weight,
 * times the rows per sample of the model's first loss, divided by those of this
 * loss. The sum of all losses is divided by the weight of the first loss's
 * rows. */
double tr__loss_scale(const tr__pass *run, const tr__node *node);

tr__tensor tr__output_grad(const tr__pass *run, const tr__node *node);

/* tr__input_grad - the gradient of input i; absent (data NULL) where the plan
 * needs none. */
tr__tensor tr__input_grad(const tr__pass *run, const tr__node *node, int i);

/* tr__input_grad_adds - 1 if an earlier call of this backward has set the
 * gradient of input i, so that this one must add to it. */
int tr__input_grad_adds(const tr__pass *run, const tr__node *node, int i);

/* tr__grad - the gradient of parameter i. If the parameter is not trained, the
 * tensor has extents but no data. */
tr__tensor tr__grad(const tr__pass *run, const tr__node *node, int i);

/* tr__grads_add - 1 if backward must add to the gradients of the node's
 * parameters: they hold those of earlier micro-batches, or of later layers that
 * are tied to this one. If that holds for some of them only, this call sets the
 * others to zero. */
int tr__grads_add(const tr__pass *run, const tr__node *node);

#endif
