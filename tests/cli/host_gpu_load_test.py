# SPDX-License-Identifier: Apache-2.0
"""Loading to a GPU that is the host (host_gpu.cc): its memory, its limits, what a terminal shows.

  host_gpu_load_test.py FERRULE_HOST_GPU
"""
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from run_tally import ROOT, RunTally

TINY = 'tests/fixtures/tiny/qwen3_next_fp8'
SLOW = {'HOST_GPU_COPY_MS': '20'}  # there are more than a hundred copies
tests = RunTally(sys.argv[1], timeout=100)
check = tests.check


def start(words, environment, **streams):
    return subprocess.Popen([tests.ferrule, *words], cwd=ROOT, env={**os.environ, **environment}, **streams)


def run(*words, **environment):
    """Status, standard output, standard error; both are pipes."""
    with start(words, environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        said, errors = process.communicate(timeout=100)
    return process.returncode, said, errors


def on_terminal(*words, both=False, **environment):
    """Status and what a terminal gets: standard error, with `both` standard output too."""
    terminal, inside = pty.openpty()
    with start(words, environment, stdout=inside if both else subprocess.DEVNULL, stderr=inside) as process:
        os.close(inside)
        said = b''
        try:
            while piece := os.read(terminal, 65536):
                said += piece
        except OSError:  # how Linux says that nobody writes any more
            pass
        process.wait(timeout=100)
    os.close(terminal)
    return process.returncode, said.decode()


def memory(folder):
    for readers in (1, 8, 16, 64):
        report = folder / 'report'
        status, said, _ = run('bench', '--load', TINY, '--readers', str(readers), '--commit', 'a build',
                              HOST_GPU_REPORT=str(report))
        most = int(report.read_text())
        wanted = readers * 2 * (8 << 20)
        check(f'{readers} readers: {most} bytes are pinned', status == 0 and most <= 240e6 and
              (most == wanted if readers <= 8 else most % (readers * (2 << 20)) == 0 and
               most + readers * ((2 << 20) + (512 << 10)) > 240e6), said)
        row = dict(zip(*(line.split('\t') for line in said.splitlines() if line[0] != '#')))
        check('where and when is above', re.match(
            r'# ferrule \d+\.\d+\.\d+ a build, \d{4}-\d\d-\d\d, this host, CUDA 12\.34.*\nreaders\t', said), said)
        check('and the table says so', row['readers'] == str(readers) and
              row['pinned_MB'] == f'{most / 1e6:.0f}' and float(row['host_MB']) < 256, said)


def limits():
    status, said, _ = run('run', TINY, '--device', 'cuda', HOST_GPU_MB='24')
    check('limits that cannot be measured do not end a run', status == 0 and re.search(
        r'^loaded 0\.00 GB in \S+ s, \S+ GB/s \(limits not measured: no memory to measure the copying: '
        r'out of memory\)$', said, re.M) and said.endswith('ok: 75 linears run\n'), said)
    status, said, _ = run('bench', '--load', TINY, HOST_GPU_MB='24')
    check('a benchmark of them ends', status == 3 and 'no memory to measure the copying' in said, said)


def bar():
    for words in (('bench', '--load', TINY, '--readers', '1'), ('run', TINY, '--device', 'cuda')):
        environment = {'HOST_GPU_COPY_MS': '20' if words[0] == 'bench' else '100'}
        _, said = on_terminal(*words, **environment)
        loading = said.split('\r\n')[0]
        parts = [len(marks) for marks in re.findall(r'\rloading \[(#*) *\] 0\.0 of 0\.0 GB', loading)]
        check(f'a terminal sees how far {words[0]} is', len(parts) > 3 and parts == sorted(parts) and
              parts[-1] == 30, said)
        check('in one line, which ends', re.fullmatch(r'(\rloading \[#* *\] 0\.0 of 0\.0 GB)+', loading) and
              said.endswith('\r\n'), said)
        status, _, errors = run(*words, **environment)
        check(f'a pipe sees nothing of {words[0]}', status == 0 and errors == '', errors)
    for _ in range(10):
        begin = time.monotonic()
        status, said = on_terminal('bench', '--load', TINY)
        if time.monotonic() - begin < 0.5:  # a busy machine may take longer, and then it may show something
            check('nothing is shown of what is quick', status == 0 and said == '', said)
            break


def error(folder):
    broken = folder / 'broken'
    shutil.copytree(ROOT / TINY, broken)
    for path in broken.glob('model-*.safetensors'):
        raw = bytearray(path.read_bytes())
        size = struct.unpack('<Q', raw[:8])[0]
        header = json.loads(raw[8:8 + size])
        for name, entry in header.items():
            if name.startswith('model.layers.3.') and name.endswith('down_proj.weight_scale_inv'):
                begin = 8 + size + entry['data_offsets'][0]
                raw[begin:begin + 4] = bytes(4)
        path.write_bytes(raw)
    status, said = on_terminal('bench', '--load', str(broken), '--readers', '1', both=True, **SLOW)
    check('an error has a line of its own', status == 1 and
          re.search(r'\rloading \[#* *\] 0\.0 of 0\.0 GB\r\n(\S*error\[|\x1b\S*error)', said), said)


with tempfile.TemporaryDirectory(prefix='ferrule-') as scratch:
    memory(Path(scratch))
    limits()
    bar()
    error(Path(scratch))
sys.exit(tests.close())
