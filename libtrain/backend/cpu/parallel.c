/* Ops on independent units: each task runs the loops of the reference, which
 * are as fast as memory, on some of the units. */
#include "backend/cpu/cpu_impl.h"

#include <string.h>

tr__tensor tr__cpu_split_tensor(const tr__tensor *t,
                                int64_t units,
                                int64_t begin,
                                int64_t count)
{
  tr__tensor part = *t;
  int64_t row = tr__tensor_count(t) / units;
  if (t->dims[0] % units == 0) {
    part.dims[0] = t->dims[0] / units * count;
  } else {
    part.ndim = 2;
    part.dims[0] = count;
    part.dims[1] = row;
  }
  if (t->data != NULL) {
    part.data =
        (char *)t->data + (size_t)(begin * row) * tr_dtype_size(t->dtype);
  }
  return part;
}

typedef struct job {
  tr__backend *backend;
  tr__op op;
  const void *args;
  const tr__cpu_split *split;
} job;

static void work(void *arg, int64_t task, int thread)
{
  const job *j = arg;
  const tr__cpu_split *split = j->split;
  int64_t begin = task * split->step;
  int64_t count = tr__min(split->step, split->units - begin);
  tr__any_args part;
  const tr__op_info *info = tr__op_info_of(j->op);
  memcpy(&part, j->args, info->bytes);
  for (int i = 0; i < info->num_operands; i++) {
    if (info->operands[i].follows != TR__WHOLE) {
      part.tensors[i] =
          tr__cpu_split_tensor(&part.tensors[i], split->units, begin, count);
    }
  }
  if (split->adapt != NULL) {
    split->adapt(&part, j->args, begin);
  }
  tr__op_fn run = split->run != NULL ? split->run : tr__ref_run;
  if (!tr__op_has_16bit(j->op, &part)) {
    run(j->op, &part);
    return;
  }
  float *wide;
  size_t bytes = tr__fp32_bytes(j->op, &part);
  const tr__cpu_call call = {.backend = j->backend,
                             .floats = (int64_t)(bytes / sizeof(float)) + 1};
  if (tr__cpu_thread_scratch(&call, thread, &wide)) {
    tr__fp32_run(j->op, &part, wide, run);
  }
}

void tr__cpu_parallel_for(tr__stream *stream,
                          tr__op op,
                          const void *args,
                          const tr__cpu_split *split)
{
  job j = {stream->backend, op, args, split};
  tr__threads_run(stream->backend->pool,
                  (split->units + split->step - 1) / split->step, work, &j);
}
