/* im2col for one element type. It only copies, so there is a 16-bit version
 * too. template_conv.h and im2col_u16.c include this file. */

void TR_FN(im2col)(TR_REAL *col,
                   const TR_REAL *image,
                   const tr__tensor *x,
                   const tr__tensor *y,
                   const tr__window *window,
                   const tr__patch *patch)
{
  int64_t W = x->dims[4], R = y->dims[4], taps = tr__taps(window);
  int64_t stride = window->stride[2];
  for (int64_t c = patch->channels[0]; c < patch->channels[1]; c++) {
    const TR_REAL *plane = image + c * tr__places(x);
    for (int64_t tap = 0; tap < taps; tap++) {
      int64_t range[2], shift[3];
      tr__tap_shift(shift, window, tap);
      tr__valid_places(range, R, W, stride, shift[2]);
      for (int64_t p = patch->rows[0]; p < patch->rows[1]; p++, col += R) {
        int64_t row = tr__image_row(x, y, window, shift, p);
        if (row < 0) {
          memset(col, 0, (size_t)R * sizeof *col);
          continue;
        }
        const TR_REAL *from = plane + row * W + shift[2];
        for (int64_t r = 0; r < range[0]; r++) {
          col[r] = 0;
        }
        if (stride == 1) {
          for (int64_t r = range[0]; r < range[1]; r++) {
            col[r] = from[r];
          }
        } else {
          for (int64_t r = range[0]; r < range[1]; r++) {
            col[r] = from[r * stride];
          }
        }
        for (int64_t r = range[1]; r < R; r++) {
          col[r] = 0;
        }
      }
    }
  }
}
