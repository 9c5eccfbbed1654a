#!/bin/sh
# make_man.sh HELP2MAN PROGRAM VERSION WHAT OUTPUT - a man page of what --help
# says. Each word that an option may have begins a line, which help2man forgets.
set -eu
"$1" --no-info --version-string "$3" --name "$4" "$2" >"$5.plain"
sed 's/^[a-z0-9]\{1,\}   *[^ ]/.br\n&/' "$5.plain" >"$5"
rm "$5.plain"
