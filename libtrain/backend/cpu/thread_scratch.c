/* Scratch memory of each thread for fp32 copies of 16-bit operands. */
#include "backend/cpu/cpu_impl.h"

#include <sys/mman.h>

tr__cpu_call
tr__cpu_call_of(tr__stream *stream, tr__op op, const void *args, int64_t floats)
{
  bool is_half = tr__op_has_16bit(op, args);
  return (tr__cpu_call){stream->backend, args, is_half ? floats : 0};
}

void tr__cpu_release_memory(tr__cpu_memory *own)
{
  if (own->bytes > 0) {
    munmap(own->data, own->bytes);
  }
  *own = (tr__cpu_memory){NULL, 0};
}

/* mmap, not malloc: memory that has become too small returns to the system at
 * once and does not fragment the heap. */
static bool grow(tr__cpu_memory *own, size_t bytes)
{
  tr__cpu_release_memory(own);
  size_t rounded = tr__align(bytes, (size_t)1 << 16);
  void *data = mmap(NULL, rounded, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return false;
  }
  *own = (tr__cpu_memory){data, rounded};
  return true;
}

bool tr__cpu_thread_scratch(const tr__cpu_call *call, int thread, float **wide)
{
  tr__cpu_backend *self = (tr__cpu_backend *)call->backend;
  tr__cpu_memory *own = &self->scratch[thread];
  size_t bytes = (size_t)call->floats * sizeof(float);
  *wide = NULL;
  if (bytes == 0) {
    return true;
  }
  if (own->bytes < bytes && !grow(own, bytes)) {
    atomic_store(&self->status, TR_ENOMEM);
    return false;
  }
  *wide = own->data;
  return true;
}
