# SPDX-License-Identifier: Apache-2.0
"""Counts single tests from the log of `meson test`.

A test program that closes on a line `N passed, N failed[, N skipped]` counts for so many tests, and
names those that failed on lines `failed: NAME` and those that it skipped on lines `skipped: NAME: REASON`;
tests/main.cc does so for Catch2, `ferrule test` for rule files. Any other program is one test by its exit status (77: skipped). A program that ends badly
without a failed test in its line has crashed, hung or is broken: one failed test. One that ran no
test at all has failed too.
"""
import json
import re
import shlex
import sys
from pathlib import Path

CLOSING = re.compile(r'(\d+) passed, (\d+) failed(?:, (\d+) skipped)?')
GOOD = ('OK', 'EXPECTEDFAIL')
SHOWN_LINES = 60


def count(entry):
    """(passed, failed, skipped, names of the failed) of one program."""
    lines = entry.get('stdout', '').splitlines()
    closing = [match for match in map(CLOSING.fullmatch, lines) if match]
    names = [line[len('failed: '):] for line in lines if line.startswith('failed: ')]
    good, result = entry['result'] in GOOD, entry['result']
    if result == 'SKIP':
        return 0, 0, 1, []
    if not closing:
        return (1, 0, 0, []) if good else (0, max(1, len(names)), 0, names)
    passed, failed, skipped = (int(number or 0) for number in closing[-1].groups())
    if passed + failed + skipped == 0 or (not good and failed == 0):
        return passed, 1, skipped, names
    return passed, failed, skipped, names


def skip_lines(entry):
    """What a program says of what it skipped: a line for each case, or the last line of one that ran none."""
    if entry['result'] != 'SKIP':
        lines = entry.get('stdout', '').splitlines()
        return [line[len('skipped: '):] for line in lines if line.startswith('skipped: ')]
    said = (entry.get('stdout', '') + '\n' + entry.get('stderr', '')).split('\n')
    return [next((line.strip().removeprefix('skipped: ') for line in reversed(said) if line.strip()), 'it does not say why')]


def catch_filter(name):
    return shlex.quote(re.sub(r'([\\,\[])', r'\\\1', name))


def show_failure(entry, names):
    title = entry['name'].split(' / ')[-1].split(':')[-1]
    said = (entry.get('stdout', '').rstrip() + '\n' + entry.get('stderr', '').rstrip()).strip()
    lines = said.splitlines()
    print(f"\n---- {entry['name']}: {entry['result']}, exit status {entry['returncode']}")
    if len(lines) > SHOWN_LINES:
        print(f'… {len(lines) - SHOWN_LINES} lines more in build/meson-logs/testlog.txt')
    print('\n'.join(lines[-SHOWN_LINES:]))
    program = Path(entry['command'][0])
    for name in names:
        print(f'FAILED  {title}: {name}')
        if program.name.endswith('_tests'):
            print(f'        again: {shlex.quote(str(program))} {catch_filter(name)}')
    if not names:
        print(f'FAILED  {title} ({entry["result"].lower()})')
    print(f'        again: meson test -C build --print-errorlogs {shlex.quote(title)}')


def main(log):
    total = [0, 0, 0]
    skips = []
    if log.exists():
        for line in log.read_text(encoding='utf-8').splitlines():
            entry = json.loads(line)
            *numbers, names = count(entry)
            total = [a + b for a, b in zip(total, numbers)]
            if numbers[1]:
                show_failure(entry, names)
            skips += [f"skipped  {entry['name']}: {said}" for said in skip_lines(entry)]
    for line in skips:
        print(line)
    passed, failed, skipped = total
    if passed + failed == 0:
        print('no test ran; was build/ configured with -Dtests=false? '
              'then: meson configure build -Dtests=true')
    print(f'{passed} passed, {failed} failed' + (f', {skipped} skipped' if skipped else ''))
    return 0 if passed > 0 and failed == 0 else 2  # 1 is Python's own


if __name__ == '__main__':
    sys.exit(main(Path(sys.argv[1])))
