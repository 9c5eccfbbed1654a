/* Pooling: maximum and average over windows, average over the whole image. */

/* Index in the channel of the first maximum of the window at `origin`, or -1 if
 * the window lies wholly in the padding. A NaN counts as the maximum. */
static inline int64_t TR_FN(window_maximum)(const TR_REAL *image,
                                            const int64_t extent[3],
                                            const tr__window *window,
                                            const int64_t origin[3])
{
  int64_t place = -1, begin[3], end[3];
  for (int i = 0; i < 3; i++) {
    begin[i] = tr__max(origin[i], 0);
    end[i] = tr__min(origin[i] + window->kernel[i], extent[i]);
  }
  for (int64_t d = begin[0]; d < end[0]; d++) {
    for (int64_t h = begin[1]; h < end[1]; h++) {
      int64_t row = (d * extent[1] + h) * extent[2];
      for (int64_t here = row + begin[2]; here < row + end[2]; here++) {
        if (place < 0 || image[here] > image[place] ||
            (isnan(image[here]) && !isnan(image[place]))) {
          place = here;
        }
      }
    }
  }
  return place;
}

/* y[n,c,place] <- max of x[n,c,...] over the window; index <- where it is */
void TR_FN(maxpool_forward)(const tr__maxpool_forward_args *args)
{
  const tr__tensor *x = &args->x, *y = &args->y;
  const tr__window *w = &args->window;
  int64_t planes = x->dims[0] * x->dims[1];
  int64_t rows = y->dims[2] * y->dims[3], R = y->dims[4];
  for (int64_t plane = 0; plane < planes; plane++) {
    const TR_REAL *image = (const TR_REAL *)x->data + plane * tr__places(x);
    TR_REAL *out = (TR_REAL *)y->data + plane * rows * R;
    int32_t *index = (int32_t *)args->index.data + plane * rows * R;
    for (int64_t row = 0; row < rows; row++) {
      int64_t p = row / y->dims[3], q = row % y->dims[3];
      for (int64_t r = 0; r < R; r++) {
        int64_t origin[3] = {p * w->stride[0] - w->padding[0],
                             q * w->stride[1] - w->padding[1],
                             r * w->stride[2] - w->padding[2]};
        int64_t place = TR_FN(window_maximum)(image, x->dims + 2, w, origin);
        index[row * R + r] = (int32_t)place;
        out[row * R + r] = place < 0 ? -(TR_REAL)INFINITY : image[place];
      }
    }
  }
}

/* dx[n,c,i] <- (dx[n,c,i] +) sum of dy[n,c,place] whose index is i */
void TR_FN(maxpool_backward)(const tr__maxpool_backward_args *args)
{
  const tr__tensor *x = &args->dx, *y = &args->dy;
  int64_t planes = x->dims[0] * x->dims[1];
  int64_t DHW = tr__places(x), PQR = tr__places(y);
  if (!args->accumulate) {
    set_zero(x->data, planes * DHW);
  }
  for (int64_t plane = 0; plane < planes; plane++) {
    const TR_REAL *dy = (const TR_REAL *)y->data + plane * PQR;
    const int32_t *index = (const int32_t *)args->index.data + plane * PQR;
    TR_REAL *dx = (TR_REAL *)x->data + plane * DHW;
    for (int64_t i = 0; i < PQR; i++) {
      if (index[i] >= 0) {
        dx[index[i]] += dy[i];
      }
    }
  }
}

/* The sum over a box of a channel, in double. */
static double
TR_FN(box_sum)(const TR_REAL *image, const int64_t extent[3], int64_t box[3][2])
{
  double sum = 0;
  for (int64_t d = box[0][0]; d < box[0][1]; d++) {
    for (int64_t h = box[1][0]; h < box[1][1]; h++) {
      const TR_REAL *row = image + (d * extent[1] + h) * extent[2];
      for (int64_t w = box[2][0]; w < box[2][1]; w++) {
        sum += row[w];
      }
    }
  }
  return sum;
}

static void TR_FN(box_add)(TR_REAL *image,
                           const int64_t extent[3],
                           int64_t box[3][2],
                           TR_REAL value)
{
  for (int64_t d = box[0][0]; d < box[0][1]; d++) {
    for (int64_t h = box[1][0]; h < box[1][1]; h++) {
      TR_REAL *row = image + (d * extent[1] + h) * extent[2];
      for (int64_t w = box[2][0]; w < box[2][1]; w++) {
        row[w] += value;
      }
    }
  }
}

