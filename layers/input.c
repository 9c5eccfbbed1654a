/* Input: a node that the model fills from the batch.
 *
 *   y = tr_batch.inputs[k]        y (N, shape...) */
#include <train/layers.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

static tr_status infer(tr_model *net, tr__node *node)
{
  (void)net;
  const tr_shape *shape = node->opts;
  TR__CHECK_NODE(
      shape->ndim >= 0 && shape->ndim < TR_MAX_DIMS &&
          tr__shape_is_valid(shape),
      node, TR_ESHAPE,
      "expected 0 to %d axes of positive extents, got %d axes with %lld "
      "elements",
      TR_MAX_DIMS - 1, shape->ndim, (long long)tr_shape_count(shape));
  node->shape = *shape;
  node->flags = TR__IS_INPUT;
  return TR_OK;
}

static void nothing(const tr__pass *run, const tr__node *node)
{
  (void)run;
  (void)node;
}

const tr__layer_type tr__input_type = {
    .name = "input",
    .infer = infer,
    .forward = nothing,
    .backward = nothing,
};

tr_node tr_input(tr_model *net, tr_shape shape)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__input_type,
                                            .opts = &shape,
                                            .opts_bytes = sizeof shape});
}
