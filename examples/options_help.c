/* What the options are, in lines of at most 80 columns. */
#include "options_table.h"

#include <string.h>

enum { COLUMNS = 79, TEXT_COLUMN = 25, CHOICE_COLUMN = 36 };

/* The default in brackets: a value, or else in words. */
static void write_default(const example_options *defaults,
                          const example_entry *entry,
                          char text[64])
{
  const void *field = example_entry_field(defaults, entry);
  const char *name = entry->unset;
  double number = 0;
  if (entry->kind == COUNT) {
    number = (double)*(const int64_t *)field;
  }
  if (entry->kind == NUMBER) {
    number = *(const double *)field;
  }
  if (entry->kind == TEXT && entry->unset == NULL) {
    name = *(const char *const *)field;
  }
  text[0] = '\0';
  if (number > 0) {
    snprintf(text, 64, " [%g]", number);
  } else if (name != NULL) {
    snprintf(text, 64, " [%s]", name);
  }
}

/* Words from a column on, wherever the line stands. */
static void write_words(const char *text, int column, int at, FILE *out)
{
  while (*text != '\0') {
    int length = (int)strcspn(text, " ");
    if (at > column && at + 1 + length > COLUMNS) {
      fputc('\n', out);
      at = 0;
    }
    int blanks = at < column ? column - at : at > column ? 1 : 0;
    at += fprintf(out, "%*s%.*s", blanks, "", length, text);
    text += length + (text[length] == ' ');
  }
  fputc('\n', out);
}

static void write_entry(const example_options *defaults,
                        const example_entry *entry,
                        FILE *out)
{
  char unset[64], text[256];
  const char *value = entry->value;
  write_default(defaults, entry, unset);
  snprintf(text, sizeof text, "%s%s", entry->help, unset);
  int at = fprintf(out, "  --%s%s%s", entry->name, value != NULL ? "=" : "",
                   value != NULL ? value : "");
  if (at + 1 >= TEXT_COLUMN) {
    fputc('\n', out);
    at = 0;
  }
  write_words(text, TEXT_COLUMN, at, out);
  const example_choice *choice = entry->choices;
  for (; choice != NULL && choice->name != NULL; choice++) {
    at = fprintf(out, "%*s%s", TEXT_COLUMN, "", choice->name);
    write_words(choice->help, CHOICE_COLUMN, at, out);
  }
}

void example_options_help(const example_options *defaults, FILE *out)
{
  static const struct {
    const char *name, *purpose;
  } programs[] = {
      [TRAIN_CLASSIFIER] = {"train_classifier",
                            "Train a network that classifies images."},
      [TRAIN_GPT] = {"train_gpt", "Train a transformer that writes text."},
      [TRAIN_SURROGATE] = {"train_surrogate",
                           "Train a network in a solver's place."}};
  fprintf(out, "Usage: %s [OPTION...]\n%s\n\n",
          programs[defaults->program].name,
          programs[defaults->program].purpose);
  const example_entry *entry = example_entries;
  for (; entry->name != NULL; entry++) {
    if (example_has_entry(defaults->program, entry)) {
      write_entry(defaults, entry, out);
    }
  }
  fputs("\nA name may be shortened as long as it stays unique. Exit codes: 0 "
        "done, 2 usage,\n65 data, 66 missing input, 69 not possible here, 71 "
        "system or MPI, 74 files,\n75 try again later, 78 does not fit a "
        "checkpoint or other ranks, 85 stopped.\n",
        out);
}
