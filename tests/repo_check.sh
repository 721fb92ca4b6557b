#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What holds for every file of the repository, whatever it says: length, licence line, no unfinished
# marks, scripts that bash can read. Needs no compiler.
set -euo pipefail
# shellcheck source=tests/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"

mapfile -t sources < <(list_files '*.cc' '*.h' '*.cu' '*.cuh' '*.def' '*.py' '*.sh' '.ci/run')
mapfile -t scripts < <(list_files '*.sh' '.ci/run')
mapfile -t described < <(list_files '*.cc' '*.h' '*.cu' '*.cuh' '*.def' '*.py' '*.sh' '*.yml' '.ci/run' \
  '.clang-tidy' 'meson.build' '*/meson.build' 'meson_options.txt')

no_output() { # succeeds when the command says nothing; shows what it says
  local said
  said=$("$@")
  [ -z "$said" ] || {
    printf '%s\n' "$said"
    return 1
  }
}
long_files() { wc -l "${sources[@]}" | awk '$2 != "total" && $1 > 500 { print "  " $2 " has " $1 " lines; split it" }'; }
# One letter in brackets, so that this file does not find itself.
unfinished() { grep -nwE '(TO[D]O|FIX[M]E|XX[X]|HAC[K]|stu[b]s?)' "${sources[@]}" || true; }
without_licence() {
  local file
  for file in "${described[@]}"; do
    head -n 3 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "  $file lacks its SPDX line"
  done
}
unreadable_scripts() {
  local script
  for script in "${scripts[@]}"; do bash -n "$script" 2>&1 || true; done
}
ignored_but_tracked() { git -c "safe.directory=$root" ls-files -ci --exclude-standard 2>/dev/null || true; }

step "checking ${#described[@]} files of the repository"
count "no source file is longer than 500 lines" no_output long_files
count "no source file holds unfinished marks" no_output unfinished
count "every source file names its licence" no_output without_licence
count "bash can read every script" no_output unreadable_scripts
count "no build output is committed" no_output ignored_but_tracked
close
