#include "golden.h"

typedef struct line {
  const char *key, *value;
} line;

struct recording {
  char name[64];
  char *text; /* the file; keys and values are parts of it */
  line *lines;
  int count;
};

static char *read_file(const char *path)
{
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    test_fail(__FILE__, __LINE__, "cannot open %s", path);
  }
  fseek(file, 0, SEEK_END);
  long bytes = ftell(file);
  rewind(file);
  char *text = malloc((size_t)bytes + 1);
  ASSERT(text != NULL);
  ASSERT_EQ(fread(text, 1, (size_t)bytes, file), bytes);
  text[bytes] = '\0';
  fclose(file);
  return text;
}

recording *recording_open(const char *name)
{
  char path[512];
  snprintf(path, sizeof path, "%s/%s.txt", GOLDEN_DIR, name);
  recording *rec = calloc(1, sizeof *rec);
  ASSERT(rec != NULL);
  snprintf(rec->name, sizeof rec->name, "%s", name);
  rec->text = read_file(path);
  int most = 1;
  for (const char *at = rec->text; *at != '\0'; at++) {
    most += *at == '\n';
  }
  rec->lines = calloc((size_t)most, sizeof *rec->lines);
  ASSERT(rec->lines != NULL);
  char *rest = NULL;
  for (char *key = strtok_r(rec->text, "\n", &rest); key != NULL;
       key = strtok_r(NULL, "\n", &rest)) {
    char *blank = strchr(key, ' ');
    if (key[0] == '#' || blank == NULL) {
      continue;
    }
    *blank = '\0';
    rec->lines[rec->count++] = (line){key, blank + 1};
  }
  return rec;
}

void recording_close(recording **rec)
{
  free((*rec)->lines);
  free((*rec)->text);
  free(*rec);
  *rec = NULL;
}

static const char *
find(const recording *rec, const char *format, va_list arguments)
{
  char key[256];
  vsnprintf(key, sizeof key, format, arguments);
  for (int i = 0; i < rec->count; i++) {
    if (strcmp(rec->lines[i].key, key) == 0) {
      return rec->lines[i].value;
    }
  }
  test_fail(__FILE__, __LINE__, "%s.txt has no line %s", rec->name, key);
}

const char *recording_text(const recording *rec, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  const char *text = find(rec, format, arguments);
  va_end(arguments);
  return text;
}

static double *parse(const char *text, int64_t *count)
{
  int64_t most = 1;
  for (const char *at = text; *at != '\0'; at++) {
    most += *at == ' ';
  }
  double *numbers = calloc((size_t)most, sizeof *numbers);
  ASSERT(numbers != NULL);
  for (int64_t i = 0; i < most; i++) {
    char *end;
    numbers[i] = strtod(text, &end);
    ASSERT(end != text);
    text = end;
  }
  if (count != NULL) {
    *count = most;
  }
  return numbers;
}

double *
recording_numbers(const recording *rec, int64_t *count, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  double *numbers = parse(find(rec, format, arguments), count);
  va_end(arguments);
  return numbers;
}

double recording_number(const recording *rec, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  double number = strtod(find(rec, format, arguments), NULL);
  va_end(arguments);
  return number;
}
