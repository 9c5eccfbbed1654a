/* Resume: finds the checkpoint, compares what it says of its run with the run
 * that resumes, and restores its state. Only rank 0 calls the functions that
 * read a file. */
#ifndef TR_RESUME_IMPL_H
#define TR_RESUME_IMPL_H

#include "checkpoint/checkpoint_impl.h"

/* A checkpoint that has been read, and its name for messages. Owns neither. */
typedef struct tr__saved_run {
  const char *path;
  const tr__sealed *sealed;
} tr__saved_run;

/* tr__saved_text - the text /state/<name>. TR_EDATA if there is none. */
tr_status
tr__saved_text(const tr__saved_run *saved, const char *name, const char **out);

/* tr__saved_has - whether there is a data set /state/<name>. */
bool tr__saved_has(const tr__saved_run *saved, const char *name);

/* tr__saved_numbers - all numbers. Those that an older file lacks are 0. */
tr_status tr__saved_numbers(const tr__saved_run *saved, tr__run_numbers *out);

/* tr__saved_is_brief - whether version 0.1 wrote the file, which saved neither
 * the options of layers nor the texts after them. */
bool tr__saved_is_brief(const tr__saved_run *saved);

/* tr__resume_compare - compare model, slots, layers, numbering and shards with
 * the saved ones. TR_EMISMATCH, naming both sides, if the run cannot be the
 * saved one.
 *
 * notes  receives a line for each difference that is allowed */
tr_status tr__resume_compare(const tr__saved_run *saved,
                             const tr_checkpoint *run,
                             FILE *notes);

/* tr__resume_note - write the lines that tell where the run resumes, which of
 * its options are ignored, and which change what was saved. Call it before the
 * state changes. */
tr_status tr__resume_note(const tr__saved_run *saved,
                          const tr__run_numbers *numbers,
                          const tr_checkpoint *run,
                          FILE *notes);

/* tr__resume_place - TR_EMISMATCH if the saved position is in the middle of an
 * epoch and the ranks hold other numbers of samples of distributed data.
 *
 * numbers  [in,out]  with allow_changes that epoch begins again
 * notes    receives a line then */
tr_status tr__resume_place(const tr__saved_run *saved,
                           const tr_checkpoint *run,
                           tr__run_numbers *numbers,
                           FILE *notes);

/* tr__resume_loader - set the saved position; loader may be NULL. Collective:
 * if the loader of one rank refuses, all ranks keep their position. */
tr_status tr__resume_loader(tr__comm *comm,
                            tr_loader *loader,
                            const tr__run_numbers *numbers);

/* tr__resume_optimizer - set the saved step, schedule and scales. */
tr_status tr__resume_optimizer(tr_optimizer *opt,
                               const tr__run_numbers *numbers);

/* One line of a text, without its newline. */
typedef struct tr__text_line {
  const char *text;
  int length;
} tr__text_line;

/* tr__next_line - the line at *at, and advance *at to the next; false at the
 * end of the text. */
bool tr__next_line(const char **at, tr__text_line *out);

bool tr__line_equal(tr__text_line a, tr__text_line b);

/* tr__line_is_loss - whether a line of tr__model_text() or of
 * tr__model_options_text() describes a loss, which alone gives a scalar. */
bool tr__line_is_loss(tr__text_line line);

/* tr__same_function - whether two lines of tr__model_options_text() differ at
 * most in options that do not change the function of a trained model. */
bool tr__same_function(tr__text_line a, tr__text_line b);

/* Which run's checkpoints a search considers. */
typedef enum tr__whose {
  TR__CURRENT_RUN, /* the run that was started last in the directory; if no
                      identity is written there, any run */
  TR__ANY_RUN,     /* the newest checkpoint of any run */
  TR__THIS_RUN     /* what this process has saved or was resumed from */
} tr__whose;

/* What rank 0 searches for, and the verified checkpoint that it found. */
typedef struct tr__found {
  const tr__file_ops *ops;
  tr__whose whose;
  unsigned char run_id[TR__SEAL_RUN_BYTES]; /* first of this process, then of
                                               the checkpoint found */
  unsigned char *bytes;                     /* NULL: no checkpoint found */
  tr__sealed sealed;
  char path[TR__PATH_BYTES + TR__FILE_NAME_BYTES];
  int64_t save, last_save; /* of the checkpoint found; the largest in any
                              readable manifest */
  bool has_current;
  tr__identity current; /* the identity written in the directory */
  char others[512];     /* ": ..." about the checkpoints of other runs, if there
                           are only such; else "" */
} tr__found;

/* tr__find_checkpoint - load the newest undamaged checkpoint of the runs that
 * out->whose names. Warns of a damaged one and tries the next older one. Any
 * other failure ends the search. */
tr_status tr__find_checkpoint(tr_context *ctx, const char *dir, tr__found *out);

/* tr__found_identity - the identity of the run that wrote the checkpoint. */
tr__identity tr__found_identity(const tr__found *found,
                                const tr__run_numbers *numbers);

void tr__found_release(tr__found *found);

#endif
