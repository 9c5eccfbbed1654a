/* The ops of the reference in double precision, made from the templates. */
#define TR_REAL     double
#define TR_FN(name) tr__ref_##name##_f64

#include "backend/cpu_ref/template_sums.h"

#include "backend/cpu_ref/template_activation.h"
#include "backend/cpu_ref/template_conv.h"
#include "backend/cpu_ref/template_elementwise.h"
#include "backend/cpu_ref/template_linear.h"
#include "backend/cpu_ref/template_loss.h"
#include "backend/cpu_ref/template_norm.h"
#include "backend/cpu_ref/template_optimizer.h"
#include "backend/cpu_ref/template_pool.h"
#include "backend/cpu_ref/template_regression.h"
#include "backend/cpu_ref/template_shape.h"

/* These templates use functions of those above. */
#include "backend/cpu_ref/template_batchnorm.h"
#include "backend/cpu_ref/template_sequence.h"
#include "backend/cpu_ref/template_updates.h"

#include "backend/cpu_ref/template_muon.h"
