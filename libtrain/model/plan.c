/* The memory plan: which values alias, how long each is needed, and where each
 * lies in the activation arena.
 *
 * Time runs from 0 to 2 N. Node i computes
 *
 *   forward at time i, backward at time 2 N - 1 - i.
 *
 * Inputs, targets and weights are needed from 0 on. Values that stay readable
 * after a step are needed until 2 N. */
#include "model/node_impl.h"

#include <stdlib.h>

typedef struct lifetime {
  int begin, end;
} lifetime;

/* What the planner knows of each node. */
typedef struct sketch {
  int num_consumers, last_consumer;
  bool is_sensitive; /* a trained parameter, or an input whose gradient is
                        wanted, lies before it */
  bool reaches;      /* a loss, or the last node of a model without losses, lies
                        behind it */
  int value_root, gradient_root; /* the node whose memory it aliases, or
                                    itself */
  lifetime value, gradient;      /* without those of aliases */
} sketch;

typedef struct planner {
  tr_model *net;
  int n; /* nodes */
  sketch *nodes;
  tr__arena_item *items;
  size_t **offsets; /* where to write each item's offset */
  int num_items;
} planner;

static int backward_time(const planner *p, int node)
{
  return 2 * p->n - 1 - node;
}

static int last_time(const planner *p)
{
  return 2 * p->n;
}

static void find_consumers(planner *p)
{
  for (int i = 0; i < p->n; i++) {
    p->nodes[i].last_consumer = -1;
  }
  for (int i = 0; i < p->n; i++) {
    const tr__node *node = &p->net->nodes[i];
    for (int k = 0; k < node->num_inputs; k++) {
      p->nodes[node->inputs[k]].num_consumers++;
      p->nodes[node->inputs[k]].last_consumer = i;
    }
  }
}

static bool has_trained(const tr_model *net, const tr__node *node)
{
  for (int i = 0; i < node->num_params; i++) {
    if (tr__param_is_trained(&net->store.params[node->params[i]])) {
      return true;
    }
  }
  return false;
}

/* A node's gradient is needed if a trained parameter lies before it and a loss
 * lies behind it. */
static void find_gradients(planner *p)
{
  for (int i = 0; i < p->n; i++) {
    const tr__node *node = &p->net->nodes[i];
    sketch *s = &p->nodes[i];
    bool is_asked =
        has_trained(p->net, node) ||
        ((node->flags & TR__IS_INPUT) && !(node->flags & TR__IS_IDS) &&
         p->net->wants_input_gradients);
    s->is_sensitive = is_asked && !p->net->is_inference;
    for (int k = 0; k < node->num_inputs; k++) {
      s->is_sensitive |= p->nodes[node->inputs[k]].is_sensitive;
    }
  }
  for (int i = p->n - 1; i >= 0; i--) {
    tr__node *node = &p->net->nodes[i];
    bool is_end = p->net->num_losses > 0 ? (node->flags & TR__IS_LOSS) != 0
                                         : i == p->n - 1;
    p->nodes[i].reaches |= is_end;
    for (int k = 0; k < node->num_inputs && p->nodes[i].reaches; k++) {
      p->nodes[node->inputs[k]].reaches = true;
    }
    node->wants_gradient = p->nodes[i].is_sensitive && p->nodes[i].reaches;
  }
}

/* When each node's own value is written and last read. */
static void find_value_needs(planner *p)
{
  for (int i = 0; i < p->n; i++) {
    tr__node *node = &p->net->nodes[i];
    sketch *s = &p->nodes[i];
    bool is_last = s->num_consumers == 0;
    for (int k = 0; k < node->num_inputs; k++) {
      tr__node *input = &p->net->nodes[node->inputs[k]];
      input->is_kept |= (node->flags & TR__IS_LOSS) != 0;
    }
    node->is_kept |= is_last;
    /* The batch's inputs are uploaded before the first node runs. */
    s->value = (lifetime){node->flags & TR__IS_INPUT ? 0 : i, i};
    if ((node->flags & TR__USES_OUTPUT) && node->wants_gradient) {
      s->value.end = backward_time(p, i);
    }
  }
  for (int i = 0; i < p->n; i++) {
    const tr__node *node = &p->net->nodes[i];
    bool reads_back = (node->flags & TR__USES_INPUT) && node->wants_gradient;
    for (int k = 0; k < node->num_inputs; k++) {
      lifetime *value = &p->nodes[node->inputs[k]].value;
      int end = reads_back ? backward_time(p, i) : i;
      value->end = end > value->end ? end : value->end;
    }
  }
  for (int i = 0; i < p->n; i++) {
    if (p->net->nodes[i].is_kept) {
      p->nodes[i].value.end = last_time(p);
    }
  }
}

