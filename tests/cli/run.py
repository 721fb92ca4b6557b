# SPDX-License-Identifier: Apache-2.0
"""Command lines and the exact text that they answer.

  run.py FERRULE CASE…     CASE: a file of transcripts

    # any number of remarks
    $ ferrule explain FR999                     a line for bash, run from the root of the repository
    ! error[FR904]: there is no code `FR999`    standard error
    => 2                                        exit status, when it is not 0

Lines without mark are standard output. $T is an empty folder for each file. `# needs: COMMAND` at
the top skips the file where the command fails. What differs from run to run is written alike: the
folder as $T, seconds as 0.00, sums of rules and plans as SHA.

With FERRULE_ACCEPT=1 in the environment the transcripts are rewritten and the program ends with 77
(skipped), so that this can never pass for a test. Read what it wrote before committing.
"""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALIKE = [
    (re.compile(r'(?<= in )\d+\.\d\d(?= s\b)'), '0.00'),
    (re.compile(r'((?:rules|plan)(?:_sha)?(?:": *"|=| ))[0-9a-f]{12,64}\b'), r'\1SHA'),
]
BASH = r'''
as_nobody() {
  if [ "$(id -u)" -eq 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi
}
'''


class Case:
    """One command with what it should answer."""

    def __init__(self, remarks, command, line):
        self.remarks, self.command, self.line = remarks, command, line
        self.expected = []


def read(path):
    cases, remarks = [], []
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        if line.startswith('$ '):
            cases.append(Case(remarks, line[2:], number))
            remarks = []
        elif line.startswith('# '):
            remarks.append(line)
        elif remarks and not line:
            remarks.append(line)
        elif cases:
            cases[-1].expected.append(line)
    return cases


def trimmed(lines):
    while lines and not lines[-1]:
        lines = lines[:-1]
    return lines


def answer(command, environment, folder):
    """The lines that a transcript has after the command."""
    result = subprocess.run(['bash', '-c', BASH + command], cwd=ROOT, env=environment,
                            stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    out, err = (raw.decode('utf-8', 'backslashreplace').replace(folder, '$T')
                for raw in (result.stdout, result.stderr))
    lines = out.split('\n') if out.endswith('\n') or not out else (out + '\\').split('\n')
    lines = trimmed(lines) + [f'! {line}' for line in trimmed(err.split('\n'))]
    if result.returncode != 0:
        lines.append(f'=> {result.returncode}')
    for pattern, alike in ALIKE:
        lines = [pattern.sub(alike, line) for line in lines]
    return lines


def show_difference(expected, got):
    for number in range(max(len(expected), len(got))):
        want = expected[number] if number < len(expected) else '(end)'
        have = got[number] if number < len(got) else '(end)'
        if want != have:
            print(f'  - {want}\n  + {have}')
            return


def main(ferrule, paths):
    accept = bool(os.environ.get('FERRULE_ACCEPT'))
    passed = failed = skipped = 0
    for path in map(Path, paths):
        cases = read(path)
        with tempfile.TemporaryDirectory(prefix='ferrule-') as folder:
            os.chmod(folder, 0o777)
            environment = {'PATH': f'{Path(ferrule).resolve().parent}:{os.environ["PATH"]}',
                           'LC_ALL': 'C.UTF-8', 'TERM': 'xterm', 'T': folder}
            needs = [line[9:] for case in cases[:1] for line in case.remarks
                     if line.startswith('# needs: ')]
            if any(answer(need, environment, folder)[-1:] not in ([], ['yes']) for need in needs):
                print(f'skipped: {path.name}: needs {needs}')
                skipped += len(cases)
                continue
            text = []
            for case in cases:
                got = answer(case.command, environment, folder)
                text += case.remarks + [f'$ {case.command}'] + got + ['']
                if accept:
                    continue
                if got == trimmed(case.expected):
                    passed += 1
                    continue
                failed += 1
                print(f'failed: {path.name}:{case.line}: {case.command}')
                show_difference(trimmed(case.expected), got)
            if accept:
                path.write_text('\n'.join(trimmed(text)) + '\n', encoding='utf-8')
    if accept:
        print('the transcripts were rewritten: read them')
        return 77
    print(f'{passed} passed, {failed} failed' + (f', {skipped} skipped' if skipped else ''))
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2:]))
