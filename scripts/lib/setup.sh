# Sourced by the scripts: what they need, progress, and the build.
#
# A package is asked for only where what it provides is missing, so a machine
# with its own MPI or compiler keeps them, and a second call costs
# milliseconds.

# package  probes, any one of which will do: cmd:NAME, file:PATH, pc:NAME
packages_build='
gcc cmd:gcc
libc6-dev file:/usr/include/stdio.h
meson cmd:meson
ninja-build cmd:ninja
pkg-config cmd:pkg-config
libopenmpi-dev pc:mpi-c pc:ompi-c pc:mpich pc:mpi cmd:mpicc
openmpi-bin cmd:mpirun cmd:mpiexec
libopenblas-dev pc:openblas
libhdf5-dev pc:hdf5-serial pc:hdf5
zlib1g-dev pc:zlib
libxxhash-dev pc:libxxhash'
packages_test='
g++ cmd:g++
cmake cmd:cmake
make cmd:make cmd:gmake
hdf5-tools cmd:h5dump'
# Without these some tests are skipped.
packages_more_tests='
libsimgrid-dev cmd:smpirun
iproute2 cmd:ip'
packages_mpich='
libmpich-dev pc:mpich
mpich cmd:mpirun.mpich cmd:mpiexec.hydra'
packages_check='
clang-format-14 cmd:clang-format-14'

say() { printf '%s\n' "$*" >&2; }
die() {
  say "$(basename "$0"): $*"
  exit 1
}

# progress LABEL DONE TOTAL - a bar on a terminal; elsewhere a line at each
# quarter. Call progress_end afterwards.
progress_quarter=0
progress() {
  local label=$1 done=$2 total=$3 width=30 filled quarter
  [ "$total" -gt 0 ] || total=1
  [ "$done" -le "$total" ] || done=$total
  if [ -t 2 ]; then
    filled=$((done * width / total))
    printf '\r%s [%s%s] %3d %%' "$label" \
      "$(printf '%*s' "$filled" '' | tr ' ' '#')" \
      "$(printf '%*s' $((width - filled)) '')" $((done * 100 / total)) >&2
    progress_quarter=$done
    return
  fi
  quarter=$((done * 4 / total))
  if [ "$quarter" -gt "$progress_quarter" ]; then
    progress_quarter=$quarter
    say "$label: $((done * 100 / total)) %"
  fi
}
progress_end() {
  if [ -t 2 ] && [ "$progress_quarter" -gt 0 ]; then
    printf '\r\033[K' >&2
  fi
  progress_quarter=0
}

have() { # PROBE...
  local probe
  for probe in "$@"; do
    case $probe in
    cmd:*) command -v "${probe#cmd:}" >/dev/null 2>&1 && return 0 ;;
    file:*) [ -e "${probe#file:}" ] && return 0 ;;
    pc:*) pkg-config --exists "${probe#pc:}" >/dev/null 2>&1 && return 0 ;;
    esac
  done
  return 1
}

missing_packages() { # LIST
  local package probes
  printf '%s\n' "$1" | while read -r package probes; do
    # shellcheck disable=SC2086
    if [ -n "$package" ] && ! have $probes; then
      printf '%s ' "$package"
    fi
  done
}

# apt_progress LABEL LOG - follow apt-get's output; three lines per package.
apt_progress() {
  local label=$1 log=$2 line done=0 total=0
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$log"
    case $line in
    *' newly installed, '*)
      total=$(printf '%s' "$line" | sed 's/.* upgraded, \([0-9]*\) newly.*/\1/')
      total=$((total * 3))
      ;;
    Get:* | Unpacking* | 'Setting up'*) done=$((done + 1)) ;;
    esac
    if [ "$total" -gt 0 ]; then
      progress "$label" "$done" "$total"
    fi
  done
  progress_end
}

# The same software elsewhere: Debian's package, Fedora's, SUSE's, Spack's.
packages_elsewhere='
gcc gcc gcc gcc
g++ gcc-c++ gcc-c++ gcc
libc6-dev glibc-devel glibc-devel -
meson meson meson meson
ninja-build ninja-build ninja ninja
pkg-config pkgconf-pkg-config pkgconf-pkg-config pkgconf
cmake cmake cmake cmake
libopenmpi-dev openmpi-devel openmpi4-devel openmpi
openmpi-bin openmpi openmpi4 openmpi
libopenblas-dev openblas-devel openblas-devel openblas
libhdf5-dev hdf5-devel hdf5-devel hdf5~mpi
hdf5-tools hdf5 hdf5 hdf5~mpi
zlib1g-dev zlib-devel zlib-devel zlib
libxxhash-dev xxhash-devel xxhash-devel xxhash
libsimgrid-dev - - simgrid
iproute2 iproute iproute2 -
clang-format-14 - - -'

