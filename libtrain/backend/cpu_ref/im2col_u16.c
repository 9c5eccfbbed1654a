/* im2col for 16-bit floats. It copies them as integers: zero has the same bits.
 */
#include "backend/cpu_ref/reference_impl.h"

#include <string.h>

#define TR_REAL     uint16_t
#define TR_FN(name) tr__ref_##name##_u16

#include "backend/cpu_ref/template_im2col.h"
