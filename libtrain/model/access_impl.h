/* What other rooms ask of a model: its store, context, seed and texts. */
#ifndef TR_ACCESS_IMPL_H
#define TR_ACCESS_IMPL_H

#include "store/step_state_impl.h"
#include "store/store_impl.h"

/* tr__model_store - the store of a built model, NULL before. */
tr__store *tr__model_store(tr_model *net);

/* tr__model_step - where the model stands in a step.
 * tr__model_buckets - how its gradients are divided into transfers. Both stay
 * where they are as long as the model. */
tr__step_state *tr__model_step(tr_model *net);
tr__buckets *tr__model_buckets(tr_model *net);

/* What another room keeps with a model; released with it. */
typedef struct tr__attachment {
  void *data; /* NULL: nothing yet */
  void (*release)(void *data);
} tr__attachment;

/* tr__model_attachment - what checkpoint/ keeps from one save to the next. */
tr__attachment *tr__model_attachment(tr_model *net);

/* tr__model_context - the context that a model was created on. */
tr_context *tr__model_context(const tr_model *net);

/* tr__model_use_shared_memory - move the values to memory that the ranks of a
 * node share, where there is any, and nobody reads them where they are.
 * Collective. */
tr_status tr__model_use_shared_memory(tr_model *net);

/* tr__model_text - names, shapes and types. Allocated with malloc; NULL without
 * memory. */
char *tr__model_text(const tr_model *net);

/* tr__model_options_text - tr__model_text() with the layers' options: what must
 * be equal on all ranks, and in a checkpoint. As above. */
char *tr__model_options_text(const tr_model *net);

/* tr__model_equal_hash - XXH3-64 of what is equal on all ranks at any time: the
 * parameters, without buffers that each rank updates itself. */
tr_status tr__model_equal_hash(tr_model *net, uint64_t *hash);

/* tr__model_seed - of what is random in its steps: the context's, or that of
 * the run that it goes on with. */
uint64_t tr__model_seed(const tr_model *net);
void tr__model_set_seed(tr_model *net, uint64_t seed);

/* tr__store_add_uses - with virtual shards, the gradients of layers that are
 * tied to a weight, to its own; behind all sums over ranks. */
void tr__store_add_uses(const tr__store *store);

#endif