/* A node may overwrite its input's memory if no other node reads that memory
 * later. It never overwrites an input of the model. */
static bool may_overwrite(const planner *p, int i)
{
  const tr__node *node = &p->net->nodes[i];
  int root = p->nodes[node->inputs[0]].value_root;
  if (p->net->nodes[root].flags & TR__IS_INPUT) {
    return false;
  }
  for (int k = 0; k < i; k++) {
    if (p->nodes[k].value_root == root && p->nodes[k].value.end > i) {
      return false;
    }
  }
  return true;
}

static void share_values(planner *p)
{
  for (int i = 0; i < p->n; i++) {
    tr__node *node = &p->net->nodes[i];
    p->nodes[i].value_root = i;
    bool shares = (node->flags & TR__IS_VIEW) ||
                  ((node->flags & TR__IN_PLACE) && may_overwrite(p, i));
    if (!shares) {
      continue;
    }
    node->aliases_output = true;
    p->nodes[i].value_root = p->nodes[node->inputs[0]].value_root;
    tr__node *producer = &p->net->nodes[node->inputs[0]];
    if (node->type->activation != TR__ACTIVATION_NONE &&
        (producer->flags & TR__CAN_ACTIVATE) &&
        producer->activation == TR__ACTIVATION_NONE &&
        p->nodes[producer->index].num_consumers == 1) {
      producer->activation = node->type->activation;
      node->is_skipped = true;
    }
  }
}

/* True if the gradient of `input` may alias that of its consumer's output. That
 * is input 0, or with TR__ALIASES_ANY_GRADIENT the first input that wants a
 * gradient and has no other consumer. */
static bool is_sharing_input(const planner *p, const tr__node *node, int input)
{
  if (!(node->flags & TR__ALIASES_ANY_GRADIENT)) {
    return node->inputs[0] == input;
  }
  for (int k = 0; k < node->num_inputs; k++) {
    int other = node->inputs[k];
    if (p->nodes[other].num_consumers == 1 &&
        p->net->nodes[other].wants_gradient) {
      return other == input;
    }
  }
  return false;
}

/* A node's gradient may alias that of its consumer's output if no other
 * consumer adds to it. */
static void share_gradients(planner *p)
{
  for (int i = p->n - 1; i >= 0; i--) {
    tr__node *node = &p->net->nodes[i];
    sketch *s = &p->nodes[i];
    int consumer = s->last_consumer;
    const tr__node *next = consumer >= 0 ? &p->net->nodes[consumer] : NULL;
    bool shares = next != NULL && s->num_consumers == 1 &&
                  (next->flags & (TR__IS_VIEW | TR__IN_PLACE)) &&
                  next->wants_gradient && node->wants_gradient &&
                  is_sharing_input(p, next, i);
    s->gradient_root = shares ? p->nodes[consumer].gradient_root : i;
    int begin = consumer >= 0 ? backward_time(p, consumer) : p->n;
    s->gradient = (lifetime){begin, backward_time(p, i)};
    if (node->flags & TR__IS_INPUT) {
      s->gradient.end = last_time(p);
    }
    if (shares) {
      p->net->nodes[consumer].aliases_gradient = true;
    }
  }
}

static void add_item(planner *p, size_t bytes, lifetime life, size_t *offset)
{
  if (bytes == 0) {
    return;
  }
  p->items[p->num_items] =
      (tr__arena_item){.bytes = bytes, .begin = life.begin, .end = life.end};
  p->offsets[p->num_items++] = offset;
}

static lifetime join(lifetime a, lifetime b)
{
  return (lifetime){a.begin < b.begin ? a.begin : b.begin,
                    a.end > b.end ? a.end : b.end};
}

