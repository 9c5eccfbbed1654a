/* A model as text: descriptions that ranks and checkpoints compare, and
 * tr_model_print_plan() for people. */
#include "base/locale_impl.h"
#include "model/node_impl.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

void tr__describe_number(FILE *out, const char *name, double value)
{
  char text[32];
  int digits = 1;
  locale_t before = tr__locale_begin();
  do {
    snprintf(text, sizeof text, "%.*g", digits, value);
  } while (strtod(text, NULL) != value && digits++ < 17);
  tr__locale_end(before);
  fprintf(out, ", %s %s", name, text);
}

void tr__describe_integer(FILE *out, const char *name, int64_t value)
{
  fprintf(out, ", %s %lld", name, (long long)value);
}

void tr__describe_flag(FILE *out, const char *name, bool is_set)
{
  if (is_set) {
    fprintf(out, ", %s", name);
  }
}

void tr__describe_array(FILE *out,
                        const char *name,
                        const double *values,
                        int64_t count)
{
  if (count > 0) {
    size_t bytes = (size_t)count * sizeof *values;
    fprintf(out, ", %s of hash %016llx", name,
            (unsigned long long)XXH3_64bits(values, bytes));
  }
}

static void print_options(const tr__node *node, FILE *out)
{
  if (node->type->describe != NULL) {
    node->type->describe(node, out);
  }
}

/* Closes the stream and returns the written text; NULL without memory. */
static char *finish(FILE *out, char **text)
{
  if (fclose(out) != 0) {
    free(*text);
    return NULL;
  }
  return *text;
}

char *tr__node_options_text(const tr__node *node)
{
  char *text = NULL;
  size_t bytes = 0;
  FILE *out = open_memstream(&text, &bytes);
  if (out == NULL) {
    return NULL;
  }
  print_options(node, out);
  text = finish(out, &text);
  if (text != NULL && text[0] != '\0') {
    memmove(text, text + 2, strlen(text) - 1); /* without the first ", " */
  }
  return text;
}

static void print_inputs(const tr_model *net, const tr__node *node, FILE *out)
{
  for (int i = 0; i < node->num_inputs; i++) {
    fprintf(out, "%s%s", i == 0 ? " of " : ", ",
            net->nodes[node->inputs[i]].name);
  }
}

static void print_tied(const tr_model *net, const tr__node *node, FILE *out)
{
  for (int i = 0; i < node->num_params; i++) {
    if (node->is_tied[i]) {
      fprintf(out, " with %s", net->store.params[node->params[i]].name);
    }
  }
}

/* One line per node and per parameter. It depends neither on the batch size nor
 * on offsets. */
static char *write_text(const tr_model *net, bool has_options)
{
  char *text = NULL, shape[TR__SHAPE_BYTES];
  size_t bytes = 0;
  FILE *out = open_memstream(&text, &bytes);
  if (out == NULL) {
    return NULL;
  }
  fprintf(out, "dtype %s\n", tr__dtype_name(net->ctx->dtype));
  for (int i = 0; i < net->num_nodes; i++) {
    const tr__node *node = &net->nodes[i];
    fprintf(out, "layer %s: %s", node->name, node->type->name);
    print_inputs(net, node, out);
    print_tied(net, node, out);
    if (has_options) {
      print_options(node, out);
    }
    fprintf(out, ", gives %s\n", tr__shape_text(&node->shape, shape));
  }
  for (int i = 0; i < net->store.num_params; i++) {
    const tr__param *param = &net->store.params[net->store.by_name[i]];
    fprintf(out, "parameter %s %s\n", param->name,
            tr__shape_text(&param->shape, shape));
  }
  return finish(out, &text);
}

char *tr__model_text(const tr_model *net)
{
  return write_text(net, false);
}

char *tr__model_options_text(const tr_model *net)
{
  return write_text(net, true);
}

