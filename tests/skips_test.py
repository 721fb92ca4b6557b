# SPDX-License-Identifier: Apache-2.0
"""How tests/main.cc counts cases that say they are skipped.

  skips_test.py SKIPS

A case that cannot run and counts as passed would look tested.
"""
import subprocess
import sys

SECOND = 'skipped: is skipped: there is no second GPU'
TWICE = 'skipped: is skipped, and says so twice: there is no second GPU'
HALF = 'skipped: is skipped by one section of two: half of it cannot run'
BEFORE = 'failed: fails before it is skipped'
AFTER = 'failed: fails after it is skipped'

# A sentence, what is asked for, the lines that count, and whether the program succeeds.
ROWS = [
    ('a case that passes', ['passes'], ['1 passed, 0 failed'], True),
    ('a skipped case is not passed', ['is skipped'], [SECOND, '0 passed, 0 failed, 1 skipped'], True),
    ('one that says so twice counts once, with the first reason', ['is skipped\\, and says so twice'],
     [TWICE, '0 passed, 0 failed, 1 skipped'], True),
    ('one whose sections are not all run counts once', ['is skipped by*'],
     [HALF, '0 passed, 0 failed, 1 skipped'], True),
    ('one that fails before it is skipped has failed', ['fails before*'], [BEFORE, '0 passed, 1 failed'], False),
    ('one that fails after it is skipped has failed', ['fails after*'], [AFTER, '0 passed, 1 failed'], False),
    ('a skip is forgotten by the next case', ['passes,is skipped'], [SECOND, '1 passed, 0 failed, 1 skipped'], True),
    ('all, in the order of the file', [],
     [SECOND, TWICE, HALF, BEFORE, AFTER, '1 passed, 2 failed, 3 skipped'], False),
]


def main(program):
    failures = 0
    for sentence, asked, wanted, good in ROWS:
        run = subprocess.run([program, '--order', 'decl', *asked], capture_output=True, text=True, timeout=60,
                             check=False)
        lines = [line for line in run.stdout.splitlines()
                 if line.startswith(('skipped: ', 'failed: ')) or ' passed, ' in line]
        if lines != wanted or (run.returncode == 0) != good:
            failures += 1
            print(f'failed: {sentence}\n  got {lines}, status {run.returncode}\n  wanted {wanted}')
    print(f'{len(ROWS) - failures} passed, {failures} failed')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
