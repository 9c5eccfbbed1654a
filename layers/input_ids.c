/* Input of ids: a node of int32 numbers that the model fills from the batch.
 *
 *   y = tr_batch.inputs[k]        y (N, shape...) int32 */
#include <train/sequence.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

static tr_status infer(tr_model *net, tr__node *node)
{
  TR_TRY(tr__input_type.infer(net, node));
  node->flags = TR__IS_INPUT | TR__IS_IDS;
  return TR_OK;
}

static void nothing(const tr__pass *run, const tr__node *node)
{
  (void)run;
  (void)node;
}

const tr__layer_type tr__input_ids_type = {
    .name = "input_ids",
    .infer = infer,
    .forward = nothing,
    .backward = nothing,
};

tr_node tr_input_ids(tr_model *net, tr_shape shape)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__input_ids_type,
                                            .opts = &shape,
                                            .opts_bytes = sizeof shape});
}
