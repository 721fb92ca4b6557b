#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Searches for inputs that break a target: tests/fuzz/run.sh header|index|config SECONDS
# Needs clang with libFuzzer (Debian: clang, libclang-rt-14-dev). Found inputs lie in build/fuzz.
# The engine is compiled with sanitizers once, for all targets.
set -eu
target=$1
seconds=$2
cd "$(dirname "$0")/../.."
mkdir -p "build/fuzz/$target" build/fuzz/objects
compiler=clang++
! command -v ccache >/dev/null || compiler='ccache clang++'
compile() { # compile SOURCE OBJECT
  # shellcheck disable=SC2086  # the compiler is two words
  [ -e "$2" ] && [ -z "$(find "$1" engine tests/fuzz -newer "$2" \( -name '*.h' -o -path "$1" \))" ] ||
    $compiler -std=c++20 -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -I. \
      -DFERRULE_VERSION='"fuzz"' -DFERRULE_INSTALLED_RULES='"rules"' -DFERRULE_SOURCE_RULES='"rules"' \
      -c "$1" -o "$2"
}
for source in engine/*.cc engine/*/*.cc; do
  compile "$source" "build/fuzz/objects/$(basename "$source").o"
done
compile "tests/fuzz/fuzz_$target.cc" "build/fuzz/$target.o"
clang++ -fsanitize=fuzzer,address,undefined "build/fuzz/$target.o" build/fuzz/objects/*.o \
  -o "build/fuzz_$target" -lsimdjson -lfmt -lyaml-cpp -lre2 -lnettle
exec "build/fuzz_$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -max_len=16384 \
  -artifact_prefix="build/fuzz/$target-" "build/fuzz/$target" "tests/fuzz/corpus/$target"
