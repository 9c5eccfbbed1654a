#include "golden.h"

uint64_t golden_bits(const char *name, int64_t i)
{
  uint64_t key = 0xcbf29ce484222325u;
  for (; *name != '\0'; name++) {
    key = (key ^ (unsigned char)*name) * 0x100000001b3u;
  }
  uint64_t z = key + (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

double golden_value(const char *name, int64_t i)
{
  return (double)(golden_bits(name, i) >> 40) / 8388608.0 - 1.0;
}

void golden_fill(const golden_numbers *numbers, tr_dtype dtype, void *out)
{
  for (int64_t i = 0; i < numbers->count; i++) {
    double exact = golden_value(numbers->name, numbers->first + i);
    float value = (float)(exact * numbers->bound);
    if (dtype == TR_F64) {
      ((double *)out)[i] = value;
    } else {
      ((float *)out)[i] = value;
    }
  }
}

double golden_double(tr_dtype dtype, const void *values, int64_t i)
{
  return dtype == TR_F64 ? ((const double *)values)[i]
                         : (double)((const float *)values)[i];
}

tr_context *golden_context(tr_dtype dtype, const char *device)
{
  tr_context *ctx;
  tr_context_opts opts = {.device = device, .dtype = dtype, .threads = 1};
  ASSERT_OK(tr_context_create_auto(&opts, &ctx));
  return ctx;
}

/* One layer of the text, split at blanks. */
typedef struct layer_words {
  char kind[32], name[32];
  long long numbers[4];
} layer_words;

static layer_words split_layer(const char *text)
{
  layer_words words = {.kind = ""};
  int used = 0;
  ASSERT(sscanf(text, " %31s%n", words.kind, &used) == 1);
  text += used;
  if (strncmp(words.kind, "linear", 6) == 0 ||
      strncmp(words.kind, "conv", 4) == 0) {
    ASSERT(sscanf(text, " %31s%n", words.name, &used) == 1);
    text += used;
  }
  for (int i = 0;
       i < 4 && sscanf(text, "%lld%n", &words.numbers[i], &used) == 1; i++) {
    text += used;
  }
  return words;
}

static tr_shape input_shape(const layer_words *words)
{
  int64_t dims[3] = {words->numbers[0], words->numbers[1], words->numbers[2]};
  return tr_shape_of(dims[1] == 0 ? 1 : 3, dims);
}

static tr_node add_layer(golden_net *net, tr_node x, const layer_words *words)
{
  const char *kind = words->kind;
  const long long *n = words->numbers;
  int no_bias = strstr(kind, "_nobias") != NULL;
  if (strcmp(kind, "input") == 0) {
    net->input = input_shape(words);
    return tr_input(net->model, net->input);
  }
  if (strncmp(kind, "linear", 6) == 0) {
    net->num_classes = n[0];
    return tr_linear(net->model, x,
                     &(tr_linear_opts){
                         .out = n[0], .no_bias = no_bias, .name = words->name});
  }
  if (strncmp(kind, "conv", 4) == 0) {
    return tr_conv2d(net->model, x,
                     &(tr_conv2d_opts){.out = n[0],
                                       .kernel = n[1],
                                       .stride = n[2],
                                       .padding = n[3],
                                       .no_bias = no_bias,
                                       .name = words->name});
  }
  if (strcmp(kind, "maxpool") == 0) {
    tr_pool2d_opts opts = {.kernel = n[0], .stride = n[1], .padding = n[2]};
    return tr_maxpool2d(net->model, x, &opts);
  }
  if (strcmp(kind, "relu") == 0) {
    return tr_relu(net->model, x);
  }
  if (strcmp(kind, "gap") == 0) {
    return tr_global_avgpool2d(net->model, x);
  }
  ASSERT_STR_EQ(kind, "flatten");
  return tr_flatten(net->model, x);
}

static tr_status note_param(void *user, const tr_param_info *info)
{
  golden_net *net = user;
  ASSERT(net->num_params < GOLDEN_MAX_NODES);
  struct golden_param *param = &net->params[net->num_params++];
  snprintf(param->name, sizeof param->name, "%s", info->name);
  ASSERT_EQ(info->dtype, net->dtype);
  param->count = tr_shape_count(&info->shape);
  param->fan_in = param->count / info->shape.dims[0];
  return TR_OK;
}

double golden_bound(const golden_net *net, const char *name)
{
  size_t stem = (size_t)(strrchr(name, '.') - name);
  for (int i = 0; i < net->num_params; i++) {
    const struct golden_param *param = &net->params[i];
    if (strncmp(param->name, name, stem) == 0 &&
        strcmp(param->name + stem, ".weight") == 0) {
      return 1 / sqrt((double)param->fan_in);
    }
  }
  test_fail(__FILE__, __LINE__, "%s has no weight beside it", name);
}

static void set_params(golden_net *net)
{
  for (int i = 0; i < net->num_params; i++) {
    const struct golden_param *param = &net->params[i];
    golden_numbers numbers = {.name = param->name,
                              .count = param->count,
                              .bound = golden_bound(net, param->name)};
    void *values = malloc((size_t)param->count * tr_dtype_size(net->dtype));
    ASSERT(values != NULL);
    golden_fill(&numbers, net->dtype, values);
    ASSERT_OK(tr_model_set_param(net->model, param->name, values));
    free(values);
  }
}

static void build_from_text(golden_net *net, const golden_net_opts *opts)
{
  char *text = strdup(opts->text);
  char *rest = NULL;
  tr_node x = {-1};
  for (char *part = strtok_r(text, "|", &rest); part != NULL;
       part = strtok_r(NULL, "|", &rest)) {
    layer_words words = split_layer(part);
    x = add_layer(net, x, &words);
    ASSERT(net->num_nodes + 1 < GOLDEN_MAX_NODES);
    net->nodes[++net->num_nodes] = x;
    if (opts->keep) {
      tr_model_keep(net->model, x);
    }
  }
  free(text);
  tr_cross_entropy(net->model, x);
}

static void build_by_function(golden_net *net, const golden_net_opts *opts)
{
  layer_words first = split_layer(opts->text);
  net->input = input_shape(&first);
  net->num_classes = strtoll(strrchr(opts->text, ' '), NULL, 10);
  opts->build(net->model, net->input, net->num_classes);
}

void golden_net_create(tr_context *ctx,
                       const golden_net_opts *opts,
                       golden_net *out)
{
  *out = (golden_net){.ctx = ctx, .dtype = ctx->dtype, .num_nodes = -1};
  ASSERT_OK(tr_model_create(ctx, &out->model));
  if (opts->build != NULL) {
    build_by_function(out, opts);
  } else {
    build_from_text(out, opts);
  }
  ASSERT_OK(tr_model_build(out->model,
                           &(tr_build_opts){.max_local_batch = opts->rows}));
  ASSERT_OK(tr_model_visit(out->model, note_param, out));
  if (!opts->own_init) {
    set_params(out);
  }
  size_t size = tr_dtype_size(out->dtype), rows = (size_t)opts->rows;
  out->x = malloc(rows * (size_t)tr_shape_count(&out->input) * size);
  out->w = malloc(rows * size);
  out->y = malloc(rows * sizeof *out->y);
  ASSERT(out->x != NULL && out->w != NULL && out->y != NULL);
}

void golden_net_destroy(golden_net *net)
{
  tr_model_destroy(&net->model);
  free(net->x);
  free(net->w);
  free(net->y);
}

static void fill_samples(golden_net *net,
                         const golden_batch_opts *opts,
                         const tr_batch *batch)
{
  char x[16], y[16], w[16];
  snprintf(x, sizeof x, "x%d", opts->step);
  snprintf(y, sizeof y, "y%d", opts->step);
  snprintf(w, sizeof w, "w%d", opts->step);
  int64_t extent = tr_shape_count(&net->input);
  golden_numbers inputs = {.name = x,
                           .first = batch->first * extent,
                           .count = batch->count * extent,
                           .bound = opts->scale != 0 ? opts->scale : 1};
  golden_fill(&inputs, net->dtype, net->x);
  for (int64_t i = 0; i < batch->count; i++) {
    uint64_t bits = golden_bits(y, batch->first + i);
    net->y[i] = (int32_t)(bits % (uint64_t)net->num_classes);
    double weight = fmax(0, golden_value(w, batch->first + i));
    if (net->dtype == TR_F64) {
      ((double *)net->w)[i] = weight;
    } else {
      ((float *)net->w)[i] = (float)weight;
    }
  }
}

tr_batch golden_batch(golden_net *net, const golden_batch_opts *opts)
{
  int rank = tr_context_rank(net->ctx), size = tr_context_size(net->ctx);
  tr_batch batch = {.first = tr__even_split(opts->count, rank, size),
                    .global_count = opts->count,
                    .inputs = {net->x},
                    .targets = {net->y},
                    .weights = opts->weighted ? net->w : NULL};
  batch.count = tr__even_split(opts->count, rank + 1, size) - batch.first;
  fill_samples(net, opts, &batch);
  return batch;
}

void *golden_net_grad(golden_net *net, const char *name, double correction)
{
  const struct golden_param *param = net->params;
  while (strcmp(param->name, name) != 0) {
    param++;
    ASSERT(param < net->params + net->num_params);
  }
  void *grad = malloc((size_t)param->count * tr_dtype_size(net->dtype));
  ASSERT(grad != NULL);
  ASSERT_OK(tr_model_get_grad(net->model, name, grad));
  for (int64_t i = 0; i < param->count; i++) {
    if (net->dtype == TR_F64) {
      ((double *)grad)[i] *= correction;
    } else {
      ((float *)grad)[i] *= (float)correction;
    }
  }
  return grad;
}
