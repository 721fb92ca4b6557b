#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Searches for inputs that break a target: tests/fuzz/run.sh header|index|config SECONDS
# Needs clang with libFuzzer (Debian: clang, libclang-rt-14-dev). Found inputs lie in build/fuzz.
set -eu
target=$1
seconds=$2
cd "$(dirname "$0")/../.."
mkdir -p "build/fuzz/$target"
clang++ -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I. \
  "tests/fuzz/fuzz_$target.cc" engine/*.cc -o "build/fuzz_$target" \
  -lsimdjson -lfmt -lyaml-cpp -lre2 -lnettle
exec "build/fuzz_$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -max_len=16384 \
  -artifact_prefix="build/fuzz/$target-" "build/fuzz/$target" "tests/fuzz/corpus/$target"
