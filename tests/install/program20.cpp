/* A program of someone else in C++20: options as braced lists. */
#include <train/mpi.h>
#include <train/train.h>

#include <cstdio>

static tr_status build(tr_model *net, const tr_dataset *data)
{
  tr_node x = tr_input(net, tr_dataset_shape(data));
  x = tr_conv2d(net, x, {.out = 4, .kernel = 3, .stride = 2});
  x = tr_maxpool2d(net, tr_relu(net, x), {.kernel = 2});
  x = tr_flatten(net, x);
  x = tr_linear(net, x, {.out = 10, .name = "fc"});
  tr_cross_entropy_with(net, x, {.label_smoothing = 0.1});
  return tr_model_build(net, nullptr);
}

static tr_status train(tr_context *ctx, double *loss)
{
  tr_dataset *data;
  tr_loader *loader;
  tr_model *net;
  tr_optimizer *opt;
  TR_MUST(tr_digits_open(ctx, "test", &data));
  TR_MUST(tr_loader_create(ctx, data, {.batch = 500}, &loader));
  TR_MUST(tr_model_create(ctx, &net));
  TR_MUST(build(net, data));
  TR_MUST(tr_sgd_create(net, {.lr = 0.1}, &opt));
  tr_batch batch;
  while (tr_loader_next(loader, &batch)) {
    TR_MUST(tr_model_forward(net, &batch));
    TR_MUST(tr_model_backward(net));
    TR_MUST(tr_model_allreduce_grads(net));
    TR_MUST(tr_optimizer_step(opt));
  }
  TR_MUST(tr_model_loss(net, loss));
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
  tr_loader_destroy(&loader);
  tr_dataset_destroy(&data);
  return TR_OK;
}

int main(int argc, char **argv)
{
  int level;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &level);
  tr_context *ctx;
  TR_MUST(tr_context_create(MPI_COMM_WORLD, {.threads = 1, .seed = 3}, &ctx));
  double loss = 0;
  TR_MUST(train(ctx, &loss));
  std::printf("loss %s\n", loss > 0 && loss < 3 ? "sound" : "wrong");
  tr_context_destroy(&ctx);
  return MPI_Finalize() == MPI_SUCCESS ? 0 : 1;
}
