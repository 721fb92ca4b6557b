# SPDX-License-Identifier: Apache-2.0
"""What the READMEs quote is what ferrule prints.

  readme_test.py FERRULE

In README.md and examples/*/README.md a line `$ ferrule …` is run from the root of the repository;
the lines below it, up to the end of the block or the next command, must be printed whole and in
this order. A line `…` stands for lines left out. Every command and option of --help is described.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = re.compile(r'(?<= in )\d+\.\d\d(?= s\b)')


def output(ferrule, words):
    done = subprocess.run(['bash', '-c', f'"$0" {words}', ferrule], cwd=ROOT, text=True,
                          capture_output=True, timeout=120, check=False)
    return SECONDS.sub('0.00', done.stdout + done.stderr).splitlines()


def quotes(path):
    """(line number, words after `ferrule`, quoted lines) of each command."""
    found, block = [], None  # what opened the block: ``` and perhaps a language
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        inside = block == '```'
        if line.startswith('```'):
            block = line if block is None else None
        elif inside and line.startswith('$ ferrule '):
            found.append((number, line[len('$ ferrule '):].split('  #')[0], []))
        elif inside and line.startswith('$ '):
            found.append((number, None, []))
        elif inside and found:
            found[-1][2].append(SECONDS.sub('0.00', line))
    return [(number, words, trimmed(lines)) for number, words, lines in found if words]


def trimmed(lines):
    while lines and not lines[-1]:
        lines = lines[:-1]
    return lines


def first_missing(quoted, printed):
    """The first quoted line that is not printed where it should be; None when all are."""
    at, anywhere = 0, False
    for line in quoted:
        if line == '…':
            anywhere = True
            continue
        if anywhere:
            while at < len(printed) and printed[at] != line:
                at += 1
        if at >= len(printed) or printed[at] != line:
            return line
        at, anywhere = at + 1, False
    if not anywhere and trimmed(printed[at:]):
        return f'(end); printed is {printed[at]!r}'
    return None


def described(ferrule, readme):
    """Commands and options of --help that README.md does not mention."""
    listed = [line.split()[0] for line in output(ferrule, '--help')
              if re.match(r'  [a-z]+ +[a-z]', line)]
    missing = [name for name in listed if f'`ferrule {name}' not in readme]
    for name in [''] + listed:
        options = re.findall(r'--[a-z]+', '\n'.join(output(ferrule, f'{name} --help')))
        missing += [f'{name} {option}' for option in options
                    if option not in readme and option != '--help']
    return missing, listed


def main(ferrule):
    ferrule = str(Path(ferrule).resolve())
    passed = failed = 0
    for path in [ROOT / 'README.md', *sorted(ROOT.glob('examples/*/README.md'))]:
        quoting = quotes(path)
        if path == ROOT / 'README.md':
            passed, failed = passed + bool(quoting), failed + (not quoting)
            if not quoting:
                print('failed: README.md quotes a command')
        for number, words, quoted in quoting:
            missing = first_missing(quoted, output(ferrule, words))
            passed, failed = passed + (missing is None), failed + (missing is not None)
            if missing is not None:
                print(f'failed: {path.relative_to(ROOT)}:{number}: ferrule {words}')
                print(f'  not printed there: {missing}')
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    missing, listed = described(ferrule, readme)
    good = not missing and len(listed) >= 5
    passed, failed = passed + good, failed + (not good)
    if not good:
        print(f'failed: README.md describes every command and option\n  {missing} of {listed}')
    for folder in sorted(p for p in (ROOT / 'examples').iterdir() if p.is_dir()):
        good = (folder / 'README.md').is_file()
        passed, failed = passed + good, failed + (not good)
        if not good:
            print(f'failed: {folder.name} has a README.md')
    print(f'{passed} passed, {failed} failed')
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
