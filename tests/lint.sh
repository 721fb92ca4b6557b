#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Format (clang-format), lint (clang-tidy, .clang-tidy) and what tests/repo_check.sh checks. Each
# linted file is one check; closes on `N passed, N failed`.
set -euo pipefail
# shellcheck source=tests/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
trap close_when_giving_up EXIT
cd "$root"

install_packages "${packages[@]}" clang-format clang-tidy
configure

add_counts_of tests/repo_check.sh

step "checking the format of C++ files (to mend: clang-format -i FILE)"
mapfile -t formatted < <(list_files '*.h' '*.cc' '*.cu' '*.cuh')
# shellcheck disable=SC2317 # called through `count`
well_formatted() {
  local said
  # One line a file is enough: clang-format mends it, nobody reads the rest.
  said=$(clang-format --dry-run -Werror "${formatted[@]}" 2>&1) && return
  sed -nE 's/^([^:]+):[0-9]+:[0-9]+: error: .*/  \1/p' <<<"$said" | sort | uniq -c
  return 1
}
count "${#formatted[@]} files are formatted" well_formatted

# Only files that the build compiles here: the others have no command line to read them by.
mapfile -t compiled < <(python3 -c '
import json, os, sys
for entry in json.load(open(sys.argv[1])):
    print(os.path.relpath(os.path.join(entry["directory"], entry["file"]), sys.argv[2]))
' "$build/compile_commands.json" "$root" | grep -E '^(engine|kernels|cli)/.*\.cc$' | sort -u)
step "linting ${#compiled[@]} files with clang-tidy (seconds each)"
lint=$(mktemp -d "$build/lint.XXXXXX")
# clang-tidy reads g++'s command lines; what clang does not know there is no finding.
# shellcheck disable=SC2016 # expanded by the inner shell
printf '%s\0' "${compiled[@]}" | xargs -0 -P "$(nproc)" -n 1 bash -c '
  out=$0/$(tr / _ <<<"$2")
  timeout 240 clang-tidy --quiet -p "$1" --extra-arg=-Wno-unknown-warning-option "$2" >"$out" 2>&1 || {
    [ $? -ne 124 ] || echo "  took longer than 240 seconds" >>"$out"
    mv "$out" "$out.failed"
  }
' "$lint" "$build" || true
# shellcheck disable=SC2317 # called through `count`
clean() {
  local out
  out=$lint/$(tr / _ <<<"$1")
  [ -f "$out" ] && return
  grep -vE '^[0-9]+ (warnings?|errors?) |^Error while processing|^Found compiler error' "$out.failed" || true
  return 1
}
for file in "${compiled[@]}"; do count "lint $file" clean "$file"; done
rm -r "$lint"

close
