/* tr_model_init_param(): resolves the initialisers of torch.nn.init by name and
 * sets the parameters that match a pattern. */
#include "model/model_impl.h"

#include <train/init.h>

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One initialiser for one tensor, before it is resolved. */
typedef struct request {
  const tr_init_opts *opts;
  const char *name; /* of the parameter */
  const tr_shape *shape;
} request;

static bool is_one_of(const char *word, const char *a, const char *b)
{
  return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

static const char *or_standard(const char *word, const char *standard)
{
  return word != NULL ? word : standard;
}

/* Number of inputs and outputs of one unit. */
typedef struct fans {
  double in, out;
} fans;

static tr_status find_fans(const request *r, fans *out)
{
  char text[TR__SHAPE_BYTES];
  const tr_shape *shape = r->shape;
  TR_CHECK(shape->ndim >= 2, TR_ESHAPE,
           "tr_model_init_param: %s has extents %s: %s needs at least two; "
           "use a pattern like \"*.weight\"",
           r->name, tr__shape_text(shape, text), r->opts->kind);
  double field = (double)tr_shape_count(shape) /
                 ((double)shape->dims[0] * (double)shape->dims[1]);
  *out = (fans){.in = (double)shape->dims[1] * field,
                .out = (double)shape->dims[0] * field};
  return TR_OK;
}

/* torch.nn.init.calculate_gain */
static tr_status find_gain(const request *r, double *out)
{
  const char *word = or_standard(r->opts->nonlinearity, "leaky_relu");
  double slope = r->opts->slope;
  if (is_one_of(word, "linear", "sigmoid")) {
    *out = 1;
  } else if (strcmp(word, "tanh") == 0) {
    *out = 5.0 / 3;
  } else if (strcmp(word, "selu") == 0) {
    *out = 0.75;
  } else if (is_one_of(word, "relu", "leaky_relu")) {
    slope = strcmp(word, "relu") == 0 ? 0 : slope;
    *out = sqrt(2 / (1 + slope * slope));
  } else {
    return TR_FAIL(TR_EINVAL,
                   "tr_model_init_param: nonlinearity is \"%.40s\", expected "
                   "linear, sigmoid, tanh, relu, leaky_relu or selu",
                   word);
  }
  return TR_OK;
}

static tr__init spread(bool is_uniform, double std)
{
  return is_uniform ? tr__init_uniform(sqrt(3.0) * std)
                    : (tr__init){.kind = TR__INIT_NORMAL, .a = 0, .b = std};
}

static tr_status kaiming(const request *r, bool is_uniform, tr__init *out)
{
  const char *mode = or_standard(r->opts->mode, "fan_in");
  double gain = 0;
  fans fan = {0};
  TR_CHECK(is_one_of(mode, "fan_in", "fan_out"), TR_EINVAL,
           "tr_model_init_param: mode is \"%.40s\", expected fan_in or fan_out",
           mode);
  TR_TRY(find_fans(r, &fan));
  TR_TRY(find_gain(r, &gain));
  double count = strcmp(mode, "fan_in") == 0 ? fan.in : fan.out;
  *out = spread(is_uniform, gain / sqrt(count));
  return TR_OK;
}

static double gain_of(const request *r)
{
  return tr__or_default(r->opts->gain, 1);
}

static tr_status xavier(const request *r, bool is_uniform, tr__init *out)
{
  fans fan = {0};
  TR_TRY(find_fans(r, &fan));
  *out = spread(is_uniform, gain_of(r) * sqrt(2 / (fan.in + fan.out)));
  return TR_OK;
}

static tr_status kaiming_uniform(const request *r, tr__init *out)
{
  return kaiming(r, true, out);
}

static tr_status kaiming_normal(const request *r, tr__init *out)
{
  return kaiming(r, false, out);
}

static tr_status xavier_uniform(const request *r, tr__init *out)
{
  return xavier(r, true, out);
}

static tr_status xavier_normal(const request *r, tr__init *out)
{
  return xavier(r, false, out);
}

/* The options low and high, or the given bounds where both options are 0. */
static tr_status
find_bounds(const request *r, double low, double high, tr__init *out)
{
  bool is_given = r->opts->low != 0 || r->opts->high != 0;
  out->low = is_given ? r->opts->low : low;
  out->high = is_given ? r->opts->high : high;
  TR_CHECK(out->low < out->high, TR_EINVAL,
           "tr_model_init_param: %s from %g to %g, expected low < high",
           r->opts->kind, out->low, out->high);
  return TR_OK;
}

static tr_status uniform(const request *r, tr__init *out)
{
  *out = (tr__init){.kind = TR__INIT_UNIFORM};
  TR_TRY(find_bounds(r, 0, 1, out));
  out->a = out->low;
  out->b = out->high;
  return TR_OK;
}

static tr_status normal(const request *r, tr__init *out)
{
  *out = (tr__init){.kind = TR__INIT_NORMAL,
                    .a = r->opts->mean,
                    .b = tr__or_default(r->opts->std, 1)};
  TR_CHECK(out->b >= 0, TR_EINVAL,
           "tr_model_init_param: std is %g, expected at least 0", out->b);
  return TR_OK;
}

static tr_status trunc_normal(const request *r, tr__init *out)
{
  TR_TRY(normal(r, out));
  out->kind = TR__INIT_TRUNC_NORMAL;
  return find_bounds(r, -2, 2, out);
}

static tr_status constant(const request *r, tr__init *out)
{
  *out = tr__init_constant(r->opts->value);
  return TR_OK;
}

static tr_status zeros(const request *r, tr__init *out)
{
  (void)r;
  *out = tr__init_constant(0);
  return TR_OK;
}

static tr_status ones(const request *r, tr__init *out)
{
  (void)r;
  *out = tr__init_constant(1);
  return TR_OK;
}

static tr_status orthogonal(const request *r, tr__init *out)
{
  fans fan = {0};
  TR_TRY(find_fans(r, &fan));
  *out = (tr__init){.kind = TR__INIT_ORTHOGONAL, .a = gain_of(r)};
  return TR_OK;
}

static const struct {
  const char *name;
  tr_status (*resolve)(const request *r, tr__init *out);
} kinds[] = {
    {"kaiming_uniform", kaiming_uniform},
    {"kaiming_normal", kaiming_normal},
    {"xavier_uniform", xavier_uniform},
    {"xavier_normal", xavier_normal},
    {"uniform", uniform},
    {"normal", normal},
    {"trunc_normal", trunc_normal},
    {"constant", constant},
    {"zeros", zeros},
    {"ones", ones},
    {"orthogonal", orthogonal},
};

tr_status tr__init_of(const tr_init_opts *opts,
                      const char *name,
                      const tr_shape *shape,
                      tr__init *out)
{
  const double numbers[] = {opts->slope, opts->gain, opts->mean, opts->std,
                            opts->low,   opts->high, opts->value};
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    TR_CHECK(isfinite(numbers[i]), TR_EINVAL,
             "tr_model_init_param: an option is %g, expected finite numbers",
             numbers[i]);
  }
  const request r = {opts, name, shape};
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    if (opts->kind != NULL && strcmp(kinds[i].name, opts->kind) == 0) {
      return kinds[i].resolve(&r, out);
    }
  }
  return TR_FAIL(TR_EINVAL,
                 "tr_model_init_param: kind is \"%.40s\", expected "
                 "kaiming_uniform, kaiming_normal, xavier_uniform, "
                 "xavier_normal, uniform, normal, trunc_normal, constant, "
                 "zeros, ones or orthogonal",
                 or_standard(opts->kind, "(null)"));
}

