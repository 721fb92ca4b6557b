# SPDX-License-Identifier: Apache-2.0
"""`ferrule run --device cuda` on a GPU that is the host (host_gpu.cc): what is around the kernels.

  host_gpu_test.py FERRULE_HOST_GPU
"""
import json
import re
import sys

from run_tally import RunTally

TINY = 'tests/fixtures/tiny/qwen3_next_fp8'
WARNING = '''warning[FR905]: cuBLASLt was not made ready for 75 linears, e.g. `lm_head`: cuBLASLt does not start
  = effect: they ran by ferrule's own kernels: as right, and slower with many tokens
help: see that the GPU has memory left and that its driver is one for the CUDA of libcublasLt

'''
tests = RunTally(sys.argv[1], timeout=100)
check = tests.check


def run(*words):
    done = tests.run(TINY, '--device', 'cuda', *words)
    return done.returncode, done.stdout


for tp, linears in ((), 75), (('--tp', '2'), 150), (('--tp', '2', '--rank', '1'), 75):
    status, said = run('--check', '--tokens', '2', *tp)
    check(f'every linear agrees with the reference {tp}', status == 0 and said.endswith(
        f'ok: {linears} linears compared with the reference, bound 5e-04\n'), said)
    worst = [float(error) for error in re.findall(r'largest error (\S+)', said)]
    check('as the CPU does', len(worst) == 2 and max(worst) < 1e-5, said)
    check('nothing more is said', len(said.splitlines()) == 4 and re.search(
        r'^loaded 0\.00 GB in \S+ s, \S+ GB/s \(page cache \S+, PCIe \S+\)$', said, re.M), said)

status, said = run('--input', f'{TINY}/inputs.safetensors', '--expect', f'{TINY}/outputs.safetensors')
check('outputs are those recorded', status == 0 and 'FR905' not in said, said)

VISION = 'tests/fixtures/tiny/qwen3_5_fp8'
done = tests.run(VISION, '--device', 'cuda', '--check')
check('biases go to the GPU too', done.returncode == 0 and done.stdout.endswith(
    'ok: 31 linears compared with the reference, bound 5e-04\n'), done.stdout)
for words, without in (((), True), (('--bias',), False)):
    done = tests.run(VISION, '--device', 'cuda', '--input', f'{VISION}/inputs.safetensors', '--expect',
                     f'{VISION}/outputs.safetensors', *words)
    check(f'what is recorded without bias is met without {words}', (done.returncode == 0) == without, done.stdout)

status, said = run('--tokens', '64')
check('a cuBLASLt that fails is said once and is no error', status == 0 and WARNING in said and
      said.count('FR905') == 1 and said.endswith('ok: 75 linears run\n'), said)

status, said = run('--tokens', '64', '-f', 'json')
answer = json.loads(said)
check('in JSON too', status == 0 and [(f['code'], f['level']) for f in answer['findings']] == [('FR905', 'warning')] and
      answer['summary'] == {'errors': 0, 'warnings': 1, 'notes': 0, 'not_shown': 0, 'exit_code': 0}, said)

sys.exit(tests.close())
