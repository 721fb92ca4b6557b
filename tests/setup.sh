# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What the project needs on Debian 12 and how it is built, for the scripts that source this file
# (tests/run.sh, tests/lint.sh, examples/start.sh). Each step says in one line what it does; a step
# that fails says which one it was and how to mend it, and ends the script.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build
packages=(g++ meson ninja-build pkg-config libyaml-cpp-dev libre2-dev libsimdjson-dev libfmt-dev
  nettle-dev catch2 libcli11-dev python3)

export LC_ALL=C.UTF-8 # messages that can be read and searched for, whatever the user's language

current_step=start
step() {
  current_step=$1
  printf '== %s\n' "$1"
}

# give_up REASON REMEDY…: one remedy a line.
give_up() {
  printf '\nfailed in: %s\n  reason:  %s\n' "$current_step" "$1"
  shift
  printf '  to mend: %s\n' "$@"
  exit 1
} >&2

# logged LOG COMMAND…: runs a command, shown only when somebody watches; else the log is enough.
logged() {
  local log=$1
  shift
  if [ -t 1 ]; then "$@" 2>&1 | tee "$log"; else "$@" >"$log" 2>&1; fi
}

show_end_of() {
  printf '\n-- end of %s\n' "$1" >&2
  tail -n "${2:-40}" "$1" | tr '\r' '\n' >&2
}

make_build_folder() {
  mkdir -p "$build" 2>/dev/null && [ -w "$build" ] && return
  give_up "$build cannot be written" \
    "make the folder yours (\`sudo chown -R $(id -un) $root\`), or remove a build/ made by root: \`sudo rm -r $build\`"
}

# The packages among the arguments that are not installed, one a line.
missing_of() {
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
      printf '%s\n' "$package"
  done
}

