/* Parameter groups: from patterns of names to slices of the arenas that have
 * the same factors. */
#include "optim/optimizer_impl.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>

static tr_status
check_group(const tr_optimizer *opt, const tr_param_group *group, int i)
{
  TR_CHECK(group->lr_scale >= 0 && isfinite(group->lr_scale) &&
               group->decay_scale >= 0 && isfinite(group->decay_scale),
           TR_EINVAL,
           "group %d: lr_scale is %g and decay_scale %g, expected at least 0",
           i, group->lr_scale, group->decay_scale);
  TR_CHECK(!group->by_adamw || opt->type->grain == TR__GRAIN_MATRIX, TR_EINVAL,
           "group %d: by_adamw is of tr_muon_create(), this is %s", i,
           opt->type->name);
  TR_CHECK(group->max_dims >= 0, TR_EINVAL,
           "group %d: max_dims is %d, expected at least 0", i, group->max_dims);
  return TR_OK;
}

static bool fits(const tr_param_group *group, const tr__param *param)
{
  if (group->max_dims > 0 && param->shape.ndim > group->max_dims) {
    return false;
  }
  return group->pattern == NULL || fnmatch(group->pattern, param->name, 0) == 0;
}

/* A group that matches no parameter is an error: its pattern is wrong. */
static tr_status check_groups(const tr_optimizer *opt,
                              const tr_update_opts *all)
{
  const tr__store *store = opt->store;
  TR_CHECK(all->num_groups >= 0 &&
               (all->groups != NULL || all->num_groups == 0),
           TR_EINVAL, "groups: num_groups is %d and groups %s", all->num_groups,
           all->groups != NULL ? "is given" : "is NULL");
  for (int i = 0; i < all->num_groups; i++) {
    const tr_param_group *group = &all->groups[i];
    TR_TRY(check_group(opt, group, i));
    int count = 0;
    for (int k = 0; k < store->num_trained; k++) {
      count += fits(group, &store->params[k]);
    }
    const char *pattern = group->pattern != NULL ? group->pattern : "*";
    TR_CHECK(count > 0, TR_EINVAL,
             "group %d: no trained parameter fits \"%.80s\" with max_dims %d; "
             "the first is \"%s\"",
             i, pattern, group->max_dims,
             store->num_trained > 0 ? store->params[0].name : "");
  }
  return TR_OK;
}

/* The first group that matches, or the default. */
static const tr_param_group *group_of(const tr_update_opts *all,
                                      const tr__param *param)
{
  static const tr_param_group plain = {0};
  for (int i = 0; i < all->num_groups; i++) {
    if (fits(&all->groups[i], param)) {
      return &all->groups[i];
    }
  }
  return &plain;
}

static tr__slice slice_of(const tr_optimizer *opt,
                          const tr_param_group *group,
                          const tr__param *param)
{
  tr__slice slice = {.offset = param->offset,
                     .lr_scale = 1,
                     .weight_decay = opt->hyper.weight_decay};
  slice.count = tr__param_room(param);
  if (opt->type->grain == TR__GRAIN_MATRIX) {
    if (param->shape.ndim > 1 && !group->by_adamw) {
      slice.rows = param->shape.dims[0];
      slice.columns = param->count / slice.rows;
    } else {
      slice.lr_scale = opt->hyper.adamw_lr / opt->hyper.lr;
      slice.weight_decay = opt->hyper.adamw_weight_decay;
    }
  }
  slice.lr_scale *= tr__or_default(group->lr_scale, 1);
  slice.weight_decay *= tr__or_default(group->decay_scale, 1);
  slice.weight_decay = group->no_weight_decay ? 0 : slice.weight_decay;
  return slice;
}

tr_status tr__optimizer_make_slices(tr_optimizer *opt,
                                    const tr_update_opts *all)
{
  const tr__store *store = opt->store;
  TR_TRY(check_groups(opt, all));
  opt->slices = calloc((size_t)store->num_trained + 1, sizeof *opt->slices);
  TR_CHECK(opt->slices != NULL, TR_ENOMEM, "no memory for parameter groups");
  for (int i = 0; i < store->num_trained; i++) {
    const tr__param *param = &store->params[i];
    tr__slice slice = slice_of(opt, group_of(all, param), param);
    tr__slice *last =
        &opt->slices[opt->num_slices > 0 ? opt->num_slices - 1 : 0];
    /* Element-wise updates treat neighbours with equal factors as one slice. */
    if (opt->type->grain == TR__GRAIN_ELEMENT && opt->num_slices > 0 &&
        last->lr_scale == slice.lr_scale &&
        last->weight_decay == slice.weight_decay) {
      last->count += slice.count;
      continue;
    }
    opt->slices[opt->num_slices++] = slice;
  }
  return TR_OK;
}
