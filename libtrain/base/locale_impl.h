/* Numbers in texts look the same whatever the caller's language is. */
#ifndef TR_LOCALE_IMPL_H
#define TR_LOCALE_IMPL_H

#include "base/base_impl.h"

#include <locale.h>

/* tr__locale_begin - this thread writes and reads numbers with a decimal point,
 * as in the locale "C"; returns what tr__locale_end() puts back.
 *
 * A program that called setlocale() may have a decimal comma, which is no JSON,
 * and differs from what a rank without it compares. */
locale_t tr__locale_begin(void);

void tr__locale_end(locale_t before);

/* tr__format, tr__format_list - snprintf() and vsnprintf() with a point. */
int tr__format(char *out, size_t bytes, const char *format, ...)
    TR_PRINTF(3, 4);
int tr__format_list(char *out,
                    size_t bytes,
                    const char *format,
                    va_list arguments);

#endif
