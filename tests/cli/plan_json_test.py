# SPDX-License-Identifier: Apache-2.0
"""`ferrule plan -f json` has every key with the right type, and names what is stored.

  plan_json_test.py FERRULE

Names, shapes and schemes of the expanded plan are compared with the listing itself (tensors.json or
safetensors headers), read here by Python.
"""
import json
import re
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / 'tests' / 'fixtures'
SCHEMES = {'bf16', 'fp8_block', 'fp8_tensor', 'fp8_channel'}
SHA = re.compile('[0-9a-f]{64}')
# (fixture, also expanded)
CASES = [('qwen3_next_80b_fp8', False), ('qwen3_5_27b_fp8', True), ('qwen3_5_27b', True),
         ('qwen3_8b_fp8', True), ('qwen3_30b_a3b_fp8', True), ('deepseek_v3', False),
         ('glm_4_5_fp8', False), ('tiny/qwen3_next_fp8', True), ('tiny/qwen3_5_fp8', True),
         ('llama_3_1_8b', True), ('qwen3_8_2400b_a95b_fp8', False), ('kimi_k2', False)]


def listing(folder):
    """name → (dtype, shape), or None without headers."""
    tensors = {}
    if (folder / 'tensors.json').exists():
        for entry in json.loads((folder / 'tensors.json').read_text())['tensors']:
            for layer in entry.get('L', [None]):
                for expert in range(entry['E']) if 'E' in entry else [None]:
                    name = entry['name'].replace('{L}', str(layer)).replace('{E}', str(expert))
                    tensors[name] = (entry['dtype'], entry['shape'])
        return tensors
    for path in folder.glob('model*.safetensors'):
        raw = path.read_bytes()
        header = json.loads(raw[8:8 + struct.unpack('<Q', raw[:8])[0]])
        tensors.update({name: (entry['dtype'], entry['shape']) for name, entry in header.items()
                        if name != '__metadata__'})
    return tensors or None


def text(value):
    return isinstance(value, str) and value != ''


def maybe(kind):
    return lambda value: value is None or kind(value)


