# SPDX-License-Identifier: Apache-2.0
"""What `ferrule export` writes, asked of the serving engines themselves.

    python3 tests/engines/exports_test.py build/cli/ferrule --sglang PYTHON --vllm PYTHON [DIR ...]

PYTHON is an interpreter for which the engine is installed, whole; no GPU is needed. For every fixture (or DIR) that
exports to the engine three things are tried: the patched description in a copy of the checkpoint's folder (`config`),
the untouched folder with the override as a shell and the engine's own parser read it (`args`), and the exported map in
the model's class (`mapping`). Each time the engine's own code makes its configuration and builds its model class, with
all layers, on the meta device. Every linear, experts and embedding layer must be what the checkpoint stores, and what
`plan --as` says of the same folder, name by name. Draft models are not built. Exit code 77: no engine was given.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import no_gpu

ROOT = Path(__file__).resolve().parents[2]
# The package that is installed, and the runtime files that describe what it does.
ENGINES = {'sglang': ['sglang@0.5.23'], 'vllm': ['vllm@0.32.0'],
           'transformers': ['transformers@5.23.0', 'compressed-tensors@0.20.0']}
FORMS = {'sglang': ['config', 'args', 'mapping'], 'vllm': ['config', 'args', 'mapping'], 'transformers': ['config']}
# What releases of a class have in config.json, and fixtures that transformers wrote anew leave out.
LEFT_OUT = {'Qwen3NextForCausalLM': {'full_attention_interval': 4}}
NEWER_GPU = ('Blackwell', 'Minimum capability: 100')  # what engines say when the GPU is too old for a method


class Engine:
    """An interpreter with the engine, asked through a pipe."""

    def __init__(self, name, python, capability):
        paths = [no_gpu.driver_folder(), os.environ.get('LD_LIBRARY_PATH', '')]
        environment = dict(os.environ, HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1', SGLANG_DISABLE_CUDNN_CHECK='1',
                           LD_LIBRARY_PATH=':'.join(path for path in paths if path))
        self.process = subprocess.Popen(
            [python, '-B', str(Path(__file__).with_name('child.py')), name, capability], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.version = self.line('ready')

    def line(self, word):  # packages print what they like
        for line in self.process.stdout:
            if line.startswith(word + ' '):
                return line[len(word) + 1:].strip()
        return None

    def ask(self, directory, words, mapping):
        self.process.stdin.write(json.dumps({'directory': directory, 'words': words, 'mapping': mapping}) + '\n')
        self.process.stdin.flush()
        text = self.line('answer')
        return json.loads(text) if text else {'refused': 'it ended'}

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Ferrule:
    def __init__(self, program):
        self.program = program

    def document(self, *words):
        done = subprocess.run([self.program, '-f', 'json', *words], capture_output=True, text=True, check=False)
        return json.loads(done.stdout)

    def export(self, directory, to, form):
        """(document, why not)"""
        found = self.document('export', directory, '--to', to, '--form', form)
        if 'text' in found:
            return found, ''
        return None, found['findings'][0]['message'] if found['findings'] else 'no text'

    def modules(self, directory, to):
        """Name → (what the engine would do, what is stored), draft layers left out."""
        planned = self.document('plan', directory, '--as', to, '--expand').get('as')
        return {module['name']: (module['result'], module['stored']) for module in planned['modules']
                if not module['draft']} if planned else {}


def copy(directory, to):
    """The folder as a checkpoint has it: a description that a fixture keeps apart stands in config.json."""
    to.mkdir()
    for path in Path(directory).iterdir():
        if not path.name.endswith('config.json'):
            (to / path.name).symlink_to(path.resolve())
        elif path.name != 'quantization_config.json':
            shutil.copy(path, to / path.name)
    config = json.loads((to / 'config.json').read_text(encoding='utf-8'))
    for key, value in LEFT_OUT.get(config.get('architectures', [''])[0], {}).items():
        config.setdefault(key, value)
    apart = Path(directory) / 'quantization_config.json'
    if apart.exists():
        config['quantization_config'] = json.loads(apart.read_text(encoding='utf-8'))
    (to / 'config.json').write_text(json.dumps(config, indent=2), encoding='utf-8')
    return str(to)


def patch(directory, found):
    """Puts the exported description where it belongs."""
    path = Path(directory) / found['file']
    config = json.loads(path.read_text(encoding='utf-8'))
    *above, last = found['place'].strip('/').split('/')
    below = config
    for key in above:
        below = below[key]
    below[last] = json.loads(found['text'])
    path.write_text(json.dumps(config, indent=2), encoding='utf-8')


def shell_words(text):
    """The words that a shell makes of a line."""
    with tempfile.NamedTemporaryFile('w', suffix='.sh') as script:
        script.write(f"printf '%s\\0' {text}")
        script.flush()
        done = subprocess.run(['sh', script.name], capture_output=True, text=True, check=True)
    return done.stdout.split('\0')[:-1]


def scheme(result):
    return result if result in ('quant', 'error', 'widened') else 'bf16'


def compare(layers, planned, stored):
    """What the engine does otherwise than is stored, and otherwise than `plan --as` says."""
    wrong, emulated = Counter(), Counter()
    seen = set()
    for name, result, method in layers:
        seen.add(name)
        if name not in planned:
            if result != 'none':  # heads and embeddings that the class builds without asking
                emulated[f'{template(name)}: {result} ({method}), which the plan does not name'] += 1
            continue
        if scheme(planned[name][0]) != scheme('skip' if result == 'widened' else result):
            emulated[f'{template(name)}: {result} ({method}), in the plan {planned[name][0]}'] += 1
        found = stored.get(name, (None, None))[1]
        right = ('bf16',) if found == 'bf16' else ('quant', 'widened')  # by the loader: what is stored is read rightly
        if found is not None and scheme(result) not in right:
            wrong[f'{template(name)}: {result} ({method}), stored {found}'] += 1
    for name, (result, _) in planned.items():
        if name not in seen and result != 'none':
            emulated[f'{template(name)}: not built, in the plan {result}'] += 1
    for name, (_, found) in stored.items():
        if name not in seen and found not in (None, 'bf16'):
            wrong[f'{template(name)}: not built, stored {found}'] += 1
    return wrong, emulated


def template(name):
    return '.'.join('{}' if part.isdigit() else part for part in name.split('.'))


def directories(given):
    roots = [ROOT / 'tests/fixtures', ROOT / 'tests/fixtures/quant', ROOT / 'tests/fixtures/tiny']
    return given or sorted(str(path.parent) for root in roots for path in root.glob('*/config.json'))


class Run:
    def __init__(self, options):
        self.ferrule, self.options = Ferrule(options.ferrule), options
        self.counts, self.whys, self.engines = Counter(), Counter(), {}

    def engine(self, name, to):
        for directory in directories(self.options.directories):
            with tempfile.TemporaryDirectory() as folder:
                original = copy(directory, Path(folder) / 'original')
                stored = None
                for form in [form for form in FORMS[name] if form in self.options.forms.split(',')]:
                    found, why = self.ferrule.export(original, to, form)
                    if found is None:
                        self.counts[f'{to} {form}: no export'] += 1
                        self.whys[f'{to} {form}: no export: {why}'] += 1
                        continue
                    stored = stored or self.ferrule.modules(original, to)
                    place = copy(original, Path(folder) / form)
                    what = f'{to} {form} {os.path.relpath(directory, ROOT)}'
                    self.one(name, to, form, found, stored, place, what)

    def ask(self, name, place, words, mapping):
        """Of an engine that sees a Hopper GPU; where that one is too old for a layer, of one that sees the next."""
        answer = {}
        for capability in ('9.0', '10.0'):
            key = (name, capability)
            if key not in self.engines:
                self.engines[key] = Engine(name, getattr(self.options, name), capability)
                print(f'{name} {self.engines[key].version}, as on a GPU of {capability}', flush=True)
            if self.engines[key].version is None:
                return {'refused': f'{getattr(self.options, name)} cannot import it'}
            answer = self.engines[key].ask(place, words, mapping)
            if not any(word in json.dumps(answer) for word in NEWER_GPU):
                break
        return answer

    def one(self, name, to, form, found, stored, place, what):
        start = time.monotonic()
        words, mapping = [], None
        if form == 'config':
            patch(place, found)
        elif form == 'args':
            words = shell_words(found['text'])
        else:
            mapping = json.loads(found['text'].split('=', 1)[1].replace(',\n}', '\n}'))
        planned = self.ferrule.modules(place, to) if form == 'config' else stored
        answer = self.ask(name, place, words, mapping)
        if 'refused' in answer:
            self.counts[f'{to} {form}: not built'] += 1
            print(f'{what}: not built: {answer["refused"]}', flush=True)
            return
        wrong, emulated = compare(answer['layers'], planned, stored)
        if form != 'config':
            emulated = Counter()  # `plan --as` knows nothing of what stands on a command line
        good = not wrong and not emulated and len(answer['layers']) > 0
        self.counts['passed' if good else 'failed'] += 1
        self.counts[f'{to} {form}: {"as stored" if good else "otherwise"}'] += 1
        self.counts[f'{to} {form}: layers'] += len(answer['layers'])
        print(f'{what}: {answer["class"]}, {answer["config"]}: {len(answer["layers"])} layers, {sum(wrong.values())} '
              f'not as stored, {sum(emulated.values())} not as planned, {time.monotonic() - start:.0f} s', flush=True)
        for text, count in [*wrong.items(), *emulated.items()]:
            print(f'    {count} x {text}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('ferrule')
    for name in ENGINES:
        parser.add_argument(f'--{name}', default=os.environ.get(f'FERRULE_{name.upper()}', ''))
    parser.add_argument('--forms', default='config,args,mapping')
    parser.add_argument('directories', nargs='*')
    options = parser.parse_intermixed_args()
    run = Run(options)
    given = [name for name in ENGINES if getattr(options, name)]
    for name in ENGINES:
        if name in given:
            for to in ENGINES[name]:
                run.engine(name, to)
        else:
            print(f'{name}: skipped, --{name} PYTHON or FERRULE_{name.upper()} names an interpreter that has it')
    if not given:
        return 77
    for engine in run.engines.values():
        engine.close()
    for what in sorted(set(run.counts) - {'passed', 'failed'}):
        print(f'{run.counts[what]:>8} {what}')
    for why in sorted(run.whys):
        print(f'{run.whys[why]:>8} {why}')
    print(f'{run.counts["passed"]} passed, {run.counts["failed"]} failed')
    return int(run.counts['failed'] > 0 or run.counts['passed'] == 0)


if __name__ == '__main__':
    sys.exit(main())
