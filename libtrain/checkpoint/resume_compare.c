/* Whether this run may continue a checkpoint: compares the model, options of
 * layers, optimizer slots, virtual shards, and the numbering of the data. */
#include "checkpoint/resume_impl.h"

#include <string.h>

typedef struct comparison {
  const tr__saved_run *saved;
  const tr_checkpoint *run;
  tr__run_texts ours;
  FILE *notes;
} comparison;

/* Only the value 1 counts: a caller compiled with the header of version 0.1 has
 * padding here, of any value. */
static bool allows_changes(const comparison *c)
{
  return c->run->allow_changes == 1;
}

static tr_status refuse(const comparison *c,
                        const char *what,
                        tr__text_line saved,
                        tr__text_line ours,
                        const char *advice)
{
  return TR_FAIL(TR_EMISMATCH,
                 "%s: is a checkpoint of another %s: it has \"%.*s\", this run "
                 "has \"%.*s\"%s",
                 c->saved->path, what, saved.length, saved.text, ours.length,
                 ours.text, advice);
}

/* If only parameters are read, losses are not compared. */
static bool
next_compared(const comparison *c, const char **at, tr__text_line *out)
{
  while (tr__next_line(at, out)) {
    if (c->run->optimizer != NULL || !tr__line_is_loss(*out)) {
      return true;
    }
  }
  return false;
}

/* The texts must be equal line by line. */
static tr_status compare_text(const comparison *c,
                              const char *what,
                              const char *name,
                              const char *ours)
{
  const char *saved;
  TR_TRY(tr__saved_text(c->saved, name, &saved));
  tr__text_line a, b;
  bool has_a, has_b;
  do {
    has_a = next_compared(c, &saved, &a);
    has_b = next_compared(c, &ours, &b);
    if (has_a != has_b || !tr__line_equal(a, b)) {
      return refuse(c, what, a, b, "");
    }
  } while (has_a);
  return TR_OK;
}

/* Call it after compare_text() of the model: then both texts have the same
 * lines except for options. */
static tr_status compare_layers(const comparison *c)
{
  const char *saved, *ours = c->ours.layers;
  TR_TRY(tr__saved_text(c->saved, "layers", &saved));
  tr__text_line a, b;
  while (next_compared(c, &saved, &a) && next_compared(c, &ours, &b)) {
    if (tr__line_equal(a, b)) {
      continue;
    }
    if (!tr__same_function(a, b) && !allows_changes(c)) {
      return refuse(
          c, "model", a, b,
          "; allow_changes (--allow-changes) resumes it all the same");
    }
    fprintf(c->notes, "resume changes \"%.*s\" to \"%.*s\"\n", a.length, a.text,
            b.length, b.text);
  }
  return TR_OK;
}

/* All bits of a run depend on the number of virtual shards. */
static tr_status compare_shards(const comparison *c)
{
  tr__run_numbers numbers;
  TR_TRY(tr__saved_numbers(c->saved, &numbers));
  const tr__store *store = tr__model_store(c->run->model);
  long long saved = numbers.virtual_shards,
            ours = store->ctx->comm->shards.total;
  if (saved == ours) {
    return TR_OK;
  }
  TR_CHECK(allows_changes(c), TR_EMISMATCH,
           "%s: is a checkpoint of a run with %lld virtual shards, this run "
           "has %lld; allow_changes (--allow-changes) resumes it all the same",
           c->saved->path, saved, ours);
  fprintf(c->notes, "resume changes virtual shards from %lld to %lld\n", saved,
          ours);
  return TR_OK;
}

static tr_status compare_later(const comparison *c)
{
  TR_TRY(compare_layers(c));
  if (c->run->loader != NULL) {
    TR_TRY(compare_text(c, "numbering", "numbering", c->ours.numbering));
  }
  if (c->run->optimizer != NULL) {
    TR_TRY(compare_shards(c));
  }
  return TR_OK;
}

tr_status tr__resume_compare(const tr__saved_run *saved,
                             const tr_checkpoint *run,
                             FILE *notes)
{
  tr_status status;
  comparison c = {.saved = saved, .run = run, .notes = notes};
  TR_TRY_GOTO(tr__run_texts_make(run, &c.ours), done);
  TR_TRY_GOTO(compare_text(&c, "model", "model", c.ours.model), done);
  if (run->optimizer != NULL) {
    TR_TRY_GOTO(compare_text(&c, "optimizer", "slots", c.ours.slots), done);
  }
  if (!tr__saved_is_brief(saved)) {
    TR_TRY_GOTO(compare_later(&c), done);
  }
done:
  tr__run_texts_release(&c.ours);
  return status;
}
