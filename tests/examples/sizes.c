/* The sizes of the structs that examples/train.f90 declares: structs grow at
 * their end, and Fortran's have to follow. */
#include <train/train.h>

#define SHOW(type) printf("%s %zu\n", #type, sizeof(type))

int main(void)
{
  SHOW(tr_shape);
  SHOW(tr_node);
  SHOW(tr_array_opts);
  SHOW(tr_loader_opts);
  SHOW(tr_batch);
  SHOW(tr_linear_opts);
  SHOW(tr_schedule);
  SHOW(tr_update_opts);
  SHOW(tr_adam_opts);
  return 0;
}
