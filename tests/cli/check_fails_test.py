# SPDX-License-Identifier: Apache-2.0
"""`ferrule run --check` with a fast path that is wrong on purpose (wrong_kernel.cc).

  check_fails_test.py FERRULE_WRONG_KERNEL
"""
import json
import re
import sys

from run_tally import RunTally

TINY = 'tests/fixtures/tiny/qwen3_next_fp8'
tests = RunTally(sys.argv[1], timeout=100)
check = tests.check


def run(*words):
    return tests.run(TINY, *words)


# Just within the bound, and just above it.
done = run('--check', '--tokens', '1')
worst = re.search(r'^fp8_block .* largest error (\S+)', done.stdout, re.M)
check('9e-6 is within the bound', done.returncode == 0 and worst and
      8.5e-6 < float(worst[1]) < 1e-5 and 'ok: ' in done.stdout, done.stdout)

done = run('--check', '--tokens', '2')
said = re.search(r'error\[FR506\]: fp8_block differs from the reference by (\S+) at `(\S+)`; '
                 r'the bound is 1e-05$', done.stdout, re.M)
check('1.1e-5 is above it', done.returncode == 1 and said and 1e-5 < float(said[1]) < 1.2e-5,
      done.stdout)
check('the module is named as the one that ran', said and
      re.match(r'(model|mtp)\.layers\.\d+\.', said[2]), done.stdout)
check('the scheme that is right is not blamed', 'bf16 differs' not in done.stdout and
      re.search(r'^bf16 .* largest error \d', done.stdout, re.M), done.stdout)
check('the last line says failed', done.stdout.splitlines()[-1].startswith('failed: '), done.stdout)

done = run('--check', '--tokens', '2', '-f', 'json')
answer = json.loads(done.stdout)
check('in JSON too', done.returncode == 1 and answer['summary']['exit_code'] == 1 and
      [f['code'] for f in answer['findings']] == ['FR506'] and
      float(answer['schemes']['fp8_block']['largest_error']) > 1e-5, done.stdout)

done = run('--check', '--tokens', '3')
check('NaN is above every bound', done.returncode == 1 and
      'fp8_block differs from the reference by nan' in done.stdout, done.stdout)

done = run('--check', '--tokens', '2', '--tp', '2')
check('of ranks too', done.returncode == 1 and 'FR506' in done.stdout, done.stdout)

done = run('--tokens', '2')
check('without --check nothing is compared', done.returncode == 0, done.stdout)

sys.exit(tests.close())