static bool is_asked(const tr__param *param, const char *pattern)
{
  return !param->is_buffer && fnmatch(pattern, param->name, 0) == 0;
}

/* Check the options for every matching parameter. All ranks agree on the result
 * before the first value changes. */
static tr_status resolve(const tr_model *net,
                         const char *pattern,
                         const tr_init_opts *opts,
                         int64_t *largest)
{
  char list[TR__MESSAGE_BYTES / 2];
  tr__init unused;
  TR_CHECK(pattern != NULL && opts != NULL, TR_EINVAL,
           "tr_model_init_param: expected a pattern and options, got none");
  for (int i = 0; i < net->store.num_params; i++) {
    const tr__param *param = &net->store.params[i];
    if (is_asked(param, pattern)) {
      TR_TRY(tr__init_of(opts, param->name, &param->shape, &unused));
      *largest = tr__max(*largest, param->count);
    }
  }
  TR_CHECK(*largest > 0, TR_EINVAL,
           "tr_model_init_param: no parameter matches \"%.80s\"; there are%s",
           pattern, tr__store_names(&net->store, sizeof list, list));
  return TR_OK;
}

/* largest  number of values in the largest matching parameter */
static tr_status set_matching(tr_model *net,
                              const char *pattern,
                              const tr_init_opts *opts,
                              int64_t largest)
{
  double *values = malloc((size_t)largest * sizeof *values);
  TR_CHECK(values != NULL, TR_ENOMEM, "no memory for %lld first values",
           (long long)largest);
  tr_status status = TR_OK;
  for (int i = 0; i < net->store.num_params && status == TR_OK; i++) {
    tr__param *param = &net->store.params[i];
    if (is_asked(param, pattern)) {
      tr__init_of(opts, param->name, &param->shape, &param->init);
      status = tr__init_set(net, param, values);
    }
  }
  free(values);
  return status;
}

tr_status tr_model_init_param(tr_model *net,
                              const char *pattern,
                              const tr_init_opts *opts)
{
  int64_t largest = 0;
  TR_CHECK(net->is_built, TR_ESTATE,
           "tr_model_init_param before tr_model_build()");
  tr__comm *comm = net->ctx->comm;
  TR_TRY(tr__agree(comm, resolve(net, pattern, opts, &largest)));
  TR_TRY(tr__agree(comm, set_matching(net, pattern, opts, largest)));
  return tr__model_broadcast_values(net);
}
