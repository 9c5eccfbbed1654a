#!/usr/bin/env bash
# Installs into a scratch folder and builds programs against it that know
# nothing but pkg-config.
#
#   test_install.sh BUILD PREFIX LIBDIR SANITIZE MPIRUN
set -u
build=$1 prefix=$2 libdir=$3 sanitize=$4 mpirun=$5
here=$(cd "$(dirname "$0")" && pwd)

if [ "$sanitize" != none ]; then
  echo '1..0 # SKIP programs outside do not link a sanitized library'
  exit 0
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
root=$scratch/root$prefix
export PKG_CONFIG_PATH=$root/$libdir/pkgconfig
export LD_LIBRARY_PATH=$root/$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

number=0
failed=0
claim() { # NAME COMMAND...
  local name=$1
  shift
  number=$((number + 1))
  if "$@" >"$scratch/log" 2>&1; then
    echo "ok $number - $name"
    return
  fi
  failed=1
  sed 's/^/# /' "$scratch/log" | tail -n 15
  echo "not ok $number - $name"
}

installs() {
  meson install -C "$build" --no-rebuild --destdir "$scratch/root" &&
    sed -i "s|^prefix=.*|prefix=$root|" "$PKG_CONFIG_PATH/libtrain.pc"
}

has_files() {
  local file
  for file in "$root"/include/train/{train,base,cpp,data,layers,model,mpi,optim,context,trainer}.h \
    "$root/$libdir"/libtrain.{a,so} "$root/bin/train_classifier"; do
    if [ ! -e "$file" ]; then
      echo "expected $file"
      return 1
    fi
  done
}

has_no_internals() {
  ! find "$root/include" -name '*_impl.h' | grep .
}

flags() { pkg-config "$@" libtrain; }

# The compilers, and not mpicc: pkg-config alone has to do.
# shellcheck disable=SC2046
builds() { # LANGUAGE PROGRAM
  case $1 in
  c) gcc -std=c11 -Wall -Wextra -Werror $(flags --cflags) \
    "$here/outside.c" -o "$2" $(flags --libs) ;;
  c++) g++ -std=c++11 -Wall -Wextra -Werror -x c++ $(flags --cflags) \
    "$here/outside.c" -o "$2" $(flags --libs) ;;
  c++11) g++ -std=c++11 -Wall -Wextra -Wpedantic -Werror $(flags --cflags) \
    "$here/program11.cpp" -o "$2" $(flags --libs) ;;
  c++20) g++ -std=c++20 -Wall -Wextra -Werror $(flags --cflags) \
    "$here/program20.cpp" -o "$2" $(flags --libs) ;;
  static) gcc -std=c11 -Wall -Wextra -Werror $(flags --cflags) \
    "$here/outside.c" -o "$2" \
    $(flags --static --libs | sed 's/-ltrain\b/-l:libtrain.a/') &&
    ! readelf -d "$2" | grep 'NEEDED.*libtrain' ;;
  esac
}

prints_version() { # PROGRAM
  local out
  out=$("$@") || return 1
  echo "$out"
  [ "$out" = "$(pkg-config --modversion libtrain), 1 rank" ]
}

trains() { # PROGRAM
  local out
  out=$("$1") || return 1
  echo "$out"
  [ "$out" = 'loss sound' ]
}

# The two ways of CMake, in a project of somebody else.
builds_with_cmake() { # HOW
  rm -rf "$scratch/cmake"
  CMAKE_PREFIX_PATH=$root cmake -S "$here/cmake" -B "$scratch/cmake" \
    -DHOW="$1" -DCMAKE_BUILD_TYPE=Release &&
    cmake --build "$scratch/cmake" &&
    prints_version "$scratch/cmake/program"
}

runs_on_two_ranks() { # PROGRAM
  local out
  out=$(timeout 60 "$mpirun" -n 2 "$1") || return 1
  echo "$out"
  [ "$out" = "$(pkg-config --modversion libtrain), 2 ranks" ]
}

echo 1..17
claim test_meson_installs installs
claim test_headers_libraries_and_programs_are_where_others_look has_files
claim test_internal_headers_are_not_installed has_no_internals
for variant in c c++ static; do
  claim "test_a_${variant}_program_builds_with_pkg_config_alone" \
    builds "$variant" "$scratch/program-$variant"
  claim "test_a_${variant}_program_runs" \
    prints_version "$scratch/program-$variant"
done
claim test_a_cpp11_program_with_named_options_builds \
  builds c++11 "$scratch/program11"
claim test_a_cpp11_program_trains trains "$scratch/program11"
claim test_a_cpp20_program_with_braced_options_builds \
  builds c++20 "$scratch/program20"
claim test_a_cpp20_program_trains trains "$scratch/program20"
for how in find_package pkg_check_modules; do
  if command -v cmake >/dev/null 2>&1; then
    claim "test_a_program_builds_and_runs_by_$how" builds_with_cmake "$how"
  else
    number=$((number + 1))
    echo "ok $number - by $how # SKIP there is no cmake"
  fi
done
claim test_a_c_program_runs_on_two_ranks runs_on_two_ranks "$scratch/program-c"
claim test_an_installed_example_starts "$root/bin/train_classifier" --help
exit "$failed"
