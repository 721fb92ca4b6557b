# SPDX-License-Identifier: Apache-2.0
"""README.md of this folder against the tests that it names.

Every number from 1 to 112 has one row; every file, test, table row and transcript line that a row
names is there; every golden of checkpoints/ that begins with a number stands in the row of this
number. What a row names as a refusal has an error or a warning in its expected text.
The checks K1 to K13 each have codes that `ferrule explain` knows, and a test that shows each code.
"""
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent
LAST = 112
LAST_CHECK = 13


def problem_of(name):
    """What is wrong with one reference; '' when it leads somewhere."""
    path, _, text = name.partition(': ')
    if path.startswith('bad/') and not text:
        expected = TESTS / (path + '.expected')
        if not expected.is_file():
            return f'there is no tests/{path}.expected'
        if not (TESTS / path).is_dir() and not (TESTS / (path + '.yaml')).is_file():
            return f'there is no input for tests/{path}.expected'
        return ''
    if not (TESTS / path).is_file():
        return f'there is no file tests/{path}'
    source = (TESTS / path).read_text(encoding='utf-8')
    if path.endswith('.cc'):  # texts over several lines are one
        source = re.sub(r'"\s*\n\s*"', '', source)
    # A short text is a whole literal: `alias` alone would be found anywhere.
    if not text or (text if len(text) > 15 else f'"{text}"') not in source:
        return f'tests/{path} does not hold {text!r}'
    return ''


def refuses(name):
    path = TESTS / (name + '.expected')
    return not path.is_file() or re.search(r'^(error|warning)\[FR\d{3}\]|^  FAIL', path.read_text(),
                                           re.M)


def explained():
    """The codes of the engine that have a text of at least a sentence: FR301, …"""
    source = (TESTS.parent / 'engine/text/codes.def').read_text(encoding='utf-8')
    codes = re.findall(r'^FERRULE_CODE\((\d+), .*?"((?:[^"\\]|\\.)*)"\)$', source, re.M | re.S)
    return {f'FR{int(number):03}' for number, text in codes if len(text) > 40}


def checks(lines, known):
    """What is wrong with the table of checks, and how many tests it names."""
    wrong, rows, named = [], set(), 0
    for line in lines:
        row = re.match(r'\| K(\d+) \| (.+?) \| ([FR0-9, ]+) \| (.+) \|$', line)
        if not row:
            continue
        rows.add(int(row[1]))
        names = re.findall(r'`((?:[^`]|(?<=: )`)+)`', row[4])
        named += len(names)
        wrong += [f'K{row[1]}: {problem}' for problem in map(problem_of, names) if problem]
        goldens = [TESTS / (name + '.expected') for name in names]
        shown = ''.join(path.read_text(encoding='utf-8') for path in goldens if path.is_file())
        for code in row[3].split(', '):
            if code not in known:
                wrong.append(f'K{row[1]}: {code} has no explanation')
            if f'[{code}]' not in shown:
                wrong.append(f'K{row[1]}: no test of its row shows {code}')
    wrong += [f'K{number} has no row' for number in range(1, LAST_CHECK + 1) if number not in rows]
    return wrong, named


def main():
    wrong, rows = [], {}
    for line in (HERE / 'README.md').read_text(encoding='utf-8').splitlines():
        row = re.match(r'\| (\d+) \| (.+?) \| (.+) \|$', line)
        if not row:
            continue
        number, what, tests = int(row[1]), row[2], row[3]
        names = re.findall(r'`((?:[^`]|(?<=: )`)+)`', tests)
        if number in rows:
            wrong.append(f'{number} has two rows')
        if not names:
            wrong.append(f'{number} ({what}) has no test')
        rows[number] = names
        wrong += [f'{number}: {problem}' for problem in map(problem_of, names) if problem]
        if not re.search(r'taken|replicated|note', what + tests) and number not in (48, 49, 50, 103):
            if not any(refuses(name) for name in names):
                wrong.append(f'{number}: nothing is refused')
    wrong += [f'{number} has no row' for number in range(1, LAST + 1) if number not in rows]
    for folder in sorted((HERE / 'checkpoints').iterdir()):
        number = re.match(r'(\d{3})_', folder.name)
        if folder.is_dir() and number:
            name = f'bad/checkpoints/{folder.name}'
            if name not in rows.get(int(number[1]), []):
                wrong.append(f'{name} stands not in row {int(number[1])}')
    lines = (HERE / 'README.md').read_text(encoding='utf-8').splitlines()
    wrong_checks, named = checks(lines, explained())
    wrong += wrong_checks
    for problem in wrong:
        print(f'failed: {problem}')
    named += sum(map(len, rows.values()))
    print(f'{named - len(wrong)} passed, {len(wrong)} failed')
    return 1 if wrong or not rows else 0


if __name__ == '__main__':
    sys.exit(main())
