/* The text that ranks compare has every option that has an effect. */
#include "layer_helper.h"

enum { NUM_CASES = 40, WORD = 8, TEXT_BYTES = 4096 };

/* One word of a case's options is taken from the next case. */
typedef struct patch {
  const tr__layer_type *type;
  size_t offset, bytes; /* 0 bytes: as it is */
  char word[WORD];
} patch;

/* What build_patched() does, in the running case. */
static patch active;

static tr_node build_patched(tr_model *net, const tr__random *random)
{
  tr_node node = active.type->random_build(net, random);
  char *opts = net->nodes[node.index].opts;
  if (active.bytes > 0) {
    memcpy(opts + active.offset, active.word, active.bytes);
  }
  return node;
}

static const tr__layer_type patched_type = {.name = "patched",
                                            .random_build = build_patched};

/* A model of the case, not built. */
static tr_model *add_case(tr_context *ctx, int number, const tr__node **node)
{
  tr_model *net;
  const tr__random random = case_random(number, 0);
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node added = build_patched(net, &random);
  *node = &net->nodes[added.index];
  return net;
}

/* "" where the model is refused: nothing is trained then. */
static void write_text(tr_context *ctx, int number, char out[TEXT_BYTES])
{
  const tr__node *unused;
  tr_model *net = add_case(ctx, number, &unused);
  out[0] = '\0';
  if (tr_model_build(net, &(tr_build_opts){.max_local_batch = 6}) == TR_OK) {
    char *text = tr__model_options_text(net);
    ASSERT(text != NULL);
    snprintf(out, TEXT_BYTES, "%s", text);
    free(text);
  }
  tr_model_destroy(&net);
}

static bool same_outcome(const outcome *a, const outcome *b)
{
  bool is_same = a->count == b->count;
  for (int i = 0; i < a->count && is_same; i++) {
    const tensor *x = &a->tensors[i], *y = &b->tensors[i];
    is_same =
        x->count == y->count &&
        memcmp(x->values, y->values, (size_t)x->count * sizeof *x->values) == 0;
  }
  return is_same;
}

/* Options in text, or without an effect: true where the text has changed. */
static bool check_patch(tr_context *ctx,
                        int number,
                        const patch *plain,
                        const patch *change)
{
  char texts[2][TEXT_BYTES];
  outcome outcomes[2];
  const patch *sides[2] = {plain, change};
  for (int i = 0; i < 2; i++) {
    active = *sides[i];
    write_text(ctx, number, texts[i]);
  }
  if (strcmp(texts[0], texts[1]) != 0) {
    return texts[1][0] != '\0';
  }
  for (int i = 0; i < 2; i++) {
    active = *sides[i];
    case_run(ctx, &patched_type, number, 0, &outcomes[i]);
  }
  if (!same_outcome(&outcomes[0], &outcomes[1])) {
    test_fail(__FILE__, __LINE__,
              "%s, case %d: bytes %zu.. of the options change its numbers, and "
              "not the text \"%s\"",
              plain->type->name, number, change->offset, texts[0]);
  }
  outcome_free(&outcomes[0]);
  outcome_free(&outcomes[1]);
  return false;
}

/* Texts that have changed. */
static int check_case(tr_context *ctx, const tr__layer_type *type, int number)
{
  const patch plain = {.type = type};
  const tr__node *a, *b;
  int changed = 0;
  active = plain;
  tr_model *net = add_case(ctx, number, &a);
  tr_model *next = add_case(ctx, number + 1, &b);
  for (size_t at = 0; a->opts_bytes == b->opts_bytes && at < a->opts_bytes;
       at += WORD) {
    patch change = {.type = type, .offset = at};
    size_t left = a->opts_bytes - at;
    change.bytes = left < WORD ? left : WORD;
    memcpy(change.word, (char *)b->opts + at, change.bytes);
    if (memcmp((char *)a->opts + at, change.word, change.bytes) != 0) {
      changed += check_patch(ctx, number, &plain, &change);
    }
  }
  tr_model_destroy(&net);
  tr_model_destroy(&next);
  return changed;
}

static void test_options_with_an_effect_are_in_the_text(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  const tr__layer_type *const *table = tr__layer_table();
  for (int i = 0; table[i] != NULL; i++) {
    int changed = 0;
    for (int k = 0; table[i]->random_build != NULL && k < NUM_CASES; k++) {
      changed += check_case(ctx, table[i], k);
    }
    if (table[i]->describe != NULL && changed == 0) {
      test_fail(__FILE__, __LINE__, "%s: its options never differ",
                table[i]->name);
    }
  }
  tr_context_destroy(&ctx);
}

/* What the single layers write. */

