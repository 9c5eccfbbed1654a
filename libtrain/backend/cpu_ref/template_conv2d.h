/* Convolution: each image is unrolled into columns (im2col), so that the sums
 * become matrix products. */

/* Where the window's element `tap` lies inside the image: the outputs
 * range[0]..range[1]-1 of `places`. */
static inline void TR_FN(valid_places)(int64_t range[2],
                                       int64_t places,
                                       int64_t extent,
                                       int64_t stride,
                                       int64_t shift)
{
  /* 0 <= place * stride + shift < extent */
  int64_t first = shift < 0 ? (-shift + stride - 1) / stride : 0;
  int64_t past = extent > shift ? (extent - shift + stride - 1) / stride : 0;
  range[0] = tr__min(first, places);
  range[1] = tr__max(range[0], tr__min(past, places));
}

void TR_FN(im2col)(TR_REAL *col,
                   const TR_REAL *image,
                   const tr__tensor *x,
                   const tr__tensor *y,
                   const tr__window *window,
                   const tr__patch *patch)
{
  int64_t H = x->dims[2], W = x->dims[3], Q = y->dims[3];
  int64_t stride = window->stride[1];
  for (int64_t c = patch->channels[0]; c < patch->channels[1]; c++) {
    for (int64_t i = 0; i < window->kernel[0]; i++) {
      for (int64_t j = 0; j < window->kernel[1]; j++) {
        int64_t range[2], shift = j - window->padding[1];
        TR_FN(valid_places)(range, Q, W, stride, shift);
        for (int64_t p = patch->rows[0]; p < patch->rows[1]; p++, col += Q) {
          int64_t h = p * window->stride[0] + i - window->padding[0];
          if (h < 0 || h >= H) {
            set_zero(col, Q);
            continue;
          }
          const TR_REAL *row = image + (c * H + h) * W;
          for (int64_t q = 0; q < range[0]; q++) {
            col[q] = 0;
          }
          if (stride == 1) {
            for (int64_t q = range[0]; q < range[1]; q++) {
              col[q] = row[q + shift];
            }
          } else {
            for (int64_t q = range[0]; q < range[1]; q++) {
              col[q] = row[q * stride + shift];
            }
          }
          for (int64_t q = range[1]; q < Q; q++) {
            col[q] = 0;
          }
        }
      }
    }
  }
}

void TR_FN(col2im)(TR_REAL *image,
                   const TR_REAL *col,
                   const tr__tensor *x,
                   const tr__tensor *y,
                   const tr__window *window,
                   const tr__patch *patch)
{
  int64_t H = x->dims[2], W = x->dims[3], Q = y->dims[3];
  int64_t stride = window->stride[1];
  for (int64_t c = patch->channels[0]; c < patch->channels[1]; c++) {
    for (int64_t i = 0; i < window->kernel[0]; i++) {
      for (int64_t j = 0; j < window->kernel[1]; j++) {
        int64_t range[2], shift = j - window->padding[1];
        TR_FN(valid_places)(range, Q, W, stride, shift);
        for (int64_t p = patch->rows[0]; p < patch->rows[1]; p++, col += Q) {
          int64_t h = p * window->stride[0] + i - window->padding[0];
          if (h < 0 || h >= H) {
            continue;
          }
          TR_REAL *row = image + (c * H + h) * W;
          if (stride == 1) {
            for (int64_t q = range[0]; q < range[1]; q++) {
              row[q + shift] += col[q];
            }
          } else {
            for (int64_t q = range[0]; q < range[1]; q++) {
              row[q * stride + shift] += col[q];
            }
          }
        }
      }
    }
  }
}

/* y[n,k,p,q] <- activation(b[k] + sum_cij w[k,c,i,j]
 *                          x[n, c, p stride + i - padding, ...]) */
void TR_FN(conv2d_forward)(const tr__conv2d_forward_args *args)
{
  const tr__tensor *x = &args->x, *y = &args->y;
  int64_t K = y->dims[1], PQ = y->dims[2] * y->dims[3];
  int64_t CIJ = tr__tensor_row(&args->w), CHW = tr__tensor_row(x);
  TR_REAL *col = args->workspace.data;
  const TR_REAL *b = args->b.data;
  tr__patch whole = {{0, x->dims[1]}, {0, y->dims[2]}};
  for (int64_t n = 0; n < x->dims[0]; n++) {
    TR_REAL *out = (TR_REAL *)y->data + n * K * PQ;
    for (int64_t i = 0; i < K * PQ; i++) {
      out[i] = b != NULL ? b[i / PQ] : 0;
    }
    TR_FN(im2col)
    (col, (const TR_REAL *)x->data + n * CHW, x, y, &args->window, &whole);
    TR_FN(add_product)
    (out, (matrix){args->w.data, CIJ, 1}, (matrix){col, PQ, 1},
     (int64_t[3]){K, PQ, CIJ});
    for (int64_t i = 0; args->activation == TR__ACTIVATION_RELU && i < K * PQ;
         i++) {
      out[i] = out[i] < 0 ? 0 : out[i];
    }
  }
}

