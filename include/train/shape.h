/* Layers that join and rearrange values: residual branches, gates, skip
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

/* tr_concat - concatenation along one axis.
 *
 * inputs  [in]  (num_inputs) 1 to 8 nodes, with equal extents except along the
 *               axis
 * axis    [in]  axis of a sample, counted from 0: axis 0 of an image is the
 *               channels
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

/* tr_reshape - the same values in another shape.
 *
 * shape  [in]  of one sample, with as many elements as x; one extent may be -1:
 *              the call computes it
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_ESHAPE
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.Tensor.reshape */
TR_API tr_node tr_reshape(tr_model *net, tr_node x, tr_shape shape);

typedef struct tr_transpose_opts {
  int order[TR_MAX_DIMS]; /* axis i of the output is axis order[i] of the input;
                             axes of a sample, counted from 0, each once */
} tr_transpose_opts;

/* tr_transpose - the axes of a sample in another order.
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

/* tr_upsample1d - sequences enlarged to `scale` times the length.
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

/* tr_upsample2d - images enlarged to `scale` times the height and width.
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