static void print_node(const tr_model *net, const tr__node *node, FILE *stream)
{
  char shape[TR__SHAPE_BYTES];
  int64_t params = 0;
  for (int i = 0; i < node->num_params; i++) {
    bool is_tied = node->is_tied[i];
    params += is_tied ? 0 : net->store.params[node->params[i]].count;
  }
  size_t saved = 0;
  for (int i = 0; i < node->num_saved; i++) {
    saved += node->saved[i].bytes;
  }
  fprintf(stream, "%-20s %-18s %-18s %10lld %12zu %12zu %12zu  %s%s%s\n",
          node->name, node->type->name, tr__shape_text(&node->shape, shape),
          (long long)params,
          node->aliases_output ? (size_t)0 : node->output.bytes, saved,
          node->forward_bytes > node->backward_bytes ? node->forward_bytes
                                                     : node->backward_bytes,
          node->is_skipped ? "fused into its input " : "",
          node->aliases_output && !node->is_skipped ? "in place " : "",
          node->activation != TR__ACTIVATION_NONE ? "+activation" : "");
}

/* The state of the optimizers that exist so far. */
static void print_state(const tr_model *net, FILE *stream)
{
  const tr__store *store = &net->store;
  if (store->whole_state_bytes > 0) {
    fprintf(stream, "optimizer state %zu B", store->state_bytes);
    if (net->buckets.partition != NULL) {
      fprintf(stream, " on this rank, of %zu B spread over %d",
              store->whole_state_bytes, store->ctx->comm->size);
    }
    fprintf(stream, "\n");
  }
}

/* One line per bucket, in the order in which backward finishes them. */
static void print_buckets(const tr_model *net, FILE *stream)
{
  long long size = (long long)tr_dtype_size(net->ctx->dtype);
  for (int i = 0; i < net->buckets.count; i++) {
    const tr__bucket *b = &net->buckets.all[i];
    bool is_last = i == net->buckets.count - 1 && !tr__tail_is_apart(net);
    fprintf(stream, "bucket %d: %lld B, final after %s%s\n", i,
            size *
                (long long)(b->end - b->begin + (is_last ? TR__TAIL_COUNT : 0)),
            net->nodes[b->node].name, is_last ? ", with the tail" : "");
  }
}

tr_status tr_model_print_plan(const tr_model *net, FILE *stream)
{
  TR_CHECK(net->is_built, TR_ESTATE,
           "tr_model_print_plan before tr_model_build()");
  fprintf(stream, "plan for %lld samples, %s%s, row-major\n",
          (long long)net->max_rows, tr__dtype_name(net->ctx->compute),
          net->store.values16 != NULL ? " with float32 parameters" : "");
  fprintf(stream, "%-20s %-18s %-18s %10s %12s %12s %12s\n", "node", "layer",
          "shape", "params", "output B", "saved B", "workspace B");
  for (int i = 0; i < net->num_nodes; i++) {
    print_node(net, &net->nodes[i], stream);
  }
  size_t size = tr_dtype_size(net->ctx->dtype);
  size_t values = (size_t)net->store.value_count * size;
  size_t halves =
      net->store.values16 != NULL ? tr__store_values16_bytes(&net->store) : 0;
  size_t grads = ((size_t)net->store.count + TR__TAIL_COUNT) * size;
  size_t numbers = sizeof(tr__step_block) + TR__TAIL_COUNT * size;
  fprintf(stream, "parameters %zu B, ", values);
  if (halves > 0) {
    fprintf(stream, "their copy of 16 bits %zu B, ", halves);
  }
  fprintf(stream, "gradients %zu B in %d bucket%s, activations %zu B\n", grads,
          net->buckets.count, net->buckets.count > 1 ? "s" : "",
          net->activation_bytes);
  print_state(net, stream);
  fprintf(stream, "numbers of a step %zu B, total %zu B\n", numbers,
          values + halves + grads + net->activation_bytes +
              net->store.state_bytes + numbers);
  print_buckets(net, stream);
  return TR_OK;
}
