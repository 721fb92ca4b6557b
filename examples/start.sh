#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds, and runs the main job: the plan of a real checkpoint, the
# diagnosis of wrong rules for it, and the linears of a tiny checkpoint checked against a reference.
set -euo pipefail
# shellcheck source=tests/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../tests/setup.sh"

install_packages "${packages[@]}"
configure
build_targets cli/ferrule
cd "$root"

# show STATUS COMMAND…: prints the command, runs it, and gives up when it ends otherwise.
show() {
  local wanted=$1 status=0
  shift
  printf '\n$ %s\n' "$*"
  "$@" || status=$?
  [ "$status" -eq "$wanted" ] ||
    give_up "\`$*\` ended with status $status instead of $wanted" \
      "run it by hand; if it goes on, report what it prints"
}

step "planning Qwen3-Next-80B-A3B-Instruct-FP8 for 4 ranks, from its headers"
show 0 build/cli/ferrule plan examples/qwen3_next_fp8 --tp 4

step "asking the same with wrong rules: in_proj_ba declared fused (this must be refused)"
show 1 build/cli/ferrule check --rules examples/qwen3_next_fp8/wrong_rules --checkpoint examples/qwen3_next_fp8

step "running the linears of a tiny checkpoint, fast path against reference"
show 0 build/cli/ferrule run examples/tiny_qwen3_next_fp8 --check

printf '\nAll three did what they should. What the commands mean is in README.md.\n'
