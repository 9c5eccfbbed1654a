/* The table of options, for those who read a command line and who explain it.
 */
#ifndef EXAMPLE_OPTIONS_TABLE_H
#define EXAMPLE_OPTIONS_TABLE_H

#include "options.h"

#include <stddef.h>

typedef enum example_kind { TEXT, COUNT, NUMBER, FLAG } example_kind;

/* One of the words that an option may have. */
typedef struct example_choice {
  const char *name, *help;
} example_choice;

/* One option: where its value goes and what it may be. */
typedef struct example_entry {
  const char *name, *value, *help;
  const char *unset; /* what happens without the option; NULL: its default */
  int programs;      /* that have it; 0: all */
  example_kind kind;
  size_t offset;
  const example_choice *choices; /* of a TEXT, up to one without a name; NULL:
                                    any */
  const char *missing;           /* a choice that a later version brings */
  double least, most;            /* of COUNT and NUMBER */
} example_entry;

/* Up to one without a name. */
extern const example_entry example_entries[];

/* example_has_entry - whether a program has an option. */
static inline int example_has_entry(example_program program,
                                    const example_entry *entry)
{
  return entry->programs == 0 || (entry->programs & (int)program) != 0;
}

/* example_entry_field - where an option's value is. */
static inline void *example_entry_field(const example_options *options,
                                        const example_entry *entry)
{
  return (char *)options + entry->offset;
}

#endif
