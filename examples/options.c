/* The command line of the training programs. */
#include "options_table.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_OPTIONS = 64, MOST_LETTERS = 32, PROBLEM_BYTES = 256 };

/* The values that getopt_long() returns; each option's is its place. */
enum { FIRST_VALUE = 1000 };

static const char *find_choice(const example_choice *choice, const char *name)
{
  while (choice->name != NULL && strcmp(choice->name, name) != 0) {
    choice++;
  }
  return choice->name;
}

/* "mlp|convnet" */
static void list_choices(const example_choice *choice, char *out, size_t bytes)
{
  size_t length = 0;
  out[0] = '\0';
  for (; choice->name != NULL && length < bytes; choice++) {
    length += (size_t)snprintf(out + length, bytes - length, "%s%s",
                               length > 0 ? "|" : "", choice->name);
  }
}

static tr_status set_text(const example_entry *entry,
                          const char *value,
                          void *field,
                          char problem[PROBLEM_BYTES])
{
  if (entry->missing != NULL && strcmp(entry->missing, value) == 0) {
    snprintf(problem, PROBLEM_BYTES, "--%s %s is not supported by libtrain %s",
             entry->name, value, tr_version());
    return TR_EUNSUPPORTED;
  }
  if (entry->choices != NULL && find_choice(entry->choices, value) == NULL) {
    char choices[128];
    list_choices(entry->choices, choices, sizeof choices);
    snprintf(problem, PROBLEM_BYTES, "--%s is \"%.60s\", expected %s",
             entry->name, value, choices);
    return TR_EUSAGE;
  }
  memcpy(field, &value, sizeof value);
  return TR_OK;
}

static tr_status set_number(const example_entry *entry,
                            const char *value,
                            void *field,
                            char problem[PROBLEM_BYTES])
{
  char *end;
  errno = 0;
  double number = strtod(value, &end);
  int is_number = end != value && *end == '\0' && errno == 0;
  int is_whole = number == floor(number);
  if (!is_number || !(number >= entry->least && number <= entry->most) ||
      (entry->kind == COUNT && !is_whole)) {
    snprintf(problem, PROBLEM_BYTES,
             "--%s is \"%.60s\", expected %s from %g to %g", entry->name, value,
             entry->kind == COUNT ? "a whole number" : "a number", entry->least,
             entry->most);
    return TR_EUSAGE;
  }
  if (entry->kind == NUMBER) {
    memcpy(field, &number, sizeof number);
    return TR_OK;
  }
  /* Read again as an integer: a double holds only 53 bits of a seed. */
  int64_t count = strtoll(value, &end, 10);
  if (*end != '\0') {
    count = (int64_t)number;
  }
  memcpy(field, &count, sizeof count);
  return TR_OK;
}

static tr_status set_value(const example_entry *entry,
                           const char *value,
                           example_options *options,
                           char problem[PROBLEM_BYTES])
{
  void *field = example_entry_field(options, entry);
  if (entry->kind == FLAG) {
    memcpy(field, &(int){1}, sizeof(int));
    return TR_OK;
  }
  return entry->kind == TEXT ? set_text(entry, value, field, problem)
                             : set_number(entry, value, field, problem);
}

static tr_status check_together(const example_options *options,
                                char problem[PROBLEM_BYTES])
{
  if (options->resume && options->no_checkpoint) {
    snprintf(problem, PROBLEM_BYTES,
             "--resume and --no-checkpoint exclude each other");
    return TR_EUSAGE;
  }
  return TR_OK;
}

example_options example_options_of(example_program program)
{
  return (example_options){.program = program,
                           .model = "mlp",
                           .batch = 64,
                           .optimizer = "adamw",
                           .schedule = "constant",
                           .dtype = "f32",
                           .wire = "full",
                           .device = "cpu",
                           .conv = "auto",
                           .checkpoint = "run",
                           .on_save_error = "warn",
                           .on_nonfinite = "ignore",
                           .stall_timeout = 120,
                           .lr = -1,
                           .weight_decay = -1,
                           .length = 400,
                           .temperature = 0.8};
}

/* In how many letters two words differ: Levenshtein 1966, a row at a time. */
static int distance(const char *a, size_t length, const char *b)
{
  int row[MOST_LETTERS + 1];
  size_t width = strlen(b);
  if (length > MOST_LETTERS || width > MOST_LETTERS) {
    return MOST_LETTERS;
  }
  for (size_t k = 0; k <= width; k++) {
    row[k] = (int)k;
  }
  for (size_t i = 0; i < length; i++) {
    int corner = row[0];
    row[0] = (int)i + 1;
    for (size_t k = 0; k < width; k++) {
      int other = corner + (a[i] != b[k]);
      corner = row[k + 1];
      int step = (row[k] < corner ? row[k] : corner) + 1;
      row[k + 1] = other < step ? other : step;
    }
  }
  return row[width];
}

/* The option that was probably meant: one that the word begins with, as
 * "batch-size" does, or that it nearly is. NULL: none. */
