/* Models: calls of layer functions declare a graph of nodes, and
 * tr_model_build() plans it once for all steps. */
#ifndef TRAIN_MODEL_H
#define TRAIN_MODEL_H

#include <train/base.h>
#include <train/data.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tr_model tr_model;

/* A node: a value in a model's graph, which a layer computes. */
typedef struct tr_node {
  int index; /* negative where the layer function that made it failed */
} tr_node;

/* Zero-initialise; every zero is the default. */
typedef struct tr_build_opts {
  int64_t max_local_batch; /* largest number of samples of this rank in one
                              step; 0: the largest number that the context's
                              loaders deliver */
} tr_build_opts;

/* tr_model_create - create an empty model.
 *
 * Calls:     local
 * Errors:    TR_ENOMEM
 * Ownership: *out is owned by the caller; ctx is borrowed until
 *            tr_model_destroy()
 * Threads:   one thread per context */
TR_API tr_status tr_model_create(tr_context *ctx, tr_model **out);

/* tr_model_build - plan the whole step and allocate its memory.
 *
 * The call infers shapes, fuses layers, lays out the arenas, and initialises
 * the parameters from the context's seed (the same on every rank). Steps
 * allocate nothing later.
 *
 * opts  [in]  may be NULL
 *
 * The call freezes parameters on which no loss depends (a loss of weight 0 does
 * not count), see tr_model_freeze(); a warning of rank 0 names them. Resuming
 * ignores their optimizer slots in a checkpoint where they were trained.
 *
 * After tr_model_freeze(), call it again: parameters keep their values, and the
 * program must create its optimizers anew. On failure the model stays as it
 * was. For a moment both plans are in memory.
 *
 * Calls:     collective on the context's communicator
 * Errors:    the first error of the layer functions, with the layer's name;
 *            TR_ESHAPE, TR_EINVAL (no batch size known), TR_ENOMEM (with the
 *            bytes), TR_EMISMATCH where ranks declared different models or
 *            options of a layer (names both sides); agreed on all ranks
 * Ownership: nothing is kept
 * Threads:   one thread per context */
TR_API tr_status tr_model_build(tr_model *net, const tr_build_opts *opts);

/* tr_model_freeze - exclude parameters from training, or include them again.
 *
 *   tr_model_freeze(net, "conv*", 1);       parameters of layers conv...
 *   tr_model_freeze(net, "*", 1);           all parameters
 *   tr_model_freeze(net, "fc.*", 0);        except those of this layer
 *
 * pattern  [in]  of parameter names like "conv1.weight", as in a shell: `*`,
 *                `?`, `[...]`; later calls take precedence
 * frozen   [in]  1: freeze, 0: train
 *
 * A frozen parameter has no gradient and no optimizer state, and backward does
 * not compute for it. Freezing does not change its initial values. Checkpoints
 * and hashes include it. Buffers (running statistics) cannot be frozen.
 *
 * After tr_model_build(), build the model again, which keeps all values:
 * tr_model_build(net, NULL), then create a new optimizer. The old optimizer
 * refuses to step.
 *
 * Calls:     logically collective: the same on every rank, which the next
 *            tr_model_build() checks
 * Errors:    TR_EINVAL where no parameter has such a name (before
 *            tr_model_build(), that call returns it); TR_ENOMEM
 * Ownership: pattern is borrowed for the call
 * Threads:   one thread per context */
TR_API tr_status tr_model_freeze(tr_model *net,
                                 const char *pattern,
                                 int frozen);

/* tr_model_set_training - switch between training and evaluation.
 *
 * In evaluation dropout does nothing and batch normalisation uses its running
 * statistics. A model starts in training mode.
 *
 * Calls:     logically collective: the same on every rank
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API void tr_model_set_training(tr_model *net, int is_training);

/* tr_model_forward - compute all nodes and the loss of a batch.
 *
 * batch  [in]  at most as many samples as the model was built for; the call
 *              copies its arrays
 *
 * Calls:     local
 * Errors:    TR_ESTATE before tr_model_build(); TR_EINVAL for a batch that is
 *            too large or lacks an input
 * Ownership: batch is borrowed for the call
 * Threads:   one thread per context; asynchronous on the context's stream
 * Exact:     bitwise repeatable for fixed ranks and backend */
TR_API tr_status tr_model_forward(tr_model *net, const tr_batch *batch);

/* tr_model_backward - compute the gradients of this batch and add them up.
 *
 *   g <- g + d(sum of this rank's weighted losses)/dp / n0
 *
 * n0 is the number of samples of the global batch at the first backward since
 * the last step; the optimizer corrects for the true number.
 *
 * Calls:     local; with virtual shards (tr_context_opts) collective from the
 *            second batch of a step on: the call reduces the previous batch
 * Errors:    TR_ESTATE before tr_model_forward(), or without a loss
 * Ownership: nothing is created or kept
 * Threads:   one thread per context; asynchronous on the context's stream
 * Exact:     bitwise repeatable for fixed ranks and backend */
