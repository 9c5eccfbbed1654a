/* What a verified checkpoint says of its run, and how it is compared with the
 * run that shall go on from it. What reads a file is rank 0's. */
#ifndef TR_RESUME_IMPL_H
#define TR_RESUME_IMPL_H

#include "checkpoint/checkpoint_impl.h"

/* Borrowed: a file that has been read, and its name for messages. */
typedef struct tr__saved_run {
  const char *path;
  const tr__sealed *sealed;
} tr__saved_run;

/* tr__saved_text - the text /state/<name>; TR_EDATA where there is none. */
tr_status
tr__saved_text(const tr__saved_run *saved, const char *name, const char **out);

/* tr__saved_has - whether there is a data set /state/<name>. */
bool tr__saved_has(const tr__saved_run *saved, const char *name);

/* tr__saved_numbers - all numbers; those that older files do not have are 0. */
tr_status tr__saved_numbers(const tr__saved_run *saved, tr__run_numbers *out);

/* tr__saved_is_brief - whether the file was written by version 0.1, which saved
 * neither the options of layers nor what follows them. */
bool tr__saved_is_brief(const tr__saved_run *saved);

/* tr__resume_compare - TR_EMISMATCH with both sides where the run cannot be the
 * one that was saved.
 *
 * notes  receives a line for each difference that is allowed */
tr_status tr__resume_compare(const tr__saved_run *saved,
                             const tr_checkpoint *run,
                             FILE *notes);

/* tr__resume_note - the lines that tell where the run goes on, which of its
 * options do not count, and which change what was saved. Before the run is
 * changed. */
tr_status tr__resume_note(const tr__saved_run *saved,
                          const tr__run_numbers *numbers,
                          const tr_checkpoint *run,
                          FILE *notes);

/* tr__resume_place - TR_EMISMATCH where distributed data lie on the ranks in
 * another way and the saved position is in the middle of an epoch.
 *
 * numbers  [in,out]  with allow_changes that epoch begins again
 * notes    receives a line then */
tr_status tr__resume_place(const tr__saved_run *saved,
                           const tr_checkpoint *run,
                           tr__run_numbers *numbers,
                           FILE *notes);

/* tr__resume_loader - the saved position; loader may be NULL. Collective; where
 * one rank's loader refuses it, all stay where they were. */
tr_status tr__resume_loader(tr__comm *comm,
                            tr_loader *loader,
                            const tr__run_numbers *numbers);

/* tr__resume_optimizer - the saved step, schedule and scales. */
tr_status tr__resume_optimizer(tr_optimizer *opt,
                               const tr__run_numbers *numbers);

/* One line of a text, without its end. */
typedef struct tr__text_line {
  const char *text;
  int length;
} tr__text_line;

/* tr__next_line - the line at *at, which moves on; false at the end. */
bool tr__next_line(const char **at, tr__text_line *out);

bool tr__line_equal(tr__text_line a, tr__text_line b);

/* tr__line_is_loss - whether a line of tr__model_text() or of
 * tr__model_options_text() is a loss's: it alone gives one number. */
bool tr__line_is_loss(tr__text_line line);

/* tr__same_function - whether two lines of tr__model_options_text() differ at
 * most in options that change no function of a trained model. */
bool tr__same_function(tr__text_line a, tr__text_line b);

/* Which run's checkpoints a search looks at. */
typedef enum tr__whose {
  TR__CURRENT_RUN, /* that of the run that was started last in the directory;
                      any run's where no identity is written there */
  TR__ANY_RUN,     /* the newest of all */
  TR__THIS_RUN     /* what the process has saved or was resumed from */
} tr__whose;

/* What rank 0 looks for, and what it has read and verified. */
typedef struct tr__found {
  const tr__file_ops *ops;
  tr__whose whose;
  unsigned char run_id[TR__SEAL_RUN_BYTES]; /* of this process; then the found
                                               one's */
  unsigned char *bytes;                     /* NULL: there is no checkpoint */
  tr__sealed sealed;
  char path[TR__PATH_BYTES + TR__FILE_NAME_BYTES];
  int64_t save, last_save; /* of this one, of the newest that can be listed */
  bool has_current;
  tr__identity current; /* what the directory says of itself */
  char others[512];     /* ": ..." about the checkpoints of other runs, where
                           there are only such; "" */
} tr__found;

/* tr__find_checkpoint - the newest that is whole, of the runs that are asked
 * for. Damage is told and passed over; anything else ends the search. */
tr_status tr__find_checkpoint(tr_context *ctx, const char *dir, tr__found *out);

/* tr__found_identity - of the run that was found. */
tr__identity tr__found_identity(const tr__found *found,
                                const tr__run_numbers *numbers);

void tr__found_release(tr__found *found);

#endif
