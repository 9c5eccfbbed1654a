/* Compares lines of the texts that describe a model. */
#include "checkpoint/resume_impl.h"

#include <string.h>

/* Options that do not change the function of a trained model: those that act
 * only in training, and those that determine initial values. All other options
 * are compared. */
static const struct {
  const char *layer, *option;
} free_options[] = {
    {"dropout", "p"},
    {"position", "std"},
};

bool tr__next_line(const char **at, tr__text_line *out)
{
  *out = (tr__text_line){*at, (int)strcspn(*at, "\n")};
  if (**at == '\0') {
    return false;
  }
  *at += out->length + ((*at)[out->length] == '\n');
  return true;
}

bool tr__line_equal(tr__text_line a, tr__text_line b)
{
  return a.length == b.length && memcmp(a.text, b.text, (size_t)a.length) == 0;
}

bool tr__line_is_loss(tr__text_line line)
{
  static const char layer[] = "layer ", gives[] = ", gives ()";
  const int length = (int)strlen(gives);
  return line.length > length &&
         strncmp(line.text, layer, strlen(layer)) == 0 &&
         memcmp(line.text + line.length - length, gives, (size_t)length) == 0;
}

/* Iterates over the items of "layer NAME: TYPE of INPUT, OPTION VALUE, ...". */
typedef struct parts {
  const char *at, *end;
  const char *option; /* is skipped; NULL: none */
} parts;

static bool begins_with(const char *at, const char *end, const char *word)
{
  size_t length = strlen(word);
  return (size_t)(end - at) > length && memcmp(at, word, length) == 0 &&
         at[length] == ' ';
}

static parts parts_of(tr__text_line line)
{
  parts p = {line.text, line.text + line.length, NULL};
  const char *colon = memmem(line.text, (size_t)line.length, ": ", 2);
  size_t count = sizeof free_options / sizeof free_options[0];
  for (size_t i = 0; colon != NULL && i < count; i++) {
    if (begins_with(colon + 2, p.end, free_options[i].layer)) {
      p.option = free_options[i].option;
    }
  }
  return p;
}

static bool next_part(parts *p, tr__text_line *out)
{
  while (p->at < p->end) {
    const char *begin = p->at;
    const char *comma = memmem(begin, (size_t)(p->end - begin), ", ", 2);
    *out =
        (tr__text_line){begin, (int)((comma != NULL ? comma : p->end) - begin)};
    p->at = comma != NULL ? comma + 2 : p->end;
    bool is_free =
        p->option != NULL && begins_with(begin, begin + out->length, p->option);
    if (!is_free) {
      return true;
    }
  }
  return false;
}

bool tr__same_function(tr__text_line a, tr__text_line b)
{
  parts left = parts_of(a), right = parts_of(b);
  tr__text_line x, y;
  bool has_left, has_right;
  do {
    has_left = next_part(&left, &x);
    has_right = next_part(&right, &y);
    if (has_left != has_right || (has_left && !tr__line_equal(x, y))) {
      return false;
    }
  } while (has_left);
  return true;
}