TR_API tr_status tr_model_backward(tr_model *net);

/* tr_model_allreduce_grads - all-reduce of the gradients: every rank gets those
 * of the global batch.
 *
 *   g <- sum over ranks r of g_r
 *
 * The same all-reduce carries losses, sample weights, failures and stop
 * requests of all ranks. So the next tr_optimizer_step() divides by the true
 * global weight, and the result is the mean over the true global batch.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ESTATE before tr_model_backward(); TR_ECOMM. A rank's own
 *            failure reaches all ranks in the same step.
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Exact:     bitwise repeatable for fixed ranks and backend
 * Source:    Goyal et al. 2017, arXiv:1706.02677, sec. 3 */
TR_API tr_status tr_model_allreduce_grads(tr_model *net);

/* tr_model_loss - the mean loss of the last global batch; after
 * tr_model_allreduce_grads() of all batches since the last step.
 *
 *   loss = sum of w_i l_i / sum of w_i   over all samples of all ranks
 *
 * Where the loss is not finite or above 1e25, a rank warns of the first sample
 * of its batch with a NaN, Inf or senseless number.
 *
 * loss  [out]  the same on all ranks; 0 where the batch was empty
 *
 * Calls:     collective on the context's communicator (free of messages after
 *            tr_model_allreduce_grads())
 * Errors:    TR_ESTATE before tr_model_forward(); TR_ECOMM
 * Ownership: nothing is created or kept
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_model_loss(tr_model *net, double *loss);

/* tr_model_accuracy - the weighted fraction of correctly classified samples in
 * the batches of tr_model_loss(): those whose largest logit is the target's.
 *
 * accuracy  [out]  0..1, the same on all ranks
 *
 * Calls:     collective, as tr_model_loss()
 * Errors:    as tr_model_loss()
 * Ownership: nothing is created or kept
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_model_accuracy(tr_model *net, double *accuracy);

/* tr_model_get_output - copy the values of a node from the last forward.
 *
 * values  [out]  (count of the last batch, shape of the node) in the context's
 *                element type: tr_model_output_bytes()
 *
 * The call can read only nodes whose memory the plan does not reuse: the last
 * node, the input of a loss, and nodes given to tr_model_keep().
 *
 * Calls:     local
 * Errors:    TR_ESTATE before tr_model_forward(); TR_EINVAL for a node whose
 *            memory the plan reuses
 * Ownership: values is the caller's
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_model_get_output(tr_model *net, tr_node node, void *values);

/* tr_model_output_bytes - the bytes that tr_model_get_output() writes at this
 * moment: for each sample of the last batch and each value of the node one
 * element of the context's type (4 bytes for tr_input_ids()). For the largest
 * batch, multiply the bytes of one sample by the number of samples.
 *
 * Every call that writes to an array of the caller has a companion like this
 * one.
 *
 * Calls:     local
 * Errors:    none; 0 where tr_model_get_output() fails
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API size_t tr_model_output_bytes(const tr_model *net, tr_node node);

/* tr_model_keep - keep the values of a node readable after forward.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered for tr_model_build()
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API void tr_model_keep(tr_model *net, tr_node node);

/* tr_model_tie - let a layer use the weight of another layer instead of its
 * own.
 *
 *   tr_node tok = tr_embedding(net, ids, &(tr_embedding_opts){
 *       .num = V, .out = D, .name = "tok"});
 *   ...
 *   tr_node head = tr_linear(net, x, &(tr_linear_opts){
 *       .out = V, .no_bias = 1, .name = "head"});
 *   tr_model_tie(net, head, tok);           head.weight is tok.weight: (V, D)
 *
 * node  [in]  any layer that has a weight
 * to    [in]  a layer declared before it, with a weight of equal shape
 *
 * The weight exists once, with the name and the initial values of `to`, in
 * tr_model_visit(), in checkpoints and hashes, for optimizers, and for
 * tr_model_freeze(), which freezes it for both layers. (The initial values of
 * an embedding are large for a head: GPT-2 has std 0.02, see
 * tr_model_init_param().) Its gradient is the sum over all layers that use it.
 * Each layer keeps its own bias. From a file that also has "head.weight", such
 * as a PyTorch state dict, tr_model_load() reads "tok.weight".
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered for tr_model_build(): TR_EINVAL where `to` is not a
 *            layer before the node or one of them has no weight; TR_ESHAPE
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    Press and Wolf 2017, arXiv:1608.05859; torch: head.weight =
 *            tok.weight */