# missing_elsewhere PACKAGES - how whoever cannot use apt-get gets them.
missing_elsewhere() {
  local column name names
  say "missing: $1"
  column=2
  for name in 'root on Debian or Ubuntu:  apt-get install' \
    'root on Fedora or RHEL:    dnf install' \
    'root on SUSE:              zypper install' \
    'Spack, without root:       spack install'; do
    names=$1
    if [ "$column" -gt 2 ]; then
      names=$(for package in $1; do
        printf '%s\n' "$packages_elsewhere" | awk -v package="$package" \
          -v column=$((column - 1)) '$1 == package { print $column }'
      done | grep -vx -e - | sort -u | tr '\n' ' ')
    fi
    say "  $name $names"
    column=$((column + 1))
  done
  say '  a cluster with modules:    module avail gcc openmpi openblas hdf5, then load;'
  say '                             pip install --user meson ninja brings these two'
}

# install_missing LIST WHY - install with apt-get what LIST lacks.
install_missing() {
  local missing as_root='' log rc
  missing=$(missing_packages "$1")
  [ -n "$missing" ] || return 0
  if ! command -v apt-get >/dev/null 2>&1; then
    missing_elsewhere "$missing"
    die 'there is no apt-get here, which would install what is missing'
  fi
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
      missing_elsewhere "$missing"
      die 'this user may install nothing: neither root nor sudo'
    fi
    as_root='sudo'
  fi
  say "installing ($2): $missing"
  log=$(mktemp)
  say 'reading the package lists'
  # shellcheck disable=SC2086
  if ! $as_root apt-get -q update </dev/null >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    say 'the package lists could not all be read; trying with what is there'
  fi
  set +e
  # shellcheck disable=SC2086
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y \
    --no-install-recommends $missing </dev/null 2>&1 |
    apt_progress 'installing packages' "$log"
  rc=${PIPESTATUS[0]}
  set -e
  hash -r
  if [ "$rc" -ne 0 ]; then
    tail -n 15 "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

wanted_packages=''

need_packages() { # LIST WHY
  wanted_packages="$wanted_packages$1
"
  install_missing "$1" "$2" || die 'the packages could not be installed'
}

# want_packages LIST WHY - as need_packages, but go on without them where they
# cannot be installed.
want_packages() {
  wanted_packages="$wanted_packages$1
"
  if ! (install_missing "$1" "$2"); then
    say "going on without: $(missing_packages "$1")"
  fi
  hash -r
}

# configure DIR LOG [MESON OPTION...] - once, and again when a script needs
# packages that no configuration before knew of.
configure() {
  local dir=$1 log=$2 again='' new
  shift 2
  if [ -f "$dir/build.ninja" ]; then
    new=$(printf '%s' "$wanted_packages" |
      grep -vxFf <(cat "$dir/packages.txt" 2>/dev/null) || true)
    [ -n "$new" ] || return 0
    again='--reconfigure'
  fi
  say "configuring $dir"
  if ! meson setup ${again:+"$again"} "$dir" "$@" </dev/null >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "meson could not configure $dir (all of it: $log)"
  fi
  printf '%s' "$wanted_packages" >>"$dir/packages.txt"
}

# build_tree DIR [MESON OPTION...] - configure, then build what changed.
# The output goes to DIR/build.log, its tail to the terminal on failure.
build_tree() {
  local dir=$1 log line rc counts
  shift
  mkdir -p "$dir"
  log=$dir/build.log
  : >"$log"
  configure "$dir" "$log" "$@"
  set +e
  ninja -C "$dir" </dev/null 2>&1 | {
    while IFS= read -r line; do
      printf '%s\n' "$line" >>"$log"
      case $line in
      '['*/*']'*)
        counts=${line%%]*}
        counts=${counts#[}
        progress "building $dir" "${counts%/*}" "${counts#*/}"
        ;;
      esac
    done
    progress_end
  }
  rc=${PIPESTATUS[0]}
  set -e
  if [ "$rc" -ne 0 ]; then
    sed -n '/^FAILED:\|ERROR:/,$p' "$log" | head -n 60 >&2
    die "the build failed (all of it: $log)"
  fi
}
