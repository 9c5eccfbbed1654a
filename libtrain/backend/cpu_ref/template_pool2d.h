/* Maximum over windows, average over the whole image. */

/* The first maximum of the window at (p, q); a NaN is the maximum. Returns its
 * place in the image, -1 for a window that lies wholly in the padding. */
static inline int64_t TR_FN(window_maximum)(const TR_REAL *image,
                                            const int64_t extent[2],
                                            const tr__window *window,
                                            const int64_t origin[2])
{
  int64_t place = -1;
  int64_t top = tr__max(origin[0], 0), left = tr__max(origin[1], 0);
  int64_t bottom = tr__min(origin[0] + window->kernel[0], extent[0]);
  int64_t right = tr__min(origin[1] + window->kernel[1], extent[1]);
  for (int64_t h = top; h < bottom; h++) {
    for (int64_t w = left; w < right; w++) {
      int64_t here = h * extent[1] + w;
      if (place < 0 || image[here] > image[place] ||
          (isnan(image[here]) && !isnan(image[place]))) {
        place = here;
      }
    }
  }
  return place;
}

/* y[n,c,p,q] <- max over i, j of x[n, c, p stride + i - padding, ...];
 * index, where there is one, <- where it is */
void TR_FN(maxpool2d_forward)(const tr__maxpool2d_forward_args *args)
{
  const tr__tensor *x = &args->x, *y = &args->y;
  const tr__window *window = &args->window;
  int64_t planes = x->dims[0] * x->dims[1];
  int64_t P = y->dims[2], Q = y->dims[3];
  for (int64_t plane = 0; plane < planes; plane++) {
    const TR_REAL *image =
        (const TR_REAL *)x->data + plane * x->dims[2] * x->dims[3];
    TR_REAL *out = (TR_REAL *)y->data + plane * P * Q;
    int32_t *index = args->index.data;
    index += index != NULL ? plane * P * Q : 0;
    for (int64_t p = 0; p < P; p++) {
      for (int64_t q = 0; q < Q; q++) {
        int64_t origin[2] = {p * window->stride[0] - window->padding[0],
                             q * window->stride[1] - window->padding[1]};
        int64_t place =
            TR_FN(window_maximum)(image, x->dims + 2, window, origin);
        if (index != NULL) {
          index[p * Q + q] = (int32_t)place;
        }
        out[p * Q + q] = place < 0 ? -(TR_REAL)INFINITY : image[place];
      }
    }
  }
}

/* dx[n,c,h,w] <- (dx[n,c,h,w] +) sum of dy[n,c,p,q] whose index is h W + w */
void TR_FN(maxpool2d_backward)(const tr__maxpool2d_backward_args *args)
{
  const tr__tensor *x = &args->dx, *y = &args->dy;
  int64_t planes = x->dims[0] * x->dims[1];
  int64_t HW = x->dims[2] * x->dims[3], PQ = y->dims[2] * y->dims[3];
  if (!args->accumulate) {
    set_zero(x->data, planes * HW);
  }
  for (int64_t plane = 0; plane < planes; plane++) {
    const TR_REAL *dy = (const TR_REAL *)y->data + plane * PQ;
    const int32_t *index = (const int32_t *)args->index.data + plane * PQ;
    TR_REAL *dx = (TR_REAL *)x->data + plane * HW;
    for (int64_t pq = 0; pq < PQ; pq++) {
      if (index[pq] >= 0) {
        dx[index[pq]] += dy[pq];
      }
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
