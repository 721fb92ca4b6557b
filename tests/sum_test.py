# SPDX-License-Identifier: Apache-2.0
"""Tests of tests/sum.py: a wrong sum would hide every other failure."""
import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path

import sum as summing

# What the programs of one run left in the log: (result, exit status, output) → the closing line
CASES = [
    ('cases of two programs add up',
     [('OK', 0, '3 passed, 0 failed\nAll tests passed'), ('OK', 0, '2 passed, 0 failed, 1 skipped')],
     '5 passed, 0 failed, 1 skipped'),
    ('a program without a closing line is one test', [('OK', 0, 'fine'), ('FAIL', 1, '')], '1 passed, 1 failed'),
    ('a failed case is named', [('FAIL', 1, 'failed: a, b [c]\n4 passed, 1 failed')], '4 passed, 1 failed'),
    ('a crash after its last good case is a failure', [('FAIL', -11, '4 passed, 0 failed')], '4 passed, 1 failed'),
    ('a crash without a line is a failure', [('FAIL', -6, 'half a line')], '0 passed, 1 failed'),
    ('cases that failed before a hang count', [('TIMEOUT', -9, 'failed: x\nfailed: y')], '0 passed, 2 failed'),
    ('a program that ran nothing has failed', [('OK', 0, '0 passed, 0 failed')], '0 passed, 1 failed'),
    ('exit status 77 is skipped', [('SKIP', 77, 'no GPU here'), ('OK', 0, '')], '1 passed, 0 failed, 1 skipped'),
    ('a case that is skipped says why',
     [('OK', 0, 'skipped: a, b: no second GPU\n2 passed, 0 failed, 1 skipped')], '2 passed, 0 failed, 1 skipped'),
    ('a program that runs nothing says why', [('SKIP', 77, 'skipped: a, b: no second GPU\n'), ('OK', 0, '')],
     '1 passed, 0 failed, 1 skipped'),
    ('a program all of whose cases are skipped is good', [('OK', 0, '0 passed, 0 failed, 2 skipped'), ('OK', 0, '')],
     '1 passed, 0 failed, 2 skipped'),
    ('only skipped: none ran', [('SKIP', 77, 'no GPU here')], '0 passed, 0 failed, 1 skipped'),
    ('an expected failure is good, an unexpected success is not',
     [('EXPECTEDFAIL', 1, ''), ('UNEXPECTEDPASS', 0, '')], '1 passed, 1 failed'),
    ('a line within a sentence does not count', [('OK', 0, 'said: 9 passed, 0 failed\n')], '1 passed, 0 failed'),
    ('the last line counts', [('OK', 0, '9 passed, 0 failed\n1 passed, 0 failed')], '1 passed, 0 failed'),
    ('no log: none ran', [], '0 passed, 0 failed'),
]


def closing_line(programs):
    """(closing line, exit status, everything printed) for a log of these programs."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / 'testlog.json'
        entries = [{'name': f'ferrule:engine / test{i}', 'command': [f'build/tests/test{i}_tests'],
                    'result': result, 'returncode': status, 'stdout': said}
                   for i, (result, status, said) in enumerate(programs)]
        if entries:
            log.write_text(''.join(json.dumps(entry) + '\n' for entry in entries), encoding='utf-8')
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            status = summing.main(log)
    return printed.getvalue().splitlines()[-1], status, printed.getvalue()


def main():
    failures = 0
    for sentence, programs, expected in CASES:
        line, status, printed = closing_line(programs)
        good = line == expected and (status == 0) == (', 0 failed' in expected and not expected.startswith('0 '))
        for name in ('a, b [c]',) if 'is named' in sentence else ():
            good = good and f'FAILED  test0: {name}' in printed and r'a\, b \[c]' in printed
        if 'says why' in sentence:
            good = good and 'skipped  ferrule:engine / test0: a, b: no second GPU' in printed
        if not good:
            failures += 1
            print(f'failed: {sentence}\n  got `{line}`, status {status}, wanted `{expected}`')
    print(f'{len(CASES) - failures} passed, {failures} failed')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
