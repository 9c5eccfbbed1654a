/* Reads texts and numbers of a verified checkpoint by name. */
#include "checkpoint/resume_impl.h"

#include <string.h>

static const tr__sealed_entry *
find_state(const tr__saved_run *saved, const char *name, char *full)
{
  snprintf(full, TR__VIEW_NAME_BYTES, "/state/%s", name);
  return tr__sealed_find(saved->sealed, full);
}

bool tr__saved_has(const tr__saved_run *saved, const char *name)
{
  char full[TR__VIEW_NAME_BYTES];
  return find_state(saved, name, full) != NULL;
}

bool tr__saved_is_brief(const tr__saved_run *saved)
{
  return !tr__saved_has(saved, "layers");
}

/* The seal does not prove that the text ends with a NUL, so check it. */
tr_status
tr__saved_text(const tr__saved_run *saved, const char *name, const char **out)
{
  char full[TR__VIEW_NAME_BYTES];
  const tr__sealed_entry *entry = find_state(saved, name, full);
  TR_CHECK(entry != NULL && entry->bytes > 0 &&
               ((const char *)entry->data)[entry->bytes - 1] == '\0',
           TR_EDATA, "%s: has no text %s", saved->path, full);
  *out = entry->data;
  return TR_OK;
}

static tr_status
find_number(const tr__saved_run *saved, const char *name, int64_t *out)
{
  char full[TR__VIEW_NAME_BYTES];
  const tr__sealed_entry *entry = find_state(saved, name, full);
  TR_CHECK(entry != NULL && entry->bytes == sizeof *out, TR_EDATA,
           "%s: has no number %s", saved->path, full);
  memcpy(out, entry->data, sizeof *out);
  return TR_OK;
}

/* A number that older checkpoints lack is 0. */
static tr_status
find_later(const tr__saved_run *saved, const char *name, int64_t *out)
{
  *out = 0;
  return tr__saved_has(saved, name) ? find_number(saved, name, out) : TR_OK;
}

tr_status tr__saved_numbers(const tr__saved_run *saved, tr__run_numbers *out)
{
#define FIND_NUMBER(name) TR_TRY(find_number(saved, #name, &out->name));
  TR__STATE_NUMBERS(FIND_NUMBER)
#undef FIND_NUMBER
#define FIND_LATER(name) TR_TRY(find_later(saved, #name, &out->name));
  TR__LATER_NUMBERS(FIND_LATER)
#undef FIND_LATER
  return TR_OK;
}
