/* Numbers in texts: they look the same whatever locale the program has set. */
#ifndef TR_LOCALE_IMPL_H
#define TR_LOCALE_IMPL_H

#include "base/base_impl.h"

#include <locale.h>

/* tr__locale_begin - switch this thread to the locale "C", so that it writes
 * and reads numbers with a decimal point. Returns the previous locale for
 * tr__locale_end().
 *
 * A program that called setlocale() may have a decimal comma. JSON does not
 * allow it, and ranks compare texts, so another rank's would differ. */
locale_t tr__locale_begin(void);

void tr__locale_end(locale_t before);

/* tr__format, tr__format_list - snprintf() and vsnprintf() with a decimal
 * point. */
int tr__format(char *out, size_t bytes, const char *format, ...)
    TR_PRINTF(3, 4);
int tr__format_list(char *out,
                    size_t bytes,
                    const char *format,
                    va_list arguments);

#endif