# install_packages PACKAGE…: installs those that are not there and nothing else.
install_packages() {
  step "looking for the packages $*"
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "   no apt here: going on in the hope that these, or what they hold, are installed"
    return
  fi
  local missing
  mapfile -t missing < <(missing_of "$@")
  if [ ${#missing[@]} -eq 0 ]; then
    echo "   all are installed"
    return
  fi

  step "installing with apt: ${missing[*]}"
  make_build_folder
  local by_hand="apt-get update && apt-get install --no-install-recommends ${missing[*]}"
  local as_root=(env DEBIAN_FRONTEND=noninteractive)
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null ||
      give_up "packages are missing, you are not root and there is no sudo" "as root: $by_hand"
    if [ -t 0 ]; then
      sudo -v || give_up "sudo was refused" "as root: $by_hand"
    else
      sudo -n true 2>/dev/null ||
        give_up "sudo asks for a password and nobody is there to give it" "as root: $by_hand"
    fi
    as_root=(sudo "${as_root[@]}")
  fi
  local log=$build/apt.log
  # Not fatal: one broken source of somebody else's must not stop us, the lists may be good enough.
  "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 -o APT::Update::Error-Mode=any -qq update \
    </dev/null >"$log" 2>&1 || echo "   apt-get update had errors (build/apt.log), trying all the same"
  if ! "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 -qq -y --no-install-recommends \
    install "${missing[@]}" </dev/null >>"$log" 2>&1; then
    show_end_of "$log" 15
    give_up "apt-get could not install ${missing[*]}" \
      "no network or proxy: check that the mirror in /etc/apt/sources.list* can be reached" \
      "unknown package: this needs Debian 12 or newer (or a release as new) with its \`main\` section" \
      "anything else: run by hand as root: $by_hand"
  fi
  mapfile -t missing < <(missing_of "${missing[@]}")
  [ ${#missing[@]} -eq 0 ] || give_up "apt-get left out ${missing[*]}" "run by hand as root: $by_hand"
}

# Sets up build/ when it is not; ninja itself notices later changes of meson.build.
configure() {
  step "setting up build/ with meson"
  make_build_folder
  local tool
  for tool in meson ninja; do
    command -v "$tool" >/dev/null || give_up "there is no $tool" \
      "install the packages: apt-get install ${packages[*]}" "or put $tool on PATH (it is $PATH)"
  done
  if [ -f "$build/build.ninja" ] && [ -f "$build/meson-private/coredata.dat" ]; then
    echo "   it is"
    return
  fi
  if ! logged "$build/setup.log" meson setup "$build" "$root"; then
    show_end_of "$build/setup.log" 15
    give_up "meson could not set up build/" "do what its last lines say" \
      "a build/ from another place or compiler: remove it (\`rm -r $build\`) and start again"
  fi
}

# build_targets [TARGET…]: everything without arguments.
build_targets() {
  step "building ${*:-everything} (minutes the first time; build/build.log)"
  if ! logged "$build/build.log" ninja -C "$build" "$@"; then
    show_end_of "$build/build.log" 60
    give_up "the build stopped" \
      "a compiler that was \`Killed\`: too little memory, build with \`ninja -C $build -j1\` first" \
      "\`No space left\`: free some, build/ needs about 1 GB" \
      "a build/ from another place or compiler: remove it (\`rm -r $build\`) and start again" \
      "an error in a source file: mend it; if it is not yours, report it with build/build.log"
  fi
}

# Paths of the project's own files that match the patterns (`*.cc` …), below the root, sorted.
# Without git, or in a copy that is no clone, all files outside build folders.
list_files() {
  # A container often runs as another user than the clone's owner; git would refuse to read it.
  local git=(git -c "safe.directory=$root" -C "$root")
  if command -v git >/dev/null && "${git[@]}" rev-parse --git-dir >/dev/null 2>&1; then
    "${git[@]}" ls-files --cached --others --exclude-standard -- "$@"
  else
    local pattern tests=()
    for pattern in "$@"; do tests+=(-o -name "${pattern##*/}"); done
    (cd "$root" && find . -path ./.git -prune -o -path './build*' -prune -o -type f \
      \( "${tests[@]:1}" \) -print | sed 's|^\./||')
  fi | while IFS= read -r path; do [ ! -f "$root/$path" ] || printf '%s\n' "$path"; done | sort -u
}

# ---- counting: every script that checks something closes on `N passed, N failed[, N skipped]` ----
passed=0
failed=0
skipped=0

count() { # count NAME COMMAND…: one check, passed when the command succeeds
  local name=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    printf 'ok      %s\n' "$name"
  else
    failed=$((failed + 1))
    printf 'FAILED  %s\n' "$name"
  fi
}

# add_counts_of SCRIPT…: runs a script that closes on such a line, adds its numbers and shows all of
# its output but that line. A script that fails without a failed check counts as one.
add_counts_of() {
  local log status=0 last
  mkdir -p "$build"
  log=$(mktemp "$build/counts.XXXXXX")
  bash "$@" </dev/null 2>&1 | tee "$log" | hide_closing_line || status=1
  last=$(tail -n 1 "$log")
  rm -f "$log"
  if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
    passed=$((passed + BASH_REMATCH[1]))
    failed=$((failed + BASH_REMATCH[2]))
    skipped=$((skipped + ${BASH_REMATCH[4]:-0}))
    if [ "$status" -ne 0 ] && [ "${BASH_REMATCH[2]}" -eq 0 ]; then failed=$((failed + 1)); fi
  else
    failed=$((failed + 1))
  fi
}
hide_closing_line() { sed -u -E '/^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$/d'; }

# The closing line, the very last of the output. Fails when a check failed or none ran.
close() {
  closed=yes
  printf '%d passed, %d failed' "$passed" "$failed"
  [ "$skipped" -eq 0 ] || printf ', %d skipped' "$skipped"
  printf '\n'
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# Closes also when a step gave up: that is a failed check, and the line still stands last.
closed=no
close_when_giving_up() {
  local status=$?
  if [ "$status" -ne 0 ] && [ "$closed" = no ]; then
    failed=$((failed + 1))
    close || true
  fi
}
