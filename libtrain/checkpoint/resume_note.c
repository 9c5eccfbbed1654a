/* The lines that a resume logs: where it continues, which options of this run
 * are ignored, and which change what was saved. */
#include "checkpoint/resume_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORDS = 32 };

typedef struct words {
  tr__text_line word[MAX_WORDS];
  int count;
} words;

static words words_of(tr__text_line line)
{
  words w = {.count = 0};
  const char *at = line.text, *end = line.text + line.length;
  while (at < end && w.count < MAX_WORDS) {
    const char *space = memchr(at, ' ', (size_t)(end - at));
    space = space != NULL ? space : end;
    w.word[w.count++] = (tr__text_line){at, (int)(space - at)};
    at = space + 1;
  }
  return w;
}

static bool is_word(tr__text_line word, const char *text)
{
  return tr__line_equal(word, (tr__text_line){text, (int)strlen(text)});
}

/* Whether both lines have the form "name value name value". */
static bool is_of_pairs(const words *a, const words *b)
{
  return a->count == b->count && a->count % 2 == 0 &&
         !is_word(a->word[0], "elements") && !is_word(a->word[0], "milestones");
}

static void note_line(FILE *notes, tr__text_line saved, tr__text_line ours)
{
  const words a = words_of(saved), b = words_of(ours);
  if (!is_of_pairs(&a, &b)) {
    fprintf(notes, "resume changes \"%.*s\" to \"%.*s\"\n", saved.length,
            saved.text, ours.length, ours.text);
    return;
  }
  bool is_schedule = is_word(a.word[0], "schedule");
  for (int i = 1; i < a.count; i += 2) {
    const tr__text_line name = a.word[i - 1], x = a.word[i], y = b.word[i];
    if (!tr__line_equal(x, y)) {
      fprintf(notes, "resume changes %s%.*s from %.*s to %.*s\n",
              is_schedule && i > 1 ? "schedule " : "", name.length, name.text,
              x.length, x.text, y.length, y.text);
    }
  }
}

/* Each parameter's line ("elements") repeats what an earlier line says of all
 * parameters. So these lines are told only if no other line differs. */
static void note_text(FILE *notes, const char *saved, const char *ours)
{
  const int most = 12;
  int told = 0;
  tr__text_line a, b;
  while (tr__next_line(&saved, &a) && tr__next_line(&ours, &b)) {
    bool is_element = strncmp(a.text, "elements ", strlen("elements ")) == 0;
    if (tr__line_equal(a, b) || told >= most || (is_element && told > 0)) {
      continue;
    }
    note_line(notes, a, b);
    told++;
  }
}

static void note_place(const tr__saved_run *saved,
                       const tr__run_numbers *numbers,
                       const tr_checkpoint *run,
                       FILE *notes)
{
  fprintf(notes, "resumed from %s: step %lld", saved->path,
          (long long)numbers->step);
  if (run->loader != NULL) {
    fprintf(notes, ", epoch %lld, %lld of its %lld samples done",
            (long long)numbers->epoch, (long long)numbers->done,
            (long long)numbers->num_samples);
  }
  fputc('\n', notes);
}

static void note_loader(const tr__run_numbers *numbers,
                        const tr_loader *loader,
                        FILE *notes)
{
  const tr__loader_state ours = tr__loader_get_state(loader);
  if ((ours.shuffle != 0) != (numbers->shuffle != 0)) {
    fprintf(notes, "resume ignores that this run %s: the saved one %s\n",
            ours.shuffle ? "shuffles its samples"
                         : "does not shuffle its samples",
            numbers->shuffle ? "does" : "does not");
  }
  if (ours.batch != numbers->batch) {
    fprintf(notes, "resume changes batch from %lld to %lld\n",
            (long long)numbers->batch, (long long)ours.batch);
  }
}

/* A resumed run keeps the saved seed, so a different seed of the context is
 * ignored. */
static void
note_seed(const tr__run_numbers *numbers, const tr_checkpoint *run, FILE *notes)
{
  uint64_t ours = tr__model_store(run->model)->ctx->seed;
  if (ours != (uint64_t)numbers->seed) {
    fprintf(notes,
            "resume ignores seed %" PRIu64 ": the saved run's is %" PRIu64 "\n",
            ours, (uint64_t)numbers->seed);
  }
}

static tr_status
note_options(const tr__saved_run *saved, const tr_checkpoint *run, FILE *notes)
{
  tr_status status;
  tr__run_texts ours = {0};
  const char *optimizer = "", *context = "";
  TR_TRY(tr__saved_text(saved, "optimizer", &optimizer));
  if (!tr__saved_is_brief(saved)) {
    TR_TRY(tr__saved_text(saved, "context", &context));
  }
  TR_TRY_GOTO(tr__run_texts_make(run, &ours), done);
  note_text(notes, optimizer, ours.optimizer);
  note_text(notes, context, ours.context);
done:
  tr__run_texts_release(&ours);
  return status;
}

tr_status tr__resume_note(const tr__saved_run *saved,
                          const tr__run_numbers *numbers,
                          const tr_checkpoint *run,
                          FILE *notes)
{
  if (run->optimizer == NULL && run->loader == NULL) {
    return TR_OK; /* only parameters are read, no run continues */
  }
  note_place(saved, numbers, run, notes);
  if (run->loader != NULL) {
    note_loader(numbers, run->loader, notes);
  }
  if (run->optimizer != NULL) {
    note_seed(numbers, run, notes);
    return note_options(saved, run, notes);
  }
  return TR_OK;
}
