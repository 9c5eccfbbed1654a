/* The pen strokes of the embedded digits. */
#ifndef TR_GLYPHS_IMPL_H
#define TR_GLYPHS_IMPL_H

#include <stdint.h>

#define TR__GLYPH_POINTS 20

/* A pen position in hundredths of the glyph's box, x to the right, y down. */
typedef struct tr__pen {
  int8_t x, y;
  int8_t is_start; /* 1: the pen was lifted before this point */
} tr__pen;

/* One way to write a digit: a smooth curve through the points of each stroke. A
 * corner is the end of one stroke and the start of the next. */
typedef struct tr__glyph {
  int num_points;
  tr__pen points[TR__GLYPH_POINTS];
} tr__glyph;

#define TR__GLYPH_VARIANTS 3

extern const tr__glyph tr__glyphs[10][TR__GLYPH_VARIANTS];

#endif
