/* tr_model_print(): a table of layers with shape, parameters, FLOPs and
 * options, then the totals, for people. */
#include "base/locale_impl.h"
#include "model/node_impl.h"

#include <stdlib.h>

tr__flops tr__product_flops(const tr_model *net,
                            const tr__node *node,
                            int weight,
                            double multiply_adds)
{
  const tr__param *param = &net->store.params[node->params[weight]];
  bool is_trained = node->wants_gradient && tr__param_is_trained(param);
  bool goes_on =
      node->wants_gradient && net->nodes[node->inputs[0]].wants_gradient;
  return (tr__flops){.forward = 2 * multiply_adds,
                     .backward = 2 * multiply_adds * (is_trained + goes_on)};
}

/* Numbers of parameter values, by how they change. */
typedef struct counts {
  int64_t trained, frozen, buffers;
} counts;

static void count_param(const tr__param *param, counts *out)
{
  out->buffers += param->is_buffer ? param->count : 0;
  out->frozen += param->is_frozen && !param->is_buffer ? param->count : 0;
  out->trained += tr__param_is_trained(param) ? param->count : 0;
}

/* 1234567 as "1.23 M", which is easier to read than the exact number. */
static const char *short_text(double number, char out[16])
{
  static const char units[] = " kMGTPE";
  int unit = 0;
  while (number >= 999.5 && units[unit + 1] != '\0') {
    number /= 1000;
    unit++;
  }
  int digits = unit == 0 || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
  tr__format(out, 16, unit == 0 ? "%.*f" : "%.*f %c", digits, number,
             units[unit]);
  return out;
}

/* Notes after a layer's numbers: buffers, freezing, tied weight, options. */
static void print_notes(const tr__node *node,
                        const counts *own,
                        const char *tied,
                        FILE *stream)
{
  char *options = tr__node_options_text(node);
  fprintf(stream, "%s%s", own->buffers > 0 ? "  buffers" : "",
          own->frozen == 0   ? ""
          : own->trained > 0 ? "  partly frozen"
                             : "  frozen");
  if (tied != NULL) {
    fprintf(stream, "  with %s", tied);
  }
  if (options != NULL && options[0] != '\0') {
    fprintf(stream, "  %s", options);
  }
  fprintf(stream, "\n");
  free(options);
}

static void print_layer(const tr_model *net,
                        const tr__node *node,
                        tr__flops *total,
                        FILE *stream)
{
  counts own = {0};
  const char *tied = NULL;
  char shape[TR__SHAPE_BYTES], forward[16] = "", backward[16] = "";
  for (int i = 0; i < node->num_params; i++) {
    const tr__param *param = &net->store.params[node->params[i]];
    if (node->is_tied[i]) {
      tied = param->name;
      continue;
    }
    count_param(param, &own);
  }
  if (node->type->flops != NULL) {
    const tr__flops flops = node->type->flops(net, node);
    short_text(flops.forward, forward);
    short_text(flops.backward, backward);
    total->forward += flops.forward;
    total->backward += flops.backward;
  }
  fprintf(stream, "%-24s %-18s %-18s %12lld %10s %10s", node->name,
          node->type->name, tr__shape_text(&node->shape, shape),
          (long long)(own.trained + own.frozen + own.buffers), forward,
          backward);
  print_notes(node, &own, tied, stream);
}

static void print_totals(const tr_model *net, tr__flops total, FILE *stream)
{
  counts all = {0};
  char forward[16], backward[16], step[16], mib[32];
  for (int i = 0; i < net->store.num_params; i++) {
    count_param(&net->store.params[i], &all);
  }
  size_t bytes =
      (size_t)net->store.value_count * tr_dtype_size(net->ctx->dtype);
  tr__format(mib, sizeof mib, "%.1f", (double)bytes / (1 << 20));
  fprintf(stream,
          "parameters: %lld trained, %lld frozen, %lld in buffers, %s MiB as "
          "%s\n",
          (long long)all.trained, (long long)all.frozen, (long long)all.buffers,
          mib, tr__dtype_name(net->ctx->dtype));
  double both = (total.forward + total.backward) * (double)net->max_rows;
  fprintf(stream,
          "FLOPs: %s forward, %s backward per sample; %s in a step of %lld "
          "samples\n",
          short_text(total.forward, forward),
          short_text(total.backward, backward), short_text(both, step),
          (long long)net->max_rows);
}

tr_status tr_model_print(const tr_model *net, FILE *stream)
{
  TR_CHECK(net->is_built, TR_ESTATE, "tr_model_print before tr_model_build()");
  tr__flops total = {0};
  fprintf(stream, "%-24s %-18s %-18s %12s %10s %10s\n", "node", "layer",
          "shape", "parameters", "forward", "backward");
  for (int i = 0; i < net->num_nodes; i++) {
    print_layer(net, &net->nodes[i], &total, stream);
  }
  print_totals(net, total, stream);
  return TR_OK;
}
