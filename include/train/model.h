/* Models: a graph written as functions of nodes, built once into a plan. */
#ifndef TRAIN_MODEL_H
#define TRAIN_MODEL_H

#include <train/base.h>
#include <train/data.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tr_model tr_model;

/* A value in a model's graph: what a layer computes. */
typedef struct tr_node {
  int index; /* negative where the builder call that made it failed */
} tr_node;

/* Zero-initialise; every zero is the default. */
typedef struct tr_build_opts {
  int64_t max_local_batch; /* largest number of samples of this rank in one
                              step; 0: what the context's loaders deliver */
} tr_build_opts;

/* tr_model_create - an empty model.
 *
 * Calls:     local
 * Errors:    TR_ENOMEM
 * Ownership: *out is owned by the caller; ctx is borrowed until
 *            tr_model_destroy()
 * Threads:   one thread per context */
TR_API tr_status tr_model_create(tr_context *ctx, tr_model **out);

/* tr_model_build - plan the whole step and allocate its memory.
 *
 * Infers shapes, fuses, lays out the arenas, initialises the parameters from
 * the context's seed (the same on every rank). Nothing is allocated later.
 *
 * opts  [in]  may be NULL
 *
 * A parameter that no loss depends on (one of weight 0 is none) is frozen, see
 * tr_model_freeze(), and named in a warning of rank 0. Its slots in a
 * checkpoint where it was trained are left out.
 *
 * After tr_model_freeze() it can be called again: parameters keep their values,
 * and optimizers have to be created anew. Where that fails, the model stays as
 * it was. Both plans are in memory for a moment.
 *
 * Calls:     collective on the context's communicator
 * Errors:    the first error of the builder calls, with the layer's name;
 *            TR_ESHAPE, TR_EINVAL (no batch size known), TR_ENOMEM (with the
 *            bytes), TR_EMISMATCH where ranks built different models or gave a
 *            layer other options (names both sides); agreed on all ranks
 * Ownership: nothing is kept
 * Threads:   one thread per context */
TR_API tr_status tr_model_build(tr_model *net, const tr_build_opts *opts);

/* tr_model_freeze - train some parameters no longer, or again.
 *
 *   tr_model_freeze(net, "conv*", 1);       everything of layers named conv...
 *   tr_model_freeze(net, "*", 1);           everything
 *   tr_model_freeze(net, "fc.*", 0);        but this layer
 *
 * pattern  [in]  of parameter names like "conv1.weight", as in a shell: `*`,
 *                `?`, `[...]`; later calls win
 * frozen   [in]  1: freeze, 0: train
 *
 * What is frozen has no gradient and no optimizer state and is not computed
 * backward; its first values are those that it would have had. It is part of
 * checkpoints and hashes like everything else. Buffers (running statistics)
 * are not affected.
 *
 * After tr_model_build() the model has to be built again, which keeps all
 * values: tr_model_build(net, NULL), then a new optimizer. The old optimizer
 * refuses to step.
 *
 * Calls:     logically collective: the same on every rank, which the next
 *            tr_model_build() checks
 * Errors:    TR_EINVAL where no parameter has such a name (before
 *            tr_model_build(): from there); TR_ENOMEM
 * Ownership: pattern is borrowed for the call
 * Threads:   one thread per context */
TR_API tr_status tr_model_freeze(tr_model *net,
                                 const char *pattern,
                                 int frozen);

/* tr_model_set_training - choose between training and evaluation.
 *
 * In evaluation dropout does nothing and normalisation uses its running
 * statistics. A model starts in training.
 *
 * Calls:     logically collective: the same on every rank
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API void tr_model_set_training(tr_model *net, int is_training);

/* tr_model_forward - compute every node and the loss of a batch.
 *
 * batch  [in]  at most the built number of samples; its arrays are copied
 *
 * Calls:     local
 * Errors:    TR_ESTATE before tr_model_build(); TR_EINVAL for a batch that is
 *            too large or lacks an input
 * Ownership: batch is borrowed for the call
 * Threads:   one thread per context; asynchronous on the context's stream
 * Exact:     bitwise repeatable for fixed ranks and backend */
