/* The embedded digits: a data set of pen strokes, drawn on demand with random
 * slant, scale, position and noise.
 *
 * A sample is a function of its number alone and has the same bits on every
 * machine: it uses counter-based random numbers and only + - * / and the square
 * root, whose rounding IEEE 754 fixes. */
#include "base/random_impl.h"
#include "data/data_impl.h"
#include "data/glyphs_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SIDE      28
#define PIXELS    (SIDE * SIDE)
#define NUM_TRAIN 8000
#define NUM_TEST  2000
/* Test samples have numbers that no training sample has. */
#define FIRST_TEST ((int64_t)1 << 32)
#define SEED       UINT64_C(0x6469676974733031)
#define SPAN_PARTS 5 /* straight lines between two pen positions */

/* Bounds of the random variation. They are so large that a linear classifier
 * stays near an accuracy of 0.9, and so small that a small network still learns
 * the digits. */
#define JITTER 4.0f  /* of each pen position, in hundredths of the box */
#define SLANT  0.45f /* sideways shift per height */
#define TURN   0.12f /* tangent of half the angle */
#define SHIFT  2.4f  /* pixels */
#define NOISE  0.2f  /* amplitude, where full ink is 1 */

typedef struct digits {
  int64_t first; /* number of sample 0 */
} digits;

typedef struct point {
  float x, y;
} point;

/* The stream of random numbers of one sample: the values of tr__random_u32()
 * for its elements 0, 1, 2, ... One call of Philox makes four. */
typedef struct hand {
  uint32_t counter[4];
  uint32_t words[4];
  uint32_t next;
} hand;

static hand hand_of(int64_t number)
{
  uint32_t stream = tr__random_stream(TR__PURPOSE_DIGITS, 0);
  uint64_t sample = (uint64_t)number;
  return (hand){.counter = {0, (uint32_t)sample, 0,
                            stream << 16 | (uint32_t)(sample >> 32 & 255)}};
}

static uint32_t draw(hand *h)
{
  static const uint32_t key[2] = {(uint32_t)SEED, (uint32_t)(SEED >> 32)};
  if (h->next % 4 == 0) {
    h->counter[0] = h->next / 4;
    tr__philox(h->counter, key, h->words);
  }
  return h->words[h->next++ % 4];
}

static float between(hand *h, float low, float high)
{
  return low + (high - low) * (float)(draw(h) * 0x1p-32);
}

/* The map from hundredths of the glyph's box to pixels. */
typedef struct placement {
  float xx, xy, yx, yy; /* the linear part */
  float x, y;           /* where the centre of the box goes */
} placement;

static placement place_glyph(hand *h)
{
  float height = between(h, 0.165f, 0.215f);
  float width = height * between(h, 0.6f, 0.95f);
  float slant = between(h, -SLANT, SLANT);
  /* Rotation by the angle whose half has the tangent t, without a cosine. */
  float t = between(h, -TURN, TURN);
  float cosine = (1.0f - t * t) / (1.0f + t * t);
  float sine = 2.0f * t / (1.0f + t * t);
  float middle = (SIDE - 1) / 2.0f;
  placement p;
  p.xx = cosine * width;
  p.xy = -(cosine * slant + sine) * height;
  p.yx = sine * width;
  p.yy = (cosine - sine * slant) * height;
  p.x = middle + between(h, -SHIFT, SHIFT);
  p.y = middle + between(h, -SHIFT, SHIFT);
  return p;
}

/* Pen positions in pixels, each with a random offset. A stroke that starts
 * where the last one of the glyph ended starts there here too. */
static void
place_points(hand *h, const tr__glyph *glyph, const placement *p, point *out)
{
  for (int i = 0; i < glyph->num_points; i++) {
    const tr__pen *pen = &glyph->points[i];
    float x = (float)pen->x - 50.0f + between(h, -JITTER, JITTER);
    float y = (float)pen->y - 50.0f + between(h, -JITTER, JITTER);
    out[i].x = p->x + p->xx * x + p->xy * y;
    out[i].y = p->y + p->yx * x + p->yy * y;
    if (i > 0 && pen->is_start && pen[-1].x == pen->x && pen[-1].y == pen->y) {
      out[i] = out[i - 1];
    }
  }
}

/* Lower each pixel's squared distance to the pen's path by the straight line
 * from a to b. Pixels further than `reach` from its bounding box keep theirs.
 */
static void trace_piece(float *squares, point a, point b, float reach)
{
  float dx = b.x - a.x, dy = b.y - a.y;
  float length = dx * dx + dy * dy;
  float scale = length > 0.0f ? 1.0f / length : 0.0f;
  int left = (int)fmaxf(0.0f, fminf(a.x, b.x) - reach);
  int right = (int)fminf(SIDE - 1.0f, fmaxf(a.x, b.x) + reach + 1.0f);
  int top = (int)fmaxf(0.0f, fminf(a.y, b.y) - reach);
  int bottom = (int)fminf(SIDE - 1.0f, fmaxf(a.y, b.y) + reach + 1.0f);
  for (int row = top; row <= bottom; row++) {
    float *line = squares + row * SIDE;
    for (int column = left; column <= right; column++) {
      float px = (float)column - a.x, py = (float)row - a.y;
      float t = (px * dx + py * dy) * scale;
      t = t < 0.0f ? 0.0f : t;
      t = t > 1.0f ? 1.0f : t;
      float ex = px - t * dx, ey = py - t * dy;
      float square = ex * ex + ey * ey;
      line[column] = square < line[column] ? square : line[column];
    }
  }
}

