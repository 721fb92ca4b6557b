# SPDX-License-Identifier: Apache-2.0
"""`bench --peers --python`: the interpreter is started, asked and heard. Its packages need a GPU; without one each says what is
missing.

  bench_packages_test.py FERRULE_BENCH_PACKAGES [PYTHON]

PYTHON: an interpreter that has SGLang, FlashInfer and torch.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from run_tally import RunTally

NAMES = ['sglang deepgemm', 'sglang triton', 'flashinfer']
tests = RunTally(sys.argv[1])
check = tests.check


def hear(python):
    done = subprocess.run([tests.ferrule, str(python)], capture_output=True, text=True, timeout=300, check=False)
    lines = done.stdout.splitlines()
    return done.returncode, [line[len('heard: '):] for line in lines[:-1]], lines[-1]


def script(folder, text):
    path = Path(folder) / 'python'
    path.write_text('#!/bin/sh\n' + text, encoding='utf-8')
    path.chmod(0o755)
    return path


status, heard, end = hear(sys.executable)
check('it ends well without a GPU', (status, end) == (0, 'good'), str(heard))
check('each package says why it is not there', [line.split(':')[0] for line in heard] == [f'# peer {name}' for name in NAMES] and
      all(': not there: ' in line for line in heard), str(heard))
with tempfile.TemporaryDirectory() as folder:
    status, heard, end = hear(script(folder, 'cat\n'))
    check('the request says what is to be timed', status == 0 and json.loads('\n'.join(heard)) == {'heat_ms': 250, 'cells': [
        {'name': 'a "name"\tof\\it', 'tokens': 3, 'in': 2048, 'rows': 1024, 'copies': 5},
        {'name': '\u00ff', 'tokens': 4096, 'in': 128, 'rows': 7, 'copies': 1}]}, str(heard))
    status, heard, end = hear(script(folder, '[ "$1" = -c ] && python3 -c "import ast, sys; ast.parse(sys.argv[1])" "$2" && echo parsed\n'))
    check('the program is Python', (status, heard, end) == (0, ['parsed'], 'good'), f'{heard} {end}')
    status, heard, end = hear(script(folder, "printf 'one\\n\\ntwo'; exit 3\n"))
    check('what is said before it fails is heard', (status, heard, end) == (1, ['one', '', 'two'], 'it ended with status 3'), f'{heard} {end}')
    status, heard, end = hear(script(folder, 'kill -9 $$\n'))
    check('a signal is told', (status, heard, end) == (1, [], 'signal 9 ended it'), f'{heard} {end}')
    status, heard, end = hear(Path(folder) / 'nothing')
    check('no interpreter is told', (status, heard, end) == (1, [], 'No such file or directory'), f'{heard} {end}')
if len(sys.argv) > 2:
    status, heard, end = hear(sys.argv[2])
    check('with the packages, a GPU is what is missing', end == 'good' and
          heard == [f'# peer {name}: not there: RuntimeError: torch sees no GPU' for name in NAMES], str(heard))
sys.exit(tests.close())
