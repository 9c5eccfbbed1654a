/* Numbers in texts: formatting in the locale "C". */
#include "base/locale_impl.h"

locale_t tr__locale_begin(void)
{
  /* The locale "C" is a constant of the C library: the call allocates nothing,
   * cannot fail, and there is nothing to release. */
  return uselocale(newlocale(LC_ALL_MASK, "C", (locale_t)0));
}

void tr__locale_end(locale_t before)
{
  uselocale(before);
}

int tr__format_list(char *out,
                    size_t bytes,
                    const char *format,
                    va_list arguments)
{
  locale_t before = tr__locale_begin();
  int length = vsnprintf(out, bytes, format, arguments);
  tr__locale_end(before);
  return length;
}

int tr__format(char *out, size_t bytes, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  int length = tr__format_list(out, bytes, format, arguments);
  va_end(arguments);
  return length;
}
