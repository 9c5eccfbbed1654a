/* Convolution as matrix products: im2col unrolls the channels of a group into
 * columns. */
#include "backend/cpu_ref/template_im2col.h"

void TR_FN(col2im)(TR_REAL *image,
                   const TR_REAL *col,
                   const tr__tensor *x,
                   const tr__tensor *y,
                   const tr__window *window,
                   const tr__patch *patch)
{
  int64_t W = x->dims[4], R = y->dims[4], taps = tr__taps(window);
  int64_t stride = window->stride[2];
  for (int64_t c = patch->channels[0]; c < patch->channels[1]; c++) {
    TR_REAL *plane = image + c * tr__places(x);
    for (int64_t tap = 0; tap < taps; tap++) {
      int64_t range[2], shift[3];
      tr__tap_shift(shift, window, tap);
      tr__valid_places(range, R, W, stride, shift[2]);
      for (int64_t p = patch->rows[0]; p < patch->rows[1]; p++, col += R) {
        int64_t row = tr__image_row(x, y, window, shift, p);
        if (row < 0) {
          continue;
        }
        TR_REAL *to = plane + row * W + shift[2];
        if (stride == 1) {
          for (int64_t r = range[0]; r < range[1]; r++) {
            to[r] += col[r];
          }
        } else {
          for (int64_t r = range[0]; r < range[1]; r++) {
            to[r * stride] += col[r];
          }
        }
      }
    }
  }
}

/* Set the elements of each channel to its bias, 0 without one; with accumulate
 * add the bias to them. */
static void TR_FN(start_channels)(TR_REAL *image,
                                  const TR_REAL *bias,
                                  const int64_t sizes[2],
                                  int accumulate)
{
  for (int64_t c = 0; c < sizes[0]; c++) {
    TR_REAL value = bias != NULL ? bias[c] : 0;
    TR_REAL *plane = image + c * sizes[1];
    for (int64_t i = 0; i < sizes[1]; i++) {
      plane[i] = accumulate ? plane[i] + value : value;
    }
  }
}

/* y[n,k,place] <- activation(b[k] + sum over c, tap of w[k,c,tap]
 *                            x[n, c, place * stride + shift of the tap]) */
void TR_FN(conv_forward)(const tr__conv_forward_args *args)
{
  const tr__tensor *x = &args->x, *y = &args->y;
  int64_t groups = args->window.groups, CT = tr__tensor_row(&args->w);
  int64_t K = y->dims[1], PQR = tr__places(y), C = x->dims[1] / groups;
  TR_REAL *col = args->workspace.data;
  for (int64_t n = 0; n < x->dims[0]; n++) {
    const TR_REAL *image = (const TR_REAL *)x->data + n * tr__tensor_row(x);
    TR_REAL *out = (TR_REAL *)y->data + n * K * PQR;
    TR_FN(start_channels)
    (out, args->b.data, (int64_t[2]){K, PQR}, args->accumulate);
    for (int64_t g = 0; g < groups; g++) {
      tr__patch whole = {{g * C, (g + 1) * C}, {0, y->dims[2] * y->dims[3]}};
      int64_t k = g * K / groups;
      TR_FN(im2col)(col, image, x, y, &args->window, &whole);
      TR_FN(add_product)
      (out + k * PQR, (matrix){(const TR_REAL *)args->w.data + k * CT, CT, 1},
       (matrix){col, PQR, 1}, (int64_t[3]){K / groups, PQR, CT});
    }
    bool is_relu = args->activation == TR__ACTIVATION_RELU;
    for (int64_t i = 0; is_relu && i < K * PQR; i++) {
      out[i] = out[i] < 0 ? 0 : out[i];
    }
  }
}

/* dx[n,c,...] <- (dx +) b[c] + sum of dy[n,k,place] w[k,c,tap] over k and over
 * all taps and places that read this element */
void TR_FN(conv_backward_input)(const tr__conv_backward_input_args *args)
{
  const tr__tensor *x = &args->dx, *y = &args->dy;
  int64_t groups = args->window.groups, CT = tr__tensor_row(&args->w);
  int64_t K = y->dims[1] / groups, PQR = tr__places(y);
  int64_t C = x->dims[1] / groups;
  TR_REAL *col = args->workspace.data;
  for (int64_t n = 0; n < x->dims[0]; n++) {
    TR_REAL *image = (TR_REAL *)x->data + n * tr__tensor_row(x);
    TR_FN(start_channels)
    (image, args->b.data, (int64_t[2]){x->dims[1], tr__places(x)},
     args->accumulate);
    for (int64_t g = 0; g < groups; g++) {
      const TR_REAL *dy = (const TR_REAL *)y->data + (n * groups + g) * K * PQR;
      const TR_REAL *w = (const TR_REAL *)args->w.data + g * K * CT;
      tr__patch whole = {{g * C, (g + 1) * C}, {0, y->dims[2] * y->dims[3]}};
      set_zero(col, CT * PQR);
      TR_FN(add_product)
      (col, (matrix){w, 1, CT}, (matrix){dy, PQR, 1}, (int64_t[3]){CT, PQR, K});
      TR_FN(col2im)(image, col, x, y, &args->window, &whole);
    }
  }
}

