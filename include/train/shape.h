/* Layers that join, cut and rearrange values: residual branches, gates, skip
 * connections. Each call adds one node; see train/layers.h. */
#ifndef TRAIN_SHAPE_H
#define TRAIN_SHAPE_H

#include <train/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* tr_add - y = a + b, element by element; a residual is tr_add(net, x, branch).
 *
 * a, b   [in]  nodes of equal shape; may be the same
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_ESHAPE
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.add */
TR_API tr_node tr_add(tr_model *net, tr_node a, tr_node b);

/* tr_mul - y = a b, element by element.
 *
 * a, b   [in]  nodes of equal shape; may be the same
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_ESHAPE
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.mul */
TR_API tr_node tr_mul(tr_model *net, tr_node a, tr_node b);

/* tr_concat - values side by side along one axis.
 *
 * inputs  [in]  (num_inputs) 1 to 8 nodes, of equal extents but along the axis
 * axis    [in]  of a sample, counted from 0: 0 is the channels of an image
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: inputs is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.cat */
TR_API tr_node tr_concat(tr_model *net,
                         const tr_node *inputs,
                         int num_inputs,
                         int axis);

/* tr_reshape - the same values under other extents.
 *
 * shape  [in]  of one sample, of x's count; one extent may be -1: what is left
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_ESHAPE
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.Tensor.reshape */
TR_API tr_node tr_reshape(tr_model *net, tr_node x, tr_shape shape);

typedef struct tr_transpose_opts {
  int order[TR_MAX_DIMS]; /* axis i of the output is the input's order[i], of a
                             sample, counted from 0; each once */
} tr_transpose_opts;

/* tr_transpose - a sample's axes in another order.
 *
 *   {{1, 0}} transposes the matrix of each sample: (N, A, B) -> (N, B, A)
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.permute */
TR_API tr_node tr_transpose(tr_model *net,
                            tr_node x,
                            const tr_transpose_opts *opts);

/* tr_upsample1d - sequences of `scale` times the length.
 *
 *   y[n,c,l] = x[n, c, l / scale], rounded down
 *
 *   x (N, C, L), y (N, C, scale L)
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.nn.Upsample, mode "nearest" */
TR_API tr_node tr_upsample1d(tr_model *net, tr_node x, int64_t scale);

/* tr_upsample2d - images of `scale` times the height and width.
 *
 *   y[n,c,h,w] = x[n, c, h / scale, w / scale], rounded down
 *
 *   x (N, C, H, W), y (N, C, scale H, scale W)
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.nn.Upsample, mode "nearest" */
TR_API tr_node tr_upsample2d(tr_model *net, tr_node x, int64_t scale);

#ifdef __cplusplus
}
#endif

#endif
