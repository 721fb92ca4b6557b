#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install_test.sh BUILD_FOLDER SOURCE_FOLDER COMPILER…
# Installs into an empty folder and uses nothing but that: each check is one test.
# GPU_ARCHS: what the GPU kernels were compiled for (`80 90a`), empty without any; MOST_BYTES: of the
# stripped library, empty where nothing is promised.
set -euo pipefail
build=$1
source=$2
program=$source/tests/install/program.cc
server=$source/examples/server/server.cc
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
loads_to_gpu() { # or says why not, where there is no GPU
  local said
  "${compiler[@]}" -std=c++20 -Wall -Wextra -Wpedantic -Werror "$source/tests/install/gpu_program.cc" "${cflags[@]}" "${libs[@]}" \
    -o "$tree/gpu_program" || return
  ! said=$(LD_LIBRARY_PATH=$lib "$tree/gpu_program" "$tiny" "$module" lm_heat) && grep -qF 'did you mean `lm_head`?' <<<"$said" || return
  said=$(LD_LIBRARY_PATH=$lib "$tree/gpu_program" "$tiny" "$module" lm_head)
  [ "$said" = "$module: [384, 256]"$'\n''lm_head: [192, 256]' ] || grep -qE '^error\[FR902\]: (CUDA|0\.0 GB on the GPU): ' <<<"$said"
}
version_in_name() {
  [ -L "$lib/libferrule.so" ] && [ -L "$lib/libferrule.so.0" ] &&
    [ -f "$lib/libferrule.so.$(pkg-config --modversion ferrule)" ]
}

# A stripped copy, as a package holds it. The sections of GPU code are not touched.
library_is_small() {
  local size
  strip -o "$tree/stripped.so" "$lib/libferrule.so" && size=$(stat -c %s "$tree/stripped.so") || return
  echo "libferrule.so: $size bytes stripped, $(stat -L -c %s "$lib/libferrule.so") as installed"
  [ "$size" -le "$MOST_BYTES" ] || { echo "more than $MOST_BYTES"; return 1; }
}
starts_without_a_compiler() {
  local archs
  read -ra archs <<<"$GPU_ARCHS"
  python3 -B "$source/tests/install/fatbin.py" "$lib/libferrule.so" "${archs[@]}"
}

