/* What a layer uses: builder, declarations for infer, tensors for forward and
 * backward. */
#ifndef TR_NODE_IMPL_H
#define TR_NODE_IMPL_H

#include "model/model_impl.h"

/* tr__add_node - what every builder call ends in: a node of a type on its
 * inputs, with a copy of its options. what->opts may be NULL; what->name NULL
 * gives a standard name. */
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

/* tr__fail_node - TR_FAIL with the layer's type and name in front. */
#define TR__CHECK_NODE(condition, node, status, format, ...)                   \
  TR_CHECK(condition, status, "%s \"%s\": " format, (node)->type->name,        \
           (node)->name, __VA_ARGS__)

/* tr__input_shape - extents of one sample of input i. */
const tr_shape *
tr__input_shape(const tr_model *net, const tr__node *node, int i);

/* tr__declare_param - a parameter "<node>.<name>" with its first values; its
 * number within the node is the number of those before. */
tr_status tr__declare_param(tr_model *net,
                            tr__node *node,
                            const char *name,
                            tr_shape shape,
                            tr__init init);

/* tr__declare_buffer - likewise for values that the layer updates itself, in
 * forward. They have no gradient, and are part of checkpoints and hashes. */
tr_status tr__declare_buffer(tr_model *net,
                             tr__node *node,
                             const char *name,
                             tr_shape shape,
                             tr__init init);

/* tr__declare_saved - a tensor with one row per sample that forward leaves for
 * backward. */
void tr__declare_saved(tr__node *node, tr_dtype dtype, tr_shape shape);

/* tr__declare_single - likewise, but one tensor for all samples together. */
void tr__declare_single(tr__node *node, tr_dtype dtype, tr_shape shape);

/* tr__shape_tensor - a tensor without data with the most rows of the plan, to
 * ask a backend for its workspace. */
tr__tensor tr__shape_tensor(const tr_model *net, const tr_shape *shape);

/* tr__param_tensor - likewise for parameter i of a node. */
tr__tensor tr__param_tensor(const tr_model *net, const tr__node *node, int i);

/* tr__plan_shards - the cut of the largest batch, likewise. */
tr__shards tr__plan_shards(const tr_model *net);

/* tr__workspace_bytes - what the backend wants for an op. */
size_t tr__workspace_bytes(const tr_model *net, tr__op op, const void *args);

/* In describe: each writes ", <name> <value>". */

/* tr__describe_number - in as few digits as tell it from all others. */
void tr__describe_number(FILE *out, const char *name, double value);
void tr__describe_integer(FILE *out, const char *name, int64_t value);

/* tr__describe_flag - ", <name>" where it is set. */
void tr__describe_flag(FILE *out, const char *name, bool is_set);

/* tr__describe_array - its hash; nothing where count is 0. */
void tr__describe_array(FILE *out,
                        const char *name,
                        const double *values,
                        int64_t count);

/* In flops. */

/* tr__product_flops - of a product of parameter `weight` with input 0 that
 * takes so many multiply-adds: as many again for each gradient that the plan
 * asks for. */
tr__flops tr__product_flops(const tr_model *net,
                            const tr__node *node,
                            int weight,
                            double multiply_adds);

/* In forward and backward. */

tr__tensor tr__output(const tr__pass *run, const tr__node *node);
tr__tensor tr__input(const tr__pass *run, const tr__node *node, int i);
tr__tensor tr__workspace(const tr__pass *run, const tr__node *node);
tr__tensor tr__saved(const tr__pass *run, const tr__node *node, int i);

/* tr__value - parameter i as it is kept; tr__weight - as products read it, in
 * mixed precision of 16 bits. */
tr__tensor tr__value(const tr__pass *run, const tr__node *node, int i);
tr__tensor tr__weight(const tr__pass *run, const tr__node *node, int i);
tr__tensor tr__sample_weights(const tr__pass *run); /* absent: all 1 */
tr__tensor tr__loss_sums(const tr__pass *run);

/* tr__loss_scale - what a loss and its gradient are multiplied by: its weight,
 * and what makes its rows count as those of the model's first loss, by which
 * the sum of all is divided. */
double tr__loss_scale(const tr__pass *run, const tr__node *node);

tr__tensor tr__output_grad(const tr__pass *run, const tr__node *node);

/* tr__input_grad - absent (data NULL) where nobody needs it. */
tr__tensor tr__input_grad(const tr__pass *run, const tr__node *node, int i);

/* tr__input_grad_adds - a layer that ran before has set it: add. */
int tr__input_grad_adds(const tr__pass *run, const tr__node *node, int i);

/* tr__grad - for a parameter that is not trained absent: extents without
 * data. */
tr__tensor tr__grad(const tr__pass *run, const tr__node *node, int i);

/* tr__grads_add - the gradients of a node's parameters hold earlier batches, or
 * those of layers behind that are tied to this one: add. Where only some of
 * them do, the others are set to zero. */
int tr__grads_add(const tr__pass *run, const tr__node *node);

#endif
