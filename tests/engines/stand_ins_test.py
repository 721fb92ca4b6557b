# SPDX-License-Identifier: Apache-2.0
"""Tests of tests/engines/stand_ins.py, and that tests/bench/engines_bench.py gets at an engine's function with them."""
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

from stand_ins import StandIns

BENCH = Path(__file__).parents[1] / 'bench' / 'engines_bench.py'
# As in the engines: what their own package and others import is not there.
PACKAGE = 'from kernels_of_no_machine import fast\n'
FILE = '''import kernels_of_no_machine.deep as deep
from kernels_of_no_machine.types import Type
from sglang.srt.other import helper
def is_layer_skipped(prefix, ignored, fused_mapping={}):
    return prefix in ignored
'''


def one_package_alone():
    finder = StandIns('kernels_of_no_machine')
    sys.meta_path.insert(0, finder)
    try:
        below = importlib.import_module('kernels_of_no_machine.deep.er')
        below.any_name(1).of_it
        from kernels_of_no_machine.other import Type
        assert Type is not None
        assert importlib.import_module('json').loads('[1]') == [1]
        try:
            importlib.import_module('kernels_of_no_other_machine')
        except ImportError:
            return
        raise AssertionError('another package was there too')
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.startswith('kernels_of_no_machine')]:
            del sys.modules[name]


def an_engine_without_what_it_imports():
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'sglang/srt/layers/quantization/utils.py'
        file.parent.mkdir(parents=True)
        file.write_text(FILE, encoding='utf-8')
        (Path(folder) / 'sglang/__init__.py').write_text(PACKAGE, encoding='utf-8')
        answer = subprocess.run([sys.executable, '-B', BENCH, '--child', 'sglang'], input='model.layers.0.mlp.gate\nmlp.gate', text=True,
                                capture_output=True, env={'PYTHONPATH': folder}, check=False)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.endswith('["model.layers.0.mlp.gate"], "file alone"]\n'), answer.stdout


def main():
    failures = 0
    cases = [one_package_alone, an_engine_without_what_it_imports]
    for case in cases:
        try:
            case()
        except Exception as error:  # whatever it is, the case has failed
            failures += 1
            print(f'failed: {case.__name__}\n  {type(error).__name__}: {error}')
    print(f'{len(cases) - failures} passed, {failures} failed')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