/* The point at t in [0, 1] of the Catmull-Rom curve from p[1] to p[2]. */
static point curve_at(const point p[4], float t)
{
  float a = ((2.0f - t) * t - 1.0f) * t, b = (3.0f * t - 5.0f) * t * t + 2.0f;
  float c = ((4.0f - 3.0f * t) * t + 1.0f) * t, d = (t - 1.0f) * t * t;
  return (point){0.5f * (a * p[0].x + b * p[1].x + c * p[2].x + d * p[3].x),
                 0.5f * (a * p[0].y + b * p[1].y + c * p[2].y + d * p[3].y)};
}

static void trace_glyph(const tr__glyph *glyph,
                        const point *points,
                        float reach,
                        float *squares)
{
  for (int i = 1; i < glyph->num_points; i++) {
    if (glyph->points[i].is_start) {
      continue;
    }
    bool is_first = glyph->points[i - 1].is_start;
    bool is_last = i + 1 == glyph->num_points || glyph->points[i + 1].is_start;
    const point p[4] = {points[is_first ? i - 1 : i - 2], points[i - 1],
                        points[i], points[is_last ? i : i + 1]};
    /* A stroke of two points is straight. */
    int parts = is_first && is_last ? 1 : SPAN_PARTS;
    point from = p[1];
    for (int part = 1; part <= parts; part++) {
      point to = part == parts ? p[2] : curve_at(p, (float)part / (float)parts);
      trace_piece(squares, from, to, reach);
      from = to;
    }
  }
}

/* Turn distances into ink with an edge one pixel wide, and add noise to every
 * pixel. */
static void
ink_pixels(hand *h, const float *squares, float radius, float *pixels)
{
  float ink = between(h, 0.6f, 1.0f);
  float noise = NOISE * between(h, 0.0f, 1.0f);
  float reach = (radius + 0.5f) * (radius + 0.5f);
  h->next = (h->next + 3) / 4 * 4;
  uint32_t bits = 0;
  for (int i = 0; i < PIXELS; i++) {
    /* One random word holds the noise of four pixels. */
    bits = i % 4 == 0 ? draw(h) : bits >> 8;
    float value = squares[i] < reach ? radius + 0.5f - sqrtf(squares[i]) : 0.0f;
    value = value < 0.0f ? 0.0f : value;
    value = ink * (value > 1.0f ? 1.0f : value);
    value += noise * ((float)(bits & 255) * (1.0f / 127.5f) - 1.0f);
    value = value < 0.0f ? 0.0f : value;
    pixels[i] = value > 1.0f ? 1.0f : value;
  }
}

/* draw_digit - draw a sample by number: (28, 28) pixels in [0, 1]; returns its
 * class. */
static int32_t draw_digit(int64_t number, float *pixels)
{
  hand h = hand_of(number);
  int32_t digit = (int32_t)between(&h, 0.0f, 10.0f) % 10;
  int variant = (int)between(&h, 0.0f, TR__GLYPH_VARIANTS) % TR__GLYPH_VARIANTS;
  const tr__glyph *glyph = &tr__glyphs[digit][variant];
  placement p = place_glyph(&h);
  point points[TR__GLYPH_POINTS];
  place_points(&h, glyph, &p, points);
  float radius = between(&h, 0.5f, 1.5f);
  float squares[PIXELS];
  for (int i = 0; i < PIXELS; i++) {
    squares[i] = SIDE * SIDE;
  }
  trace_glyph(glyph, points, radius + 0.5f, squares);
  ink_pixels(&h, squares, radius, pixels);
  return digit;
}

static tr_status digits_read(const tr_dataset *data,
                             const int64_t *ids,
                             int64_t count,
                             void *x,
                             void *targets)
{
  int32_t *y = targets;
  const digits *state = data->state;
  float pixels[PIXELS];
  for (int64_t i = 0; i < count; i++) {
    void *out = tr__at(x, data->dtype, i * PIXELS);
    y[i] = draw_digit(state->first + ids[i], pixels);
    if (data->dtype == TR_F32) {
      memcpy(out, pixels, sizeof pixels);
      continue;
    }
    for (int j = 0; j < PIXELS; j++) {
      ((double *)out)[j] = pixels[j];
    }
  }
  return TR_OK;
}

static void digits_close(tr_dataset *data)
{
  free(data->state);
}

static const tr__dataset_type digits_type = {
    .name = "digits", .read = digits_read, .close = digits_close};

tr_status tr_digits_open(tr_context *ctx, const char *split, tr_dataset **out)
{
  *out = NULL;
  split = tr__text(split);
  bool is_test = strcmp(split, "test") == 0;
  TR_CHECK(is_test || strcmp(split, "train") == 0, TR_EINVAL,
           "embedded digits: split is \"%s\", expected \"train\" or \"test\"",
           split);
  digits *state = malloc(sizeof *state);
  TR_CHECK(state != NULL, TR_ENOMEM, "embedded digits: out of memory");
  state->first = is_test ? FIRST_TEST : 0;
  const tr__dataset_info info = {
      .type = &digits_type,
      .shape = tr_shape_of(3, (int64_t[]){1, SIDE, SIDE}),
      .num_samples = is_test ? NUM_TEST : NUM_TRAIN,
      .num_classes = 10,
  };
  tr_status status =
      tr__dataset_new(ctx, &info, "embedded digits", split, state, out);
  if (status != TR_OK) {
    free(state);
  }
  return status;
}