/* box <- what the window at output place number `place` averages; returns the
 * divisor. */
static inline double TR_FN(box_of)(int64_t box[3][2],
                                   const tr__avgpool_forward_args *args,
                                   int64_t place)
{
  int64_t divisor = 1;
  for (int i = 2; i >= 0; i--) {
    divisor *= tr__pool_span(box[i], args, i, place % args->y.dims[i + 2]);
    place /= args->y.dims[i + 2];
  }
  return (double)divisor;
}

/* y[n,c,place] <- sum of x[n,c,...] over the window / divisor */
void TR_FN(avgpool_forward)(const tr__avgpool_forward_args *args)
{
  const tr__tensor *x = &args->x, *y = &args->y;
  int64_t planes = x->dims[0] * x->dims[1], PQR = tr__places(y);
  for (int64_t place = 0; place < PQR; place++) {
    int64_t box[3][2];
    double divisor = TR_FN(box_of)(box, args, place);
    for (int64_t plane = 0; plane < planes; plane++) {
      const TR_REAL *image = (const TR_REAL *)x->data + plane * tr__places(x);
      double sum = TR_FN(box_sum)(image, x->dims + 2, box);
      ((TR_REAL *)y->data)[plane * PQR + place] =
          divisor > 0 ? (TR_REAL)(sum / divisor) : 0;
    }
  }
}

/* dx[n,c,i] <- (dx[n,c,i] +) sum of dy[n,c,place] / divisor over the windows
 * that hold i */
void TR_FN(avgpool_backward)(const tr__avgpool_backward_args *args)
{
  const tr__tensor *x = &args->dx, *y = &args->dy;
  tr__avgpool_forward_args forward = {
      .y = *y, .x = *x, .window = args->window, .average = args->average};
  int64_t planes = x->dims[0] * x->dims[1], PQR = tr__places(y);
  if (!args->accumulate) {
    set_zero(x->data, tr__tensor_count(x));
  }
  for (int64_t place = 0; place < PQR; place++) {
    int64_t box[3][2];
    TR_REAL divisor = (TR_REAL)TR_FN(box_of)(box, &forward, place);
    for (int64_t plane = 0; plane < planes && divisor > 0; plane++) {
      TR_REAL value = ((const TR_REAL *)y->data)[plane * PQR + place];
      TR_REAL *image = (TR_REAL *)x->data + plane * tr__places(x);
      TR_FN(box_add)(image, x->dims + 2, box, value / divisor);
    }
  }
}

/* y[n,c] <- 1/(H W) sum_hw x[n,c,h,w], summed in double */
void TR_FN(global_avgpool2d_forward)(
    const tr__global_avgpool2d_forward_args *args)
{
  const TR_REAL *x = args->x.data;
  TR_REAL *y = args->y.data;
  int64_t planes = args->x.dims[0] * args->x.dims[1];
  int64_t HW = args->x.dims[2] * args->x.dims[3];
  for (int64_t plane = 0; plane < planes; plane++) {
    double sum = 0;
    for (int64_t hw = 0; hw < HW; hw++) {
      sum += x[plane * HW + hw];
    }
    y[plane] = (TR_REAL)(sum / (double)HW);
  }
}

/* dx[n,c,h,w] <- (dx[n,c,h,w] +) dy[n,c] / (H W) */
void TR_FN(global_avgpool2d_backward)(
    const tr__global_avgpool2d_backward_args *args)
{
  const TR_REAL *dy = args->dy.data;
  TR_REAL *dx = args->dx.data;
  int64_t planes = args->dx.dims[0] * args->dx.dims[1];
  int64_t HW = args->dx.dims[2] * args->dx.dims[3];
  for (int64_t plane = 0; plane < planes; plane++) {
    TR_REAL value = dy[plane] / (TR_REAL)HW;
    TR_REAL *out = dx + plane * HW;
    for (int64_t hw = 0; hw < HW; hw++) {
      out[hw] = args->accumulate ? out[hw] + value : value;
    }
  }
}
