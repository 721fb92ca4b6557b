# SPDX-License-Identifier: Apache-2.0
"""One decision here beside the serving engines' own Python functions, in the same run.

    python3 tests/bench/engines_bench.py build/tests/decision_bench --sglang PYTHON --vllm PYTHON

PYTHON is an interpreter in whose environment the engine is installed (`pip install --no-deps sglang`
is enough). `is_layer_skipped` is the engine's own, read from its installed file; where importing the
package fails, the file is loaded alone, and what it imports besides the standard library (torch, kernels) is
replaced by empty stand-ins, which the function does not use. Asked are the names of the linears that a
server builds for Qwen3-Next-80B-A3B-Instruct-FP8, against that checkpoint's list; processor time.
"""
import argparse
import importlib
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / 'engines'))
from stand_ins import StandIns  # noqa: E402

CONFIG = Path(__file__).parents[2] / 'examples' / 'qwen3_next_fp8' / 'config.json'
FILES = {'sglang': 'sglang/srt/layers/quantization/utils.py',
         'vllm': 'vllm/model_executor/layers/quantization/utils/quant_utils.py'}
GOALS = {'sglang': 1000, 'vllm': 100}
# What both engines register for this model.
FUSED = {'qkv_proj': ['q_proj', 'k_proj', 'v_proj'], 'gate_up_proj': ['gate_proj', 'up_proj']}


def load(engine):
    """(is_layer_skipped, how it was loaded) of an installed engine."""
    for directory in sys.path:
        file = Path(directory) / FILES[engine]
        if file.is_file():
            break
    else:
        raise ImportError(f'{FILES[engine]} is not installed for {sys.executable}')
    name = FILES[engine][:-len('.py')].replace('/', '.')
    try:
        return importlib.import_module(name).is_layer_skipped, 'package'
    except Exception:  # an engine's imports fail in every way there is
        for known in [known for known in sys.modules if known.split('.')[0] == engine]:
            del sys.modules[known]
    sys.meta_path.append(StandIns())
    sys.modules[engine] = importlib.util.module_from_spec(StandIns().find_spec(engine))
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module.is_layer_skipped, 'file alone'


def child(engine):
    """In the engine's interpreter: names on stdin; microseconds, the names skipped and how on stdout."""
    function, how = load(engine)
    names = sys.stdin.read().split()
    skipped = json.load(open(CONFIG, encoding='utf-8'))['quantization_config']['modules_to_not_convert']
    times = []
    for _ in range(7):
        start = time.process_time()
        answers = [function(name, skipped, FUSED) for name in names]
        times.append((time.process_time() - start) / len(names))
    print(json.dumps([1e6 * min(times), [name for name, found in zip(names, answers) if found], how]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('decision_bench', nargs='?', help='build/tests/decision_bench')
    for engine in FILES:
        parser.add_argument('--' + engine, metavar='PYTHON', help='an interpreter that has it')
    parser.add_argument('--child', choices=FILES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return child(arguments.child)
    if not arguments.decision_bench:
        parser.error('name the program that answers for ferrule: build/tests/decision_bench')
    runs = [json.loads(subprocess.run([arguments.decision_bench, 'served'], check=True, text=True,
                                      stdout=subprocess.PIPE).stdout) for _ in range(5)]
    names, own = runs[0]['names'], statistics.median(run['ns'] for run in runs)
    print(f'is this linear quantized? {len(names)} names of a server, Qwen3-Next-80B-A3B-Instruct-FP8')
    print(f'  ferrule  {own:9.1f} ns, {len(runs[0]["skipped"])} not quantized')
    wrong = 0
    for engine in FILES:
        python = getattr(arguments, engine)
        answer = python and subprocess.run([python, '-B', __file__, '--child', engine], input='\n'.join(names),
                                           text=True, capture_output=True)
        if not answer or answer.returncode != 0:
            reason = (answer.stderr.strip().splitlines() or ['no message'])[-1] if answer else 'no interpreter named'
            print(f'  {engine:<8} not importable: skipped ({reason})')
            continue
        micro, found, how = json.loads(answer.stdout.splitlines()[-1])
        ratio, other = 1000 * micro / own, set(found) ^ set(runs[0]['skipped'])
        wrong += len(other)
        print(f'  {engine:<8} {1000 * micro:9.0f} ns, {len(found)} not quantized ({how}): {ratio:.0f} times as long, '
              f'goal {GOALS[engine]}: {"met" if ratio >= GOALS[engine] else "MISSED"}')
        print(f'           {len(other)} names are answered otherwise{": " + min(other) if other else ""}')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
