#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install_test.sh BUILD_FOLDER PROGRAM.cc COMPILER…
# Installs into an empty folder and uses nothing but that: each check is one test.
set -euo pipefail
build=$1
program=$2
shift 2
compiler=("$@")

command -v meson pkg-config >/dev/null || {
  echo "meson or pkg-config is not on PATH"
  exit 77
}
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
meson install -C "$build" --destdir "$tree" --no-rebuild >"$tree/log" || {
  cat "$tree/log"
  exit 1
}

passed=0
failed=0
check() { # check NAME COMMAND…
  local name=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "failed: $name"
  fi
}

pc=$(find "$tree" -name ferrule.pc)
export PKG_CONFIG_SYSROOT_DIR=$tree PKG_CONFIG_LIBDIR=${pc%/*}
rules=$(PKG_CONFIG_SYSROOT_DIR='' pkg-config --variable=rulesdir ferrule)
headers=$(dirname "$(find "$tree" -path '*/ferrule/*.h' -print -quit)")
lib=$(dirname "$(find "$tree" -name 'libferrule.so')")
read -ra cflags <<<"$(pkg-config --cflags ferrule)"
read -ra libs <<<"$(pkg-config --libs ferrule)"

compiles_alone() {
  "${compiler[@]}" -std=c++20 -fsyntax-only "${cflags[@]}" -include "ferrule/$1" -x c++ /dev/null
}
mentions_no_internals() { # neither paths of the source tree nor libraries that users do not need
  ! grep -nE '#include ("|<(fmt|re2|yaml-cpp|simdjson|nettle|CLI)/)' "$headers"/*.h
}
program_runs() {
  "${compiler[@]}" -std=c++20 "$program" "${cflags[@]}" "${libs[@]}" -o "$tree/program" &&
    LD_LIBRARY_PATH=$lib "$tree/program"
}
version_in_name() {
  [ -L "$lib/libferrule.so" ] && [ -L "$lib/libferrule.so.0" ] &&
    [ -f "$lib/libferrule.so.$(pkg-config --modversion ferrule)" ]
}

for header in "$headers"/*.h; do
  check "<ferrule/${header##*/}> compiles alone" compiles_alone "${header##*/}"
done
check "installed headers mention nothing internal" mentions_no_internals
check "the library carries its version" version_in_name
check "the rules lie where pkg-config says" test -d "$tree$rules"
check "a program compiles, links and runs" program_runs
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
