/* A second program predicts with what ./regress has learnt:
 *
 *   ./predict 0.3 0.2 -0.5 0.9
 *
 * prints a line for each two numbers. It needs no launcher and no data. */
#include <stdio.h>
#include <stdlib.h>
#include <train/train.h>

/* The model of regress.c; who only predicts needs no loss. */
static tr_node build_model(tr_context *ctx, tr_model **net)
{
  TR_MUST(tr_model_create(ctx, net));
  tr_node x = tr_input(*net, (tr_shape){1, {2}});
  x = tr_tanh(*net, tr_linear(*net, x, &(tr_linear_opts){.out = 32}));
  x = tr_tanh(*net, tr_linear(*net, x, &(tr_linear_opts){.out = 32}));
  x = tr_linear(*net, x, &(tr_linear_opts){.out = 1});
  TR_MUST(tr_model_build(*net, &(tr_build_opts){.max_local_batch = 1}));
  return x;
}

int main(int argc, char **argv)
{
  tr_context *ctx;
  TR_MUST(tr_context_create_auto(NULL, &ctx));
  tr_model *net;
  tr_node y = build_model(ctx, &net);
  const tr_checkpoint run = {.model = net, .must_exist = 1};
  TR_MUST(tr_checkpoint_resume(ctx, "run-regress", &run)); /* else: 66 */

  tr_inference *plan; /* one for each thread that predicts */
  TR_MUST(tr_inference_create(net, NULL, &plan));
  for (int i = 1; i + 1 < argc; i += 2) {
    float in[2] = {strtof(argv[i], NULL), strtof(argv[i + 1], NULL)}, out;
    const tr_batch one = {.count = 1, .inputs = {in}};
    TR_MUST(tr_inference_forward(plan, &one));
    TR_MUST(tr_inference_get_output(plan, y, &out));
    printf("%g %g -> %.4f\n", in[0], in[1], out);
  }

  tr_inference_destroy(&plan);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
  return EXIT_SUCCESS;
}
