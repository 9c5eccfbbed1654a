/* What layers say of their options: a checkpoint and the ranks compare it, so
 * two layers of one description must compute the same. */
#include "checkpoint/resume_impl.h"
#include "layer_helper.h"

enum { CASES = 400, MOST_RUNS = 12, SPARE = 5 };

/* The descriptions of all cases of a layer. */
typedef struct described {
  tr_context *ctx;
  const tr__layer_type *type;
  char *text[CASES];
  char *options[CASES]; /* the options as they lie in memory, in hex */
} described;

static char *hex_of(const tr__node *node)
{
  char *text = calloc(2 * node->opts_bytes + 1, 1);
  for (size_t i = 0; i < node->opts_bytes; i++) {
    sprintf(text + 2 * i, "%02x", ((const unsigned char *)node->opts)[i]);
  }
  return text;
}

static void describe_all(described *d)
{
  for (int i = 0; i < CASES; i++) {
    tr_model *net;
    const tr__random shape = case_random(i, 0);
    ASSERT_OK(tr_model_create(d->ctx, &net));
    tr_node node = d->type->random_build(net, &shape);
    ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
    d->text[i] = tr__model_options_text(net);
    d->options[i] = hex_of(&net->nodes[node.index]);
    ASSERT(d->text[i] != NULL);
    tr_model_destroy(&net);
  }
}

static void forget_all(described *d)
{
  for (int i = 0; i < CASES; i++) {
    free(d->text[i]);
    free(d->options[i]);
  }
}

/* What differs between the two texts is free. */
static bool is_same_function(const char *a, const char *b)
{
  tr__text_line x, y;
  while (true) {
    bool has_x = tr__next_line(&a, &x), has_y = tr__next_line(&b, &y);
    if (!has_x || !has_y) {
      return has_x == has_y;
    }
    if (!tr__same_function(x, y)) {
      return false;
    }
  }
}

/* A forward, and in training a backward and what the layer updates. */
static void run_case(layer_case *c, bool is_training, outcome *out)
{
  *out = (outcome){.count = 0};
  tr_model_set_training(c->net, is_training);
  case_set_params(c);
  case_forward(c);
  case_output(c, out);
  if (is_training) {
    case_backward(c);
    case_gradients(c, out);
    case_buffers(c, out);
  }
}

static bool outcomes_equal(const outcome *a, const outcome *b)
{
  bool is_equal = a->count == b->count;
  for (int i = 0; is_equal && i < a->count; i++) {
    is_equal = a->tensors[i].count == b->tensors[i].count &&
               memcmp(a->tensors[i].values, b->tensors[i].values,
                      (size_t)a->tensors[i].count * sizeof(double)) == 0;
  }
  return is_equal;
}

/* The layer of case j on the values of case i. */
static void compute_the_same(const described *d, int i, int j, bool is_training)
{
  layer_case first, other;
  outcome a, b;
  case_build(&first, d->ctx, d->type, i, SPARE);
  case_build(&other, d->ctx, d->type, j, SPARE);
  run_case(&first, is_training, &a);
  layer_case on_first = first;
  on_first.net = other.net;
  on_first.node = other.node;
  run_case(&on_first, is_training, &b);
  if (!outcomes_equal(&a, &b)) {
    test_fail(__FILE__, __LINE__,
              "cases %d and %d of layer %s compute otherwise%s, but are both "
              "described as\n%s",
              i, j, d->type->name, is_training ? " in training" : "",
              d->text[i]);
  }
  outcome_free(&a);
  outcome_free(&b);
  case_free(&first);
  case_free(&other);
}

/* Of all pairs, a few whose options are not the same in memory. */
static void check_pairs(const described *d, bool is_training)
{
  int runs = 0;
  for (int j = 1; j < CASES && runs < MOST_RUNS; j++) {
    for (int i = 0; i < j; i++) {
      bool is_same = is_training ? strcmp(d->text[i], d->text[j]) == 0
                                 : is_same_function(d->text[i], d->text[j]);
      if (is_same && strcmp(d->options[i], d->options[j]) != 0) {
        compute_the_same(d, i, j, is_training);
        runs++;
        break;
      }
    }
  }
}

static void check_all(bool is_training)
{
  tr_context *ctx = make_context("cpu", TR_F64);
  for (int i = 0; tr__layer_table()[i] != NULL; i++) {
    described d = {.ctx = ctx, .type = tr__layer_table()[i]};
    if (d.type->random_build == NULL) {
      continue;
    }
    describe_all(&d);
    check_pairs(&d, is_training);
    forget_all(&d);
  }
  tr_context_destroy(&ctx);
}

static void test_layers_of_one_description_train_alike(void)
{
  check_all(true);
}

static void test_layers_that_differ_in_free_options_are_one_function(void)
{
  check_all(false);
}

static const tr_test tests[] = {
    TEST(test_layers_of_one_description_train_alike),
    TEST(test_layers_that_differ_in_free_options_are_one_function),
};

TEST_MAIN(tests)