TR_API tr_status tr_model_forward(tr_model *net, const tr_batch *batch);

/* tr_model_backward - add this batch's gradients to the gradients.
 *
 *   g <- g + d(sum of this rank's weighted losses)/dp / n0
 *
 * n0 is the global batch's sample count at the first backward since the last
 * step; the optimizer corrects for the true one.
 *
 * Calls:     local; with virtual shards (tr_context_opts) collective from the
 *            second batch of a step on: it sums the batch before
 * Errors:    TR_ESTATE before tr_model_forward(), or without a loss
 * Ownership: nothing is created or kept
 * Threads:   one thread per context; asynchronous on the context's stream
 * Exact:     bitwise repeatable for fixed ranks and backend */
TR_API tr_status tr_model_backward(tr_model *net);

/* tr_model_allreduce_grads - make every rank's gradients those of the global
 * batch.
 *
 *   g <- sum over ranks r of g_r
 *
 * The sums of losses, sample weights, failures and stop requests of all ranks
 * ride along, so the next tr_optimizer_step() divides by the true global
 * weight: the result is the mean over the true global batch.
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
 * A loss that is not finite, or above 1e25, makes a rank warn of the first
 * sample of its batch that cannot be computed with.
 *
 * loss  [out]  the same on all ranks; 0 where the batch was empty
 *
 * Calls:     collective on the context's communicator (free of messages after
 *            tr_model_allreduce_grads())
 * Errors:    TR_ESTATE before tr_model_forward(); TR_ECOMM
 * Ownership: nothing is created or kept
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_model_loss(tr_model *net, double *loss);

/* tr_model_accuracy - the weighted share of right classes in the batches of
 * tr_model_loss(): samples whose largest logit is the target's.
 *
 * accuracy  [out]  0..1, the same on all ranks
 *
 * Calls:     collective, as tr_model_loss()
 * Errors:    as tr_model_loss()
 * Ownership: nothing is created or kept
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_model_accuracy(tr_model *net, double *accuracy);

/* tr_model_get_output - copy a node's values of the last forward.
 *
 * values  [out]  (count of the last batch, shape of the node) in the context's
 *                element type: tr_model_output_bytes()
 *
 * Only nodes whose memory is not used again in the plan can be read: the last
 * one, the input of a loss, and all after tr_model_keep().
 *
 * Calls:     local
 * Errors:    TR_ESTATE before tr_model_forward(); TR_EINVAL for a node whose
 *            memory was used again
 * Ownership: values is the caller's
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_model_get_output(tr_model *net, tr_node node, void *values);

/* tr_model_output_bytes - what tr_model_get_output() writes at this moment: the
 * last batch's samples, an element of the context's type (of tr_input_ids(), 4
 * bytes) for each value of the node. For the largest batch, multiply that of
 * one sample by the number of samples.
 *
 * Every call that writes an array of the caller's has one like this beside it.
 *
 * Calls:     local
 * Errors:    none; 0 where tr_model_get_output() fails
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API size_t tr_model_output_bytes(const tr_model *net, tr_node node);

/* tr_model_keep - let a node's values stay readable after forward.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered for tr_model_build()
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API void tr_model_keep(tr_model *net, tr_node node);

/* tr_model_tie - let a layer use another one's weight instead of its own.
 *
 *   tr_node tok = tr_embedding(net, ids, &(tr_embedding_opts){
 *       .num = V, .out = D, .name = "tok"});
 *   ...
 *   tr_node head = tr_linear(net, x, &(tr_linear_opts){
 *       .out = V, .no_bias = 1, .name = "head"});
 *   tr_model_tie(net, head, tok);           head.weight is tok.weight: (V, D)
 *
 * node  [in]  any layer that has a weight
 * to    [in]  one declared before it, with a weight of equal shape
 *
 * The weight is there once, under the name of `to` and with its first values:
 * in tr_model_visit(), in checkpoints and hashes, for optimizers and
 * tr_model_freeze(), which freezes it for both. (An embedding's first values
 * are large for a head: GPT-2 has std 0.02, see tr_model_init_param().) Its
 * gradient is the sum over all layers that use it. A bias stays each layer's
 * own. Of a file that has "head.weight" too, as PyTorch's state dicts have,
 * tr_model_load() reads "tok.weight".
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered for tr_model_build(): TR_EINVAL where `to` is no layer
 *            before the node, or one of them has no weight; TR_ESHAPE
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    Press and Wolf 2017, arXiv:1608.05859; torch: head.weight =
 *            tok.weight */