def number(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def numbers(value):
    return isinstance(value, list) and all(map(number, value))


def pair(value):
    return numbers(value) and len(value) == 2 and value[0] <= value[1]


def shard(value):
    return (isinstance(value, dict) and set(value) == {'shape', 'rows', 'cols'} and
            numbers(value['shape']) and len(value['shape']) in (2, 3) and
            isinstance(value['rows'], list) and all(map(pair, value['rows'])) and
            pair(value['cols']) and
            value['shape'][-2] == sum(end - begin for begin, end in value['rows']) and
            value['shape'][-1] == value['cols'][1] - value['cols'][0])


def layout(value):
    return (isinstance(value, dict) and text(value['declared']) and value['verified'] is False and
            isinstance(value['slices'], list) and len(value['slices']) > 1)


TOP = {'schema_version': lambda v: v == 1, 'tool': lambda v: v['name'] == 'ferrule',
       'command': lambda v: v == 'plan', 'model': text, 'model_type': text, 'tp': number,
       'rules': text, 'rules_sha': SHA.fullmatch, 'plan_sha': SHA.fullmatch,
       'headers': lambda v: isinstance(v, bool),
       'schemes': lambda v: isinstance(v, dict) and all(map(number, v.values())),
       'modules': lambda v: isinstance(v, list) and len(v) > 0,
       'findings': lambda v: isinstance(v, list), 'summary': lambda v: number(v['exit_code'])}
MODULE = {'name': text, 'kind': lambda v: v in ('rows', 'unified', 'fused'),
          'parts': lambda v: isinstance(v, list) and all(map(text, v)),
          'claim': maybe(lambda v: v in SCHEMES), 'stored': maybe(lambda v: v in SCHEMES),
          'scheme': maybe(lambda v: v in SCHEMES), 'dtype': maybe(text),
          'block': maybe(lambda v: numbers(v) and len(v) == 2),
          'shape': lambda v: numbers(v) and len(v) in (2, 3),
          'split': lambda v: v in ('column', 'row', 'none'),
          'per_rank': lambda v: isinstance(v, list) and all(map(shard, v)),
          'layout': maybe(layout), 'why': lambda v: isinstance(v, dict)}
GROUPED = {'count': lambda v: number(v) and v > 0,
           'indices': lambda v: isinstance(v, dict) and all(map(numbers, v.values()))}
WHY = {'rule_file': text, 'rule_line': lambda v: number(v) and v > 0, 'dialect': maybe(text),
       'reason': text, 'list': maybe(text), 'entry': maybe(text), 'entry_index': maybe(number),
       'match': maybe(text), 'via': maybe(text), 'tensor': maybe(text), 'file': maybe(text)}
FINDING = {'code': re.compile(r'FR\d{3}').fullmatch, 'slug': re.compile('[a-z0-9-]+').fullmatch,
           'level': lambda v: v in ('error', 'warning', 'note'), 'message': text,
           'location': maybe(lambda v: isinstance(v, dict) and text(v['file']))}


def wrong_keys(what, value, schema):
    missing = [key for key in schema if key not in value]
    return [f'{what}: {key} is missing' for key in missing] + [
        f'{what}: {key} is {value[key]!r}' for key, good in schema.items()
        if key not in missing and not good(value[key])]


def wrong_plan(plan, tp, grouped, has_headers):
    wrong = wrong_keys('plan', plan, TOP)
    if wrong:
        return wrong
    if plan['tp'] != tp or plan['headers'] != has_headers:
        wrong.append(f"tp {plan['tp']}, headers {plan['headers']}")
    for module in plan['modules']:
        name = module.get('name', '?')
        wrong += wrong_keys(name, module, MODULE | (GROUPED if grouped else {}))
        wrong += wrong_keys(f'{name}: why', module['why'], WHY)
        if grouped and ('<' in name) != bool(module['indices']):
            wrong.append(f'{name}: indices {module["indices"]}')
        if not grouped and ('<' in name or 'count' in module):
            wrong.append(f'{name} is not concrete')
        if not has_headers and (module['stored'] is not None or module['why']['tensor']):
            wrong.append(f'{name}: stored without headers')
        if (module['kind'] == 'fused') != (len(module['parts']) > 1):
            wrong.append(f'{name}: parts {module["parts"]}')
        if module['block'] and module['scheme'] != 'fp8_block':
            wrong.append(f'{name}: block of {module["scheme"]}')
        if len(module['per_rank']) not in (tp, 0):
            wrong.append(f'{name}: {len(module["per_rank"])} ranks')
        if not module['per_rank'] and not plan['summary']['errors']:
            wrong.append(f'{name}: no ranks, and no error says why')
        if (module['why']['entry'] is None) != (module['why']['entry_index'] is None):
            wrong.append(f'{name}: entry without index')
    for finding in plan['findings']:
        wrong += wrong_keys('finding', finding, FINDING)
    return wrong


def wrong_names(plan, stored):
    """The expanded plan against the listing."""
    wrong, modules = [], {module['name']: module for module in plan['modules']}
    if len(modules) != len(plan['modules']):
        wrong.append('a name stands twice')
    for name, module in modules.items():
        tensor = stored.get(f'{name}.weight') or stored.get(name)
        if module['kind'] == 'fused':
            if tensor:
                wrong.append(f'{name} is fused and stored')
            if not all(part in modules for part in module['parts']):
                wrong.append(f'{name}: parts {module["parts"]} are no modules')
            if module['shape'][0] != sum(modules[part]['shape'][0] for part in module['parts']):
                wrong.append(f'{name}: rows of the parts')
        elif tensor is None and 'same' not in module:
            wrong.append(f'{name} is stored nowhere')
        elif tensor and (module['shape'] != tensor[1] or module['dtype'] != tensor[0]):
            wrong.append(f'{name}: {module["dtype"]} {module["shape"]}, stored {tensor}')
        elif tensor and (tensor[0] == 'F8_E4M3') != (module['scheme'] != 'bf16'):
            wrong.append(f'{name}: {module["scheme"]} but stored {tensor[0]}')
    for name, (dtype, _) in stored.items():
        if dtype == 'F8_E4M3' and name.removesuffix('.weight') not in modules:
            wrong.append(f'{name} is FP8 and in no plan')
    return wrong


def main(ferrule):
    ferrule = Path(ferrule).resolve()
    passed = failed = 0
    for name, expanded in CASES:
        stored = listing(FIXTURES / name)
        for tp, expand in [(1, False), (4, False)] + ([(1, True), (2, True)] if expanded else []):
            words = ['plan', FIXTURES / name, '-f', 'json', '--tp', tp] + ['--expand'] * expand
            done = subprocess.run([ferrule, *map(str, words)], cwd=ROOT, capture_output=True,
                                  check=False)
            try:
                plan = json.loads(done.stdout)
                wrong = wrong_plan(plan, tp, not expand, stored is not None)
                if done.stderr:
                    wrong.append(f'standard error: {done.stderr}')
                if done.returncode != plan['summary']['exit_code']:
                    wrong.append(f'exit status {done.returncode}')
                if expand and stored and not wrong:
                    wrong = wrong_names(plan, stored)
            except (ValueError, KeyError) as reason:
                wrong = [repr(reason)]
            passed, failed = passed + (not wrong), failed + bool(wrong)
            if wrong:
                print(f'failed: {name} tp {tp}{" expanded" * expand}')
                print('\n'.join('  ' + line for line in wrong[:10]))
    print(f'{passed} passed, {failed} failed')
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
