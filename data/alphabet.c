/* An alphabet as text, one line for each id, as checkpoints keep it. */
#include "data/data_impl.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

char *tr__alphabet_text(const tr_alphabet *alphabet)
{
  char *text = NULL;
  size_t bytes = 0;
  FILE *out = open_memstream(&text, &bytes);
  if (out == NULL) {
    return NULL;
  }
  for (int id = 0; id < alphabet->count; id++) {
    unsigned char code = alphabet->codes[id];
    fprintf(out, "id %d is character %d", id, code);
    if (code < 128 && isgraph(code)) {
      fprintf(out, " '%c'", code);
    }
    fputc('\n', out);
  }
  if (fclose(out) != 0) {
    free(text);
    return NULL;
  }
  return text;
}

tr_status tr__alphabet_parse(const char *text, tr_alphabet *out)
{
  *out = (tr_alphabet){.count = 0};
  int id, code;
  while (*text != '\0') {
    bool is_next = sscanf(text, "id %d is character %d", &id, &code) == 2 &&
                   id == out->count && id < TR_MAX_CODES && code >= 0 &&
                   code < TR_MAX_CODES;
    TR_CHECK(is_next, TR_EDATA, "\"%.40s\" is no line of an alphabet", text);
    out->codes[out->count++] = (unsigned char)code;
    text += strcspn(text, "\n");
    text += *text == '\n';
  }
  return TR_OK;
}