/* dx[n,c,h,w] <- (dx[n,c,h,w] +) sum over k and all (i,j,p,q) that read this
 * place of dy[n,k,p,q] w[k,c,i,j] */
void TR_FN(conv2d_backward_input)(const tr__conv2d_backward_input_args *args)
{
  const tr__tensor *x = &args->dx, *y = &args->dy;
  int64_t K = y->dims[1], PQ = y->dims[2] * y->dims[3];
  int64_t CIJ = tr__tensor_row(&args->w), CHW = tr__tensor_row(x);
  TR_REAL *col = args->workspace.data;
  tr__patch whole = {{0, x->dims[1]}, {0, y->dims[2]}};
  if (!args->accumulate) {
    set_zero(x->data, x->dims[0] * CHW);
  }
  for (int64_t n = 0; n < x->dims[0]; n++) {
    const TR_REAL *dy = (const TR_REAL *)y->data + n * K * PQ;
    set_zero(col, CIJ * PQ);
    TR_FN(add_product)
    (col, (matrix){args->w.data, 1, CIJ}, (matrix){dy, PQ, 1},
     (int64_t[3]){CIJ, PQ, K});
    TR_FN(col2im)
    ((TR_REAL *)x->data + n * CHW, col, x, y, &args->window, &whole);
  }
}

/* dw[k,c,i,j] <- (dw[k,c,i,j] +) sum_npq dy[n,k,p,q]
 *                 x[n, c, p stride + i - padding, ...], rows begin..end-1 */
static void TR_FN(conv2d_weight_leaf)(
    void *arg, int64_t begin, int64_t end, void *dw, int accumulate)
{
  const tr__conv2d_backward_weight_args *args = arg;
  const tr__tensor *x = &args->x, *y = &args->dy;
  int64_t K = y->dims[1], PQ = y->dims[2] * y->dims[3];
  int64_t CIJ = tr__tensor_row(&args->dw), CHW = tr__tensor_row(x);
  TR_REAL *col = args->workspace.data;
  tr__patch whole = {{0, x->dims[1]}, {0, y->dims[2]}};
  if (!accumulate) {
    set_zero(dw, K * CIJ);
  }
  for (int64_t n = begin; n < end; n++) {
    TR_FN(im2col)
    (col, (const TR_REAL *)x->data + n * CHW, x, y, &args->window, &whole);
    TR_FN(add_product_transposed)
    (dw, (matrix){(const TR_REAL *)y->data + n * K * PQ, PQ, 1},
     (matrix){col, PQ, 1}, (int64_t[3]){K, CIJ, PQ});
  }
}

static void TR_FN(conv2d_weight_add)(void *arg, void *sum, const void *other)
{
  const tr__conv2d_backward_weight_args *args = arg;
  TR_FN(add_numbers)(sum, other, tr__tensor_count(&args->dw));
}

/* db[k] <- (db[k] +) sum_npq dy[n,k,p,q], in double */
static void TR_FN(conv2d_bias_leaf)(
    void *arg, int64_t begin, int64_t end, void *out, int accumulate)
{
  const tr__conv2d_backward_weight_args *args = arg;
  int64_t K = args->dy.dims[1], PQ = args->dy.dims[2] * args->dy.dims[3];
  const TR_REAL *dy = args->dy.data;
  TR_REAL *db = out;
  for (int64_t k = 0; k < K; k++) {
    double sum = 0;
    for (int64_t n = begin; n < end; n++) {
      for (int64_t pq = 0; pq < PQ; pq++) {
        sum += dy[(n * K + k) * PQ + pq];
      }
    }
    db[k] = (TR_REAL)(accumulate ? db[k] + sum : sum);
  }
}

static void TR_FN(conv2d_bias_add)(void *arg, void *sum, const void *other)
{
  const tr__conv2d_backward_weight_args *args = arg;
  TR_FN(add_numbers)(sum, other, tr__tensor_count(&args->db));
}

void TR_FN(conv2d_backward_weight)(const tr__conv2d_backward_weight_args *args)
{
  /* The workspace: one image's columns, then the tree's partial sums. */
  size_t columns = tr__align((size_t)(tr__tensor_row(&args->dw) *
                                      args->dy.dims[2] * args->dy.dims[3]) *
                                 sizeof(TR_REAL),
                             64);
  char *scratch = (char *)args->workspace.data + columns;
  tr__conv2d_backward_weight_args copy = *args;
  tr__tree tree = {
      .shards = args->shards,
      .bytes = (size_t)tr__tensor_count(&args->dw) * sizeof(TR_REAL),
      .leaf = TR_FN(conv2d_weight_leaf),
      .add = TR_FN(conv2d_weight_add),
      .arg = &copy,
  };
  if (args->dw.data != NULL) {
    tr__tree_sum(&tree, args->dw.data, args->accumulate, scratch);
  }
  if (args->db.data == NULL) {
    return;
  }
  tree.bytes = (size_t)tr__tensor_count(&args->db) * sizeof(TR_REAL);
  tree.leaf = TR_FN(conv2d_bias_leaf);
  tree.add = TR_FN(conv2d_bias_add);
  tr__tree_sum(&tree, args->db.data, args->accumulate, scratch);
}
