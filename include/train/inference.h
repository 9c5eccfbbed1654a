/* Inference: the forward pass of a model in a workspace of its own, so that
 * several threads can use one model at once. */
#ifndef TRAIN_INFERENCE_H
#define TRAIN_INFERENCE_H

#include <train/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tr_inference tr_inference;

/* Zero-initialise; every zero is the default. */
typedef struct tr_inference_opts {
  int64_t batch;          /* largest number of samples in one call; 0: the
                             number for which the model was built */
  const tr_node *outputs; /* nodes to read; NULL: the input of the first loss,
                             or the last node of a model without a loss */
  int num_outputs;        /* 0 with outputs NULL */
  int threads;            /* threads of this workspace; 0: 1, the caller's
                             own */
} tr_inference_opts;

/* tr_inference_create - plan a forward pass that computes some outputs.
 *
 * The workspace reads the parameters in the model's memory and has its own
 * memory for activations. It has no gradients, reuses the memory of each value
 * after its last reader, and keeps nothing for backward beyond one layer. It
 * leaves out the nodes on which no output depends, such as losses. It computes
 * in evaluation mode: dropout does nothing, and batch normalisation uses its
 * running statistics.
 *
 *   tr_inference *plan;
 *   tr_inference_create(net, &(tr_inference_opts){.batch = 1}, &plan);
 *   tr_inference_forward(plan, &(tr_batch){.count = 1, .inputs = {image}});
 *   tr_inference_get_output(plan, logits_node, logits);
 *
 * opts  [in]  may be NULL
 *
 * Any number of workspaces may exist, one per thread. They follow training:
 * their next call after a step uses the new parameters. On the device "strict"
 * they take turns on the context's backend.
 *
 * Calls:     local
 * Errors:    TR_ESTATE before tr_model_build(); TR_EINVAL for an output that is
 *            no node or is a loss; TR_ENOMEM (with the bytes)
 * Ownership: *out is owned by the caller; net is borrowed until
 *            tr_inference_destroy()
 * Threads:   any thread, while other threads use net for inference only */
TR_API tr_status tr_inference_create(tr_model *net,
                                     const tr_inference_opts *opts,
                                     tr_inference **out);

/* tr_inference_forward - compute the outputs of a batch.
 *
 * batch  [in]  the call reads only count (0 to the planned number of samples)
 *              and inputs. Inputs on which no output depends may be missing.
 *
 * The call allocates nothing.
 *
 * Calls:     local
 * Errors:    TR_EINVAL for a batch that is too large or lacks an input
 * Ownership: batch is borrowed for the call
 * Threads:   one thread per workspace; several workspaces at once, while
 *            nothing changes the parameters
 * Exact:     the bits of tr_model_forward() in evaluation on the same samples,
 *            for any number of threads and workspaces */
TR_API tr_status tr_inference_forward(tr_inference *plan,
                                      const tr_batch *batch);

/* tr_inference_get_output - copy an output of the last forward.
 *
 * node    [in]   one of the outputs of tr_inference_create()
 * values  [out]  (count of the last batch, shape of the node) in the context's
 *                element type
 *
 * Calls:     local
 * Errors:    TR_ESTATE before tr_inference_forward(); TR_EINVAL for a node that
 *            is not an output; TR_EDEVICE
 * Ownership: values is the caller's
 * Threads:   as tr_inference_forward(); waits for the device */
TR_API tr_status tr_inference_get_output(tr_inference *plan,
                                         tr_node node,
                                         void *values);

/* tr_inference_output_bytes - the bytes that tr_inference_get_output() writes
 * at this moment; see tr_model_output_bytes().
 *
 * Calls:     local
 * Errors:    none; 0 where tr_inference_get_output() fails
 * Ownership: nothing is created or kept
 * Threads:   as tr_inference_forward() */
TR_API size_t tr_inference_output_bytes(const tr_inference *plan, tr_node node);

/* tr_inference_bytes - the bytes that a workspace holds besides the parameters.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API size_t tr_inference_bytes(const tr_inference *plan);

/* tr_inference_destroy - release a workspace, before its model.
 *
 * Calls:     local
 * Errors:    none; plan and *plan may be NULL
 * Ownership: *plan is released and set to NULL
 * Threads:   any thread, as tr_inference_create() */
TR_API void tr_inference_destroy(tr_inference **plan);

#ifdef __cplusplus
}
#endif

#endif
