/* Loaded before a program: what a host with windows does at its start. */
#include <locale.h>

__attribute__((constructor)) static void speak_the_users_language(void)
{
  setlocale(LC_ALL, "");
}
