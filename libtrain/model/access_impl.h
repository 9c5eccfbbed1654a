/* Access to a model for the folders that do not know its struct (checkpoint/,
 * optim/): its store, context, seed, step state and texts. */
#ifndef TR_ACCESS_IMPL_H
#define TR_ACCESS_IMPL_H

#include "store/step_state_impl.h"
#include "store/store_impl.h"

/* tr__model_store - the store of a built model; NULL before the build. */
tr__store *tr__model_store(tr_model *net);

/* tr__model_step - which call may come next in the step.
 * tr__model_buckets - how the gradients are divided into transfers.
 * Both pointers are valid as long as the model. */
tr__step_state *tr__model_step(tr_model *net);
tr__buckets *tr__model_buckets(tr_model *net);

/* Data that another folder keeps with a model until tr_model_destroy(). */
typedef struct tr__attachment {
  void *data; /* NULL: none yet */
  void (*release)(void *data);
} tr__attachment;

/* tr__model_attachment - what checkpoint/ keeps between two saves. */
tr__attachment *tr__model_attachment(tr_model *net);

/* tr__model_context - the context that the model was created on. */
tr_context *tr__model_context(const tr_model *net);

/* tr__model_use_shared_memory - move the values to a segment, memory that the
 * ranks of a node share. It does nothing where there is no segment, or where an
 * inference workspace of some rank reads the values in place. Collective. */
tr_status tr__model_use_shared_memory(tr_model *net);

/* tr__model_text - layers, shapes, dtype and parameters of the model. Allocated
 * with malloc; NULL without memory. */
char *tr__model_text(const tr_model *net);

/* tr__model_options_text - tr__model_text() with the layers' options. It must
 * be equal on all ranks, and equal to a checkpoint's. Allocated with malloc;
 * NULL without memory. */
char *tr__model_options_text(const tr_model *net);

/* tr__model_equal_hash - XXH3-64 of the parameters without buffers. It is equal
 * on all ranks at any time; buffers are not, because each rank may update its
 * own. */
tr_status tr__model_equal_hash(tr_model *net, uint64_t *hash);

/* tr__model_seed - the seed of the random numbers in the model's steps: the
 * context's, or after a resume that of the resumed training. */
uint64_t tr__model_seed(const tr_model *net);
void tr__model_set_seed(tr_model *net, uint64_t seed);

/* tr__store_add_uses - with virtual shards, add the gradients of the layers
 * that are tied to a weight to the weight's own gradient, after all sums over
 * the ranks. */
void tr__store_add_uses(const tr__store *store);

#endif