# The example of a server, against a checkpoint with weights; it must find the installed rules.
server_compiles() {
  [ "$(wc -l <"$server")" -le 80 ] &&
  "${compiler[@]}" -std=c++20 -Wall -Wextra -Wpedantic -Werror "$server" "${cflags[@]}" "${libs[@]}" -o "$tree/server"
}
serve() { LD_LIBRARY_PATH=$lib "$tree/server" "$@" >"$tree/out" 2>"$tree/err"; }
tiny=$source/examples/tiny_qwen3_next_fp8
module=model.layers.3.self_attn.qkv_proj
server_starts() {
  serve "$tiny" 2 "$module" && grep -qx "$module runs as fp8_block" "$tree/out" &&
    grep -qE '^rank 0 of 2: \[384, 256\], y\[0\] = -?[0-9.]+$' "$tree/out" &&
    [ "$(wc -l <"$tree/err")" -eq 1 ] &&
    grep -qE '^ferrule: model_type=qwen3_next tp=2 modules=75 bf16=15 fp8_block=60 .* ms=[0-9]+$' "$tree/err"
}
server_refuses() { # server_refuses STATUS TEXT ARGUMENT…: on standard error, last words included
  local wanted=$1 text=$2 status=0
  shift 2
  serve "$@" || status=$?
  [ "$status" -eq "$wanted" ] && [ ! -s "$tree/out" ] && grep -qF "$text" "$tree/err" &&
    tail -n 1 "$tree/err" | grep -qx 'refusing to start'
}
# The same for C; a package of Python over the same library.
c_server_runs() {
  "${compiler[@]}" -std=c99 -Wall -Wextra -Wpedantic -Werror -x c "$source/examples/server/server.c" -x none "${cflags[@]}" "${libs[@]}" \
    -o "$tree/c_server" && LD_LIBRARY_PATH=$lib "$tree/c_server" "$tiny" 2 "$module" >"$tree/out" 2>"$tree/err" &&
    grep -qE "^$module runs as fp8_block: not listed, $tree$rules/qwen3_next.yaml:[0-9]+$" "$tree/out" && grep -qE '^rank 0: \[384, 256\], y\[0\] = -?[0-9.]+$' "$tree/out" &&
    grep -qE '^ferrule: model_type=qwen3_next tp=2 ' "$tree/err"
}
c_server_refuses() {
  local status=0
  LD_LIBRARY_PATH=$lib "$tree/c_server" "$tree/nowhere" 2 "$module" >"$tree/out" 2>"$tree/err" || status=$?
  [ "$status" -eq 2 ] && [ ! -s "$tree/out" ] && grep -qF 'error[FR901]' "$tree/err" && tail -n 1 "$tree/err" | grep -qx 'refusing to start'
}
python_runs() { # the installed package finds the installed library and rules by itself
  local package said
  package=$(find "$tree" -path '*/ferrule/__init__.py') && [ -n "$package" ] &&
    said=$(cd / && env -u LD_LIBRARY_PATH -u FERRULE_LIBRARY PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="${package%/ferrule/*}" python3 -c '
import sys, ferrule
plan = ferrule.RuleBook().plan(sys.argv[1], tp=2)
print(plan.scheme(sys.argv[2]), ferrule.__version__, plan[sys.argv[2]].rule_file)' "$tiny" "$module") &&
    [ "$said" = "fp8_block $(pkg-config --modversion ferrule) $tree$rules/qwen3_next.yaml" ] || { echo "said: ${said:-nothing}"; return 1; }
}

command_runs() { # the installed program with the installed rules
  "$bin/ferrule" plan "$source/examples/qwen3_next_fp8" --tp 4 -f json | grep -qF "\"$tree$rules/qwen3_next.yaml\""
}
bin=$(dirname "$(find "$tree" -path '*/bin/ferrule')")

for header in "$headers"/*.h; do
  check "<ferrule/${header##*/}> compiles alone" compiles_alone "${header##*/}"
done
check "installed headers mention nothing internal" mentions_no_internals
check "the library carries its version" version_in_name
[ -z "${MOST_BYTES:-}" ] || check "the library is small" library_is_small
[ -z "${GPU_ARCHS:-}" ] || check "GPU code for ${GPU_ARCHS// /, }, no PTX" starts_without_a_compiler
check "the rules lie where pkg-config says" test -d "$tree$rules"
check "a program compiles, links and runs" program_runs
[ ! -f "$headers/load_gpu.h" ] || check "a program loads to the GPU, or learns why not" loads_to_gpu
check "the installed command uses the installed rules" command_runs
check "the server of at most 80 lines compiles" server_compiles
check "it starts, logs one line, answers, loads and runs" server_starts
check "the server in C starts, answers, loads and runs" c_server_runs
check "it refuses a checkpoint that is not there, too" c_server_refuses
check "the package of Python finds library and rules" python_runs
check "it refuses wrong rules" server_refuses 1 'error[FR301]: `in_proj_ba` is declared fused' \
  "$tiny" 2 "$module" "$source/examples/qwen3_next_fp8/wrong_rules"
check "it refuses rules with mistakes" server_refuses 1 'error[FR101]: unknown key `abuot`' \
  "$tiny" 2 "$module" "$source/tests/cli/bad"
check "it refuses a tp that does not divide" server_refuses 1 'error[FR501]' "$tiny" 3 "$module"
check "it refuses a checkpoint that is not there" server_refuses 2 'error[FR901]' "$tree/nowhere" 1 "$module"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
