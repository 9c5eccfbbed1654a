/* A program of someone else in C++11: options are named variables. */
#include <train/mpi.h>
#include <train/train.h>

#include <cstdio>

static tr_status build(tr_model *net, const tr_dataset *data)
{
  tr_conv2d_opts conv{};
  conv.out = 4;
  conv.kernel = 3;
  conv.stride = 2;
  tr_linear_opts fc{};
  fc.out = 10;
  tr_node x = tr_input(net, tr_dataset_shape(data));
  x = tr_relu(net, tr_conv2d(net, x, &conv));
  x = tr_linear(net, tr_flatten(net, x), &fc);
  tr_cross_entropy(net, x);
  return tr_model_build(net, nullptr);
}

static tr_status train(tr_context *ctx, double *loss)
{
  tr_dataset *data;
  tr_loader *loader;
  tr_model *net;
  tr_optimizer *opt;
  tr_loader_opts dealing{};
  dealing.batch = 500;
  tr_adam_opts adam = tr_adam_defaults();
  adam.lr = 3e-3;
  TR_TRY(tr_digits_open(ctx, "test", &data));
  TR_TRY(tr_loader_create(ctx, data, &dealing, &loader));
  TR_TRY(tr_model_create(ctx, &net));
  TR_TRY(build(net, data));
  TR_TRY(tr_adam_create(net, &adam, &opt));
  tr_batch batch;
  while (tr_loader_next(loader, &batch)) {
    TR_TRY(tr_model_forward(net, &batch));
    TR_TRY(tr_model_backward(net));
    TR_TRY(tr_model_allreduce_grads(net));
    TR_TRY(tr_optimizer_step(opt));
  }
  TR_TRY(tr_loader_status(loader));
  TR_TRY(tr_model_loss(net, loss));
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
  TR_MUST(tr_context_create(MPI_COMM_WORLD, nullptr, &ctx));
  double loss = 0;
  TR_MUST(train(ctx, &loss));
  std::printf("loss %s\n", loss > 0 && loss < 3 ? "sound" : "wrong");
  tr_context_destroy(&ctx);
  return MPI_Finalize() == MPI_SUCCESS ? 0 : 1;
}