static const char *
find_meant(example_program program, const char *word, size_t length)
{
  const char *found = NULL;
  int least = (int)length / 3 + 1;
  for (const example_entry *e = example_entries; e->name != NULL; e++) {
    size_t width = strlen(e->name);
    int apart = distance(word, length, e->name);
    if (width >= 3 && width < length && strncmp(word, e->name, width) == 0) {
      apart = 1;
    }
    if (example_has_entry(program, e) && apart < least) {
      least = apart;
      found = e->name;
    }
  }
  return found;
}

static tr_status refuse_word(const example_options *options,
                             const char *word,
                             char problem[PROBLEM_BYTES])
{
  const char *name = word + strspn(word, "-");
  const char *meant = find_meant(options->program, name, strcspn(name, "="));
  if (meant != NULL) {
    snprintf(problem, PROBLEM_BYTES,
             "unknown option \"%.60s\": did you mean --%s?", word, meant);
  } else {
    snprintf(problem, PROBLEM_BYTES,
             "unknown option \"%.60s\"; --help lists them", word);
  }
  return TR_EUSAGE;
}

/* Of a shortened name that several options begin with; 0: it is none. */
static int
list_matches(example_program program, const char *name, char *out, size_t bytes)
{
  size_t length = strcspn(name, "="), used = 0;
  int count = 0;
  for (const example_entry *e = example_entries; e->name != NULL; e++) {
    if (example_has_entry(program, e) && length > 0 &&
        strncmp(e->name, name, length) == 0 && used < bytes) {
      used += (size_t)snprintf(out + used, bytes - used, "%s--%s",
                               count > 0 ? ", " : "", e->name);
      count++;
    }
  }
  return count;
}

/* What getopt_long() does not take: a name that is none or that is several, or
 * a flag with a value. */
static tr_status refuse(const example_options *options,
                        const char *word,
                        char problem[PROBLEM_BYTES])
{
  char matches[128];
  const char *name = word + strspn(word, "-");
  int count = list_matches(options->program, name, matches, sizeof matches);
  if (strncmp(word, "--", 2) != 0 || count == 0) {
    return refuse_word(options, word, problem);
  }
  if (count > 1 && optopt == 0) {
    snprintf(problem, PROBLEM_BYTES, "\"%.40s\" may be %s", word, matches);
  } else {
    snprintf(problem, PROBLEM_BYTES, "\"%.60s\": this option takes no value",
             word);
  }
  return TR_EUSAGE;
}

static void list_options(example_program program,
                         struct option list[MOST_OPTIONS])
{
  int count = 0;
  for (int i = 0; example_entries[i].name != NULL; i++) {
    const example_entry *entry = &example_entries[i];
    if (example_has_entry(program, entry)) {
      list[count++] = (struct option){
          entry->name, entry->kind == FLAG ? no_argument : required_argument,
          NULL, FIRST_VALUE + i};
    }
  }
  list[count] = (struct option){0};
}

/* A value in a word of its own that is an option: the value is missing. */
static int is_forgotten(char **argv, const char *value)
{
  return value != NULL && value == argv[optind - 1] &&
         strncmp(value, "--", 2) == 0;
}

static tr_status take(int found,
                      char **argv,
                      const char *word,
                      example_options *options,
                      char problem[PROBLEM_BYTES])
{
  if (found == 'h') {
    options->help = 1;
    return TR_OK;
  }
  if (found == '?') {
    return refuse(options, word, problem);
  }
  const example_entry *entry =
      &example_entries[(found == ':' ? optopt : found) - FIRST_VALUE];
  if (found == ':' || is_forgotten(argv, optarg)) {
    snprintf(problem, PROBLEM_BYTES, "--%s wants a value", entry->name);
    return TR_EUSAGE;
  }
  return set_value(entry, optarg, options, problem);
}

static tr_status parse(int argc,
                       char **argv,
                       example_options *options,
                       char problem[PROBLEM_BYTES])
{
  struct option list[MOST_OPTIONS];
  list_options(options->program, list);
  opterr = 0;
  optind = 0; /* from the beginning, whoever has read a command line before */
  int found, at = 1;
  while ((found = getopt_long(argc, argv, "+:h", list, NULL)) != -1) {
    tr_status status = take(found, argv, argv[at], options, problem);
    if (status != TR_OK) {
      return status;
    }
    at = optind;
  }
  if (optind < argc && strcmp(argv[optind - 1], "--") == 0) {
    snprintf(
        problem, PROBLEM_BYTES,
        "\"%.60s\" behind \"--\": expected nothing, all is said by options",
        argv[optind]);
    return TR_EUSAGE;
  }
  if (optind < argc) {
    return refuse_word(options, argv[optind], problem);
  }
  if (options->epochs == 0 && options->steps == 0) {
    options->epochs = 10;
  }
  return check_together(options, problem);
}

/* Numbers have a decimal point, whatever the user's language is. */
tr_status example_options_parse(int argc,
                                char **argv,
                                example_options *options,
                                char problem[PROBLEM_BYTES])
{
  locale_t before = uselocale(newlocale(LC_ALL_MASK, "C", (locale_t)0));
  tr_status status = parse(argc, argv, options, problem);
  uselocale(before);
  return status;
}