TR_API void tr_model_tie(tr_model *net, tr_node node, tr_node to);

/* tr_model_shape - the extents of one sample at a node.
 *
 * Calls:     local, after tr_model_build()
 * Errors:    none; ndim -1 for a node that is none
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

/* One parameter, as tr_model_visit() shows it. */
typedef struct tr_param_info {
  const char *name; /* for example "fc1.weight"; borrowed for the call */
  tr_shape shape;
  tr_dtype dtype;
} tr_param_info;

/* Returns TR_OK to go on. */
typedef tr_status (*tr_visit_fn)(void *user, const tr_param_info *info);

/* tr_model_visit - show every parameter in ascending order of names.
 *
 * Calls:     local
 * Errors:    TR_ESTATE before tr_model_build(); what visit returned
 * Ownership: nothing is kept
 * Threads:   one thread per context */
TR_API tr_status tr_model_visit(tr_model *net, tr_visit_fn visit, void *user);

/* tr_model_get_param - copy a parameter's values to the host.
 *
 * values  [out]  the parameter's shape, row-major, in the context's type:
 *                tr_model_param_bytes()
 *
 * Calls:     local
 * Errors:    TR_ESTATE, TR_EINVAL for a name that is none (lists the names)
 * Ownership: values is the caller's
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_model_get_param(tr_model *net,
                                    const char *name,
                                    void *values);

/* tr_model_param_bytes - what tr_model_get_param() and tr_model_get_grad()
 * write, and tr_model_set_param() reads.
 *
 * Calls:     local
 * Errors:    none; 0 before tr_model_build() and for a name that is none
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API size_t tr_model_param_bytes(const tr_model *net, const char *name);

/* tr_model_get_grad - copy a parameter's gradient to the host.
 *
 * After tr_model_backward(): this rank's sum, divided by n0 (see there). After
 * tr_model_allreduce_grads(): the sum over ranks.
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
 * Over, in ascending order of names: the name's bytes, its extents as
 * little-endian int64, its values as little-endian float32 (float64 in
 * float64 runs).
 *
 * Calls:     local
 * Errors:    TR_ESTATE before tr_model_build()
 * Ownership: nothing is created or kept
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_model_params_hash(tr_model *net, uint64_t *hash);

/* tr_model_print - every layer with its shape, parameters, work and options, as
 * tables of other frameworks show them; then the totals.
 *
 * FLOPs are those of the products (linear and convolution layers, attention), a
 * multiply-add being two, for one sample; of causal attention those of the
 * places that see each other. Backward's are those of the gradients that this
 * plan computes, so none for what is frozen, and of the scores that attention
 * computes again. Not counted is what takes a few operations per value: biases,
 * embeddings and positions, norms, pools, activations, dropout, softmax and
 * losses, sums and products of nodes, the optimizer.
 *
 * Calls:     local
 * Errors:    TR_ESTATE before tr_model_build()
 * Ownership: stream is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.utils.flop_counter counts the same products, and of causal
 *            attention all of them */
TR_API tr_status tr_model_print(const tr_model *net, FILE *stream);

/* tr_model_print_plan - every node, shape, layout and byte of the plan.
 *
 * Calls:     local
 * Errors:    TR_ESTATE before tr_model_build()
 * Ownership: stream is borrowed for the call
 * Threads:   one thread per context */
TR_API tr_status tr_model_print_plan(const tr_model *net, FILE *stream);

/* tr_model_destroy - release a model; after its optimizer.
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