/* dw[k,c,tap] <- (dw +) sum over n, place of dy[n,k,place]
 *                x[n, c, place * stride + shift of the tap], rows begin..end-1
 */
static void TR_FN(conv_weight_leaf)(
    void *arg, int64_t begin, int64_t end, void *dw, int accumulate)
{
  const tr__conv_backward_weight_args *args = arg;
  const tr__tensor *x = &args->x, *y = &args->dy;
  int64_t groups = args->window.groups, CT = tr__tensor_row(&args->dw);
  int64_t K = y->dims[1] / groups, PQR = tr__places(y);
  int64_t C = x->dims[1] / groups;
  TR_REAL *col = args->workspace.data;
  if (!accumulate) {
    set_zero(dw, groups * K * CT);
  }
  for (int64_t n = begin; n < end; n++) {
    const TR_REAL *image = (const TR_REAL *)x->data + n * tr__tensor_row(x);
    for (int64_t g = 0; g < groups; g++) {
      const TR_REAL *dy = (const TR_REAL *)y->data + (n * groups + g) * K * PQR;
      tr__patch whole = {{g * C, (g + 1) * C}, {0, y->dims[2] * y->dims[3]}};
      TR_FN(im2col)(col, image, x, y, &args->window, &whole);
      TR_FN(add_product_transposed)
      ((TR_REAL *)dw + g * K * CT, (matrix){dy, PQR, 1}, (matrix){col, PQR, 1},
       (int64_t[3]){K, CT, PQR});
    }
  }
}

static void TR_FN(conv_weight_add)(void *arg, void *sum, const void *other)
{
  const tr__conv_backward_weight_args *args = arg;
  TR_FN(add_numbers)(sum, other, tr__tensor_count(&args->dw));
}

/* db[k] <- (db[k] +) sum over n, place of dy[n,k,place], or of x, in double */
static void TR_FN(conv_bias_leaf)(
    void *arg, int64_t begin, int64_t end, void *out, int accumulate)
{
  const tr__conv_backward_weight_args *args = arg;
  const tr__tensor *t = args->db_of_x ? &args->x : &args->dy;
  int64_t K = t->dims[1], places = tr__places(t);
  const TR_REAL *values = t->data;
  TR_REAL *db = out;
  for (int64_t k = 0; k < K; k++) {
    double sum = 0;
    for (int64_t n = begin; n < end; n++) {
      for (int64_t i = 0; i < places; i++) {
        sum += values[(n * K + k) * places + i];
      }
    }
    db[k] = (TR_REAL)(accumulate ? db[k] + sum : sum);
  }
}

static void TR_FN(conv_bias_add)(void *arg, void *sum, const void *other)
{
  const tr__conv_backward_weight_args *args = arg;
  TR_FN(add_numbers)(sum, other, tr__tensor_count(&args->db));
}

void TR_FN(conv_backward_weight)(const tr__conv_backward_weight_args *args)
{
  /* The workspace holds the columns of one image, then the partial sums of the
   * tree. */
  size_t columns =
      tr__align((size_t)(tr__tensor_row(&args->dw) * tr__places(&args->dy)) *
                    sizeof(TR_REAL),
                64);
  char *scratch = (char *)args->workspace.data + columns;
  tr__conv_backward_weight_args copy = *args;
  tr__tree tree = {
      .shards = args->shards,
      .bytes = (size_t)tr__tensor_count(&args->dw) * sizeof(TR_REAL),
      .leaf = TR_FN(conv_weight_leaf),
      .add = TR_FN(conv_weight_add),
      .arg = &copy,
  };
  if (args->dw.data != NULL) {
    tr__tree_sum(&tree, args->dw.data, args->accumulate, scratch);
  }
  if (args->db.data == NULL) {
    return;
  }
  tree.bytes = (size_t)tr__tensor_count(&args->db) * sizeof(TR_REAL);
  tree.leaf = TR_FN(conv_bias_leaf);
  tree.add = TR_FN(conv_bias_add);
  tr__tree_sum(&tree, args->db.data, args->accumulate, scratch);
}