static void collect_items(planner *p)
{
  for (int i = 0; i < p->n; i++) {
    tr__node *node = &p->net->nodes[i];
    lifetime value = p->nodes[i].value, gradient = p->nodes[i].gradient;
    size_t gradient_bytes = node->output.bytes;
    for (int k = 0; k < p->n; k++) {
      if (p->nodes[k].value_root == i) {
        value = join(value, p->nodes[k].value);
      }
      if (p->nodes[k].gradient_root == i) {
        gradient = join(gradient, p->nodes[k].gradient);
      }
    }
    if (p->nodes[i].value_root == i) {
      add_item(p, node->output.bytes, value, &node->output.offset);
    }
    node->gradient = node->output;
    bool has_gradient = node->wants_gradient && !(node->flags & TR__IS_LOSS);
    node->gradient.bytes = has_gradient ? gradient_bytes : 0;
    if (has_gradient && p->nodes[i].gradient_root == i) {
      add_item(p, gradient_bytes, gradient, &node->gradient.offset);
    }
    lifetime both = {i, backward_time(p, i)};
    for (int k = 0; k < node->num_saved; k++) {
      /* A loss's targets, its first saved tensor, are needed from time 0. What
       * an input saves is needed only before the first node runs. */
      bool is_target = (node->flags & TR__IS_LOSS) && k == 0;
      bool is_read_back = node->wants_gradient || (node->flags & TR__IS_LOSS);
      lifetime life = {is_target ? 0 : both.begin,
                       is_read_back ? both.end : both.begin};
      if (node->flags & TR__IS_INPUT) {
        life = (lifetime){0, 0};
      }
      add_item(p, node->saved[k].bytes, life, &node->saved[k].offset);
    }
    add_item(p, node->forward_bytes, (lifetime){i, i},
             &node->forward_workspace);
    add_item(p, node->wants_gradient ? node->backward_bytes : 0,
             (lifetime){both.end, both.end}, &node->backward_workspace);
  }
  add_item(p, p->net->weights.bytes, (lifetime){0, last_time(p)},
           &p->net->weights.offset);
}

/* Each item fits, but the sum of all may overflow. */
static bool items_fit(const planner *p)
{
  int64_t total = 0;
  for (int i = 0; i < p->num_items; i++) {
    size_t bytes = p->items[i].bytes + TR__ARENA_ALIGN;
    if (bytes > INT64_MAX / 2 ||
        tr__add_overflows(total, (int64_t)bytes, &total)) {
      return false;
    }
  }
  return true;
}

static void spread_offsets(planner *p)
{
  for (int i = 0; i < p->num_items; i++) {
    *p->offsets[i] = p->items[i].offset;
  }
  for (int i = 0; i < p->n; i++) {
    tr__node *node = &p->net->nodes[i];
    node->output.offset = p->net->nodes[p->nodes[i].value_root].output.offset;
    node->gradient.offset =
        p->net->nodes[p->nodes[i].gradient_root].gradient.offset;
  }
}

tr_status tr__model_plan(tr_model *net)
{
  planner p = {.net = net, .n = net->num_nodes};
  size_t max_items = (size_t)p.n * (4 + TR__MAX_NODE_SAVED) + 1;
  p.nodes = calloc((size_t)p.n, sizeof *p.nodes);
  p.items = calloc(max_items, sizeof *p.items);
  p.offsets = calloc(max_items, sizeof *p.offsets);
  bool fits = p.nodes != NULL && p.items != NULL && p.offsets != NULL;
  bool is_small = false;
  if (fits) {
    find_consumers(&p);
    find_gradients(&p);
    find_value_needs(&p);
    share_values(&p);
    share_gradients(&p);
    collect_items(&p);
    is_small = items_fit(&p);
    fits = !is_small ||
           tr__arena_place(p.items, p.num_items, &net->activation_bytes);
  }
  if (fits && is_small) {
    spread_offsets(&p);
  }
  free(p.offsets);
  free(p.items);
  free(p.nodes);
  TR_CHECK(fits, TR_ENOMEM, "no memory to plan %d layers", net->num_nodes);
  TR_CHECK(is_small, TR_ESHAPE,
           "tr_model_build: the activations of %lld samples are too large",
           (long long)net->max_rows);
  return TR_OK;
}
