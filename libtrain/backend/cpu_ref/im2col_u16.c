/* Columns of numbers of 16 bits, whose zero is 0 as an integer's is. */
#include "backend/cpu_ref/reference_impl.h"

#include <string.h>

#define TR_REAL     uint16_t
#define TR_FN(name) tr__ref_##name##_u16

#include "backend/cpu_ref/template_im2col.h"