TR_API void tr_model_tie(tr_model *net, tr_node node, tr_node to);

/* tr_model_shape - the extents of one sample at a node.
 *
 * Calls:     local, after tr_model_build()
 * Errors:    none; ndim -1 for an invalid node
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API tr_shape tr_model_shape(const tr_model *net, tr_node node);

/* tr_model_num_params - the number of trained values.
 *
 * Calls:     local
 * Errors:    none; 0 before tr_model_build()
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API int64_t tr_model_num_params(const tr_model *net);

/* One parameter, as tr_model_visit() passes it. */
typedef struct tr_param_info {
  const char *name; /* for example "fc1.weight"; borrowed for the call */
  tr_shape shape;
  tr_dtype dtype;
} tr_param_info;

/* Returns TR_OK to continue with the next parameter. */
typedef tr_status (*tr_visit_fn)(void *user, const tr_param_info *info);

/* tr_model_visit - call a function for every parameter, in ascending order of
 * names.
 *
 * Calls:     local
 * Errors:    TR_ESTATE before tr_model_build(); the status that visit returned
 * Ownership: nothing is kept
 * Threads:   one thread per context */
TR_API tr_status tr_model_visit(tr_model *net, tr_visit_fn visit, void *user);

/* tr_model_get_param - copy a parameter's values to the host.
 *
 * values  [out]  the parameter's shape, row-major, in the context's type:
 *                tr_model_param_bytes()
 *
 * Calls:     local
 * Errors:    TR_ESTATE, TR_EINVAL for an unknown name (lists the names)
 * Ownership: values is the caller's
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_model_get_param(tr_model *net,
                                    const char *name,
                                    void *values);

/* tr_model_param_bytes - the bytes that tr_model_get_param() and
 * tr_model_get_grad() write and tr_model_set_param() reads.
 *
 * Calls:     local
 * Errors:    none; 0 before tr_model_build() and for an unknown name
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API size_t tr_model_param_bytes(const tr_model *net, const char *name);

/* tr_model_get_grad - copy a parameter's gradient to the host.
 *
 * After tr_model_backward(): this rank's sum divided by n0 (see there). After
 * tr_model_allreduce_grads(): the sum over the ranks.
 *
 * Calls:     local
 * Errors:    as tr_model_get_param()
 * Ownership: values is the caller's
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_model_get_grad(tr_model *net,
                                   const char *name,
                                   void *values);

/* tr_model_set_param - set a parameter's values.
 *
 * Calls:     logically collective: give every rank the same values
 * Errors:    as tr_model_get_param()
 * Ownership: values is borrowed for the call
 * Threads:   one thread per context */
TR_API tr_status tr_model_set_param(tr_model *net,
                                    const char *name,
                                    const void *values);

/* tr_model_params_hash - XXH3-64 of all parameters.
 *
 * The hash covers, in ascending order of names, the bytes of the name, the
 * extents as little-endian int64, and the values as little-endian float32
 * (float64 in a context of TR_F64).
 *
 * Calls:     local
 * Errors:    TR_ESTATE before tr_model_build()
 * Ownership: nothing is created or kept
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_model_params_hash(tr_model *net, uint64_t *hash);

/* tr_model_print - print a table of the layers with shape, parameters, FLOPs
 * and options, then the totals.
 *
 * FLOPs are those of the products for one sample (linear and convolution
 * layers, attention), where a multiply-add counts as two. Causal attention
 * counts only the places that depend on each other. Backward counts the
 * gradients that this plan computes, so none for frozen parameters, and the
 * scores that attention computes again. FLOPs leave out all work of a few
 * operations per value: biases, embeddings and positions, norms, pools,
 * activations, dropout, softmax and losses, sums and products of nodes, the
 * optimizer.
 *
 * Calls:     local
 * Errors:    TR_ESTATE before tr_model_build()
 * Ownership: stream is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.utils.flop_counter counts the same products, but all places
 *            of causal attention */
TR_API tr_status tr_model_print(const tr_model *net, FILE *stream);

/* tr_model_print_plan - print every node of the plan with its shape, layout and
 * bytes.
 *
 * Calls:     local
 * Errors:    TR_ESTATE before tr_model_build()
 * Ownership: stream is borrowed for the call
 * Threads:   one thread per context */
TR_API tr_status tr_model_print_plan(const tr_model *net, FILE *stream);

/* tr_model_destroy - release a model, after its optimizer.
 *
 * Calls:     local
 * Errors:    none; net and *net may be NULL
 * Ownership: *net is released and set to NULL
 * Threads:   one thread per context */
TR_API void tr_model_destroy(tr_model **net);

#ifdef __cplusplus
}
#endif

#endif