static tr_node attend(tr_model *net, tr_node x)
{
  x = tr_flatten(net, x);
  x = tr_reshape(net, x, (tr_shape){2, {4, 12}});
  return tr_attention(net, x, &(tr_attention_opts){.heads = 2, .causal = 1});
}

static tr_node convolve(tr_model *net, tr_node x)
{
  return tr_conv2d(net, x,
                   &(tr_conv2d_opts){.out = 4,
                                     .kernel = 2,
                                     .groups = 2,
                                     .stride_hw = {2, 1},
                                     .padding = 1});
}

static tr_node pool(tr_model *net, tr_node x)
{
  return tr_avgpool2d(net, x,
                      &(tr_pool2d_opts){.kernel = 2, .exclude_padding = 1});
}

static tr_node drop(tr_model *net, tr_node x)
{
  return tr_dropout(net, x, &(tr_dropout_opts){.p = 0.1});
}

static tr_node normalise(tr_model *net, tr_node x)
{
  return tr_batchnorm(net, x, &(tr_batchnorm_opts){.sync = 1});
}

static tr_node turn(tr_model *net, tr_node x)
{
  return tr_transpose(net, x, &(tr_transpose_opts){{0, 2, 1}});
}

static tr_node smooth(tr_model *net, tr_node x)
{
  return tr_cross_entropy_with(net, tr_flatten(net, x),
                               &(tr_cross_entropy_opts){.label_smoothing = 0.1,
                                                        .ignores = 1,
                                                        .ignore_index = -100});
}

static tr_node weigh(tr_model *net, tr_node x)
{
  const double weights[] = {1, 2, 3, 4, 5, 6};
  return tr_bce_with_logits(net, x,
                            &(tr_bce_opts){.pos_weight = weights,
                                           .num_pos_weight = 6,
                                           .weight = 0.3});
}

static tr_node rectify(tr_model *net, tr_node x)
{
  return tr_relu(net, x);
}

static const struct {
  tr_node (*add)(tr_model *net, tr_node x);
  const char *text;
} described[] = {
    {attend, "heads 2, causal"},
    {convolve, "kernel 2, stride 2x1, padding 1, groups 2"},
    {pool, "kernel 2, stride 2, without padding"},
    {drop, "p 0.1"},
    {normalise, "eps 1e-05, momentum 0.1, sync"},
    {turn, "order 0 2 1"},
    {smooth, "label smoothing 0.1, ignored target -100, weight 1"},
    {weigh, "pos_weight of hash 149e68c196f764b6, weight 0.3"},
    {rectify, ""},
};

static void test_options_are_written_for_people(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  for (size_t i = 0; i < sizeof described / sizeof described[0]; i++) {
    tr_model *net;
    char *all = NULL, line[256];
    size_t bytes = 0;
    ASSERT_OK(tr_model_create(ctx, &net));
    tr_node x = tr_input(net, (tr_shape){3, {2, 4, 6}});
    tr_node node = described[i].add(net, x);
    ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 2}));
    char *text = tr__node_options_text(&net->nodes[node.index]);
    ASSERT_STR_EQ(text, described[i].text);
    free(text);
    FILE *out = open_memstream(&all, &bytes);
    ASSERT_OK(tr_model_print(net, out));
    ASSERT_EQ(fclose(out), 0);
    snprintf(line, sizeof line, "  %s\n", described[i].text);
    ASSERT(described[i].text[0] == '\0' || strstr(all, line) != NULL);
    free(all);
    tr_model_destroy(&net);
  }
  tr_context_destroy(&ctx);
}

/* Other options do not keep a checkpoint from being loaded. */
static void test_checkpoints_match_without_options(void)
{
  char path[300];
  snprintf(path, sizeof path, "%s/run", test_scratch());
  for (int i = 0; i < 2; i++) {
    tr_context *ctx = make_context("reference", TR_F64);
    tr_model *net;
    ASSERT_OK(tr_model_create(ctx, &net));
    tr_node x = tr_input(net, (tr_shape){1, {6}});
    x = tr_dropout(net, x, &(tr_dropout_opts){.p = 0.1 * i});
    tr_cross_entropy(net, tr_linear(net, x, &(tr_linear_opts){.out = 3}));
    ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 2}));
    tr_checkpoint checkpoint = {.model = net};
    ASSERT_OK(i == 0 ? tr_checkpoint_save(ctx, path, &checkpoint)
                     : tr_checkpoint_resume(ctx, path, &checkpoint));
    tr_model_destroy(&net);
    tr_context_destroy(&ctx);
  }
}

static const tr_test tests[] = {
    TEST(test_options_with_an_effect_are_in_the_text),
    TEST(test_options_are_written_for_people),
    TEST(test_checkpoints_match_without_options),
};

TEST_MAIN(tests)
