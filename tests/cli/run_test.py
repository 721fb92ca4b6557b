# SPDX-License-Identifier: Apache-2.0
"""`ferrule run` on safetensors files that this program writes and reads itself.

  run_test.py FERRULE

Outputs are compared with those recorded beside the tiny checkpoints; wrong inputs must be refused
by name, with nothing written.
"""
import array
import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from run_tally import ROOT, RunTally

TINY = ROOT / 'tests' / 'fixtures' / 'tiny'
NEXT, QWEN35 = TINY / 'qwen3_next_fp8', TINY / 'qwen3_5_fp8'
BOUND = 1e-5


def read(path):
    """name → (dtype, shape, bytes)"""
    raw = Path(path).read_bytes()
    size = struct.unpack('<Q', raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    header.pop('__metadata__', None)
    data = raw[8 + size:]
    return {name: (entry['dtype'], entry['shape'], data[slice(*entry['data_offsets'])])
            for name, entry in header.items()}


def entry_of(raw, name):
    """The entry of one tensor and where the data begin."""
    size = struct.unpack('<Q', raw[:8])[0]
    return json.loads(raw[8:8 + size])[name], 8 + size


def write(path, tensors):
    header, data = {}, b''
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {'dtype': dtype, 'shape': shape,
                        'data_offsets': [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    Path(path).write_bytes(struct.pack('<Q', len(text)) + text + data)


def floats(raw):
    return array.array('f', raw)


def error(a, b):
    size = math.sqrt(sum(v * v for v in b))
    return math.sqrt(sum((u - v) ** 2 for u, v in zip(a, b))) / size


def widened(raw):
    """BF16 → F32"""
    return b''.join(b'\0\0' + raw[i:i + 2] for i in range(0, len(raw), 2))


class Tests(RunTally):
    def __init__(self, ferrule, folder):
        super().__init__(ferrule)
        self.folder = Path(folder)
        self.y = self.folder / 'y.safetensors'

    def outputs_equal(self, name, checkpoint, names, *words):
        """Runs and compares `names` (all that is written) with the recorded outputs."""
        self.y.unlink(missing_ok=True)
        done = self.run(checkpoint, '--input', checkpoint / 'inputs.safetensors', '--output',
                        self.y, *words)
        recorded = read(checkpoint / 'outputs.safetensors')
        got = read(self.y) if self.y.exists() else {}
        good = done.returncode == 0 and names <= set(got) and bool(names)
        worst = 0.0
        for key in names & set(got):
            good = good and got[key][:2] == ('F32', recorded[key][1])
            worst = max(worst, error(floats(got[key][2]), floats(recorded[key][2])))
        self.check(name, good and worst <= BOUND, f'{worst} {done.stdout}{done.stderr}')
        return set(got)

    def refused(self, name, status, says, checkpoint, tensors, *words):
        """An input that must be refused with `says`; nothing may be left behind."""
        x = self.folder / 'x.safetensors'
        write(x, tensors)
        self.y.unlink(missing_ok=True)
        done = self.run(checkpoint, '--input', x, '--output', self.y, *words)
        left = sorted(p.name for p in self.folder.iterdir() if p != x)
        self.check(name, done.returncode == status and says in done.stdout and not left,
                   f'status {done.returncode}, left {left}\n{done.stdout}{done.stderr}')


def recorded_outputs(t):
    for checkpoint in (NEXT, QWEN35):
        every = set(read(checkpoint / 'outputs.safetensors'))
        modules = set(read(checkpoint / 'inputs.safetensors'))
        whole = {name for name in every if name.endswith('.y')}
        got = t.outputs_equal(f'{checkpoint.name}: whole', checkpoint, whole)
        t.check(f'{checkpoint.name}: nothing but the modules of the input',
                got == {f'{module}.y' for module in modules}, sorted(got))
        ranks = every - whole
        got = t.outputs_equal(f'{checkpoint.name}: both ranks', checkpoint, ranks, '--tp', '2')
        t.check(f'{checkpoint.name}: every module has both ranks',
                got == {f'{m}.y_tp2.rank{r}' for m in modules for r in (0, 1)}, sorted(got))
        one = {name for name in ranks if name.endswith('rank1')}
        got = t.outputs_equal(f'{checkpoint.name}: one rank', checkpoint, one, '--tp', '2',
                              '--rank', '1')
        t.check(f'{checkpoint.name}: the other rank is not run',
                all(name.endswith('.rank1') for name in got), sorted(got))


def biases(t):
    """With --bias they are added to what is recorded without; only the vision linears have one."""
    recorded, stored = read(QWEN35 / 'outputs.safetensors'), read(QWEN35 / 'model.safetensors')
    modules = [m for m in read(QWEN35 / 'inputs.safetensors') if f'{m}.bias' in stored]
    t.check('six modules have a bias', len(modules) == 6, modules)
    t.y.unlink(missing_ok=True)
    done = t.run(QWEN35, '--input', QWEN35 / 'inputs.safetensors', '--output', t.y, '--bias', '--check')
    got = read(t.y) if t.y.exists() else {}
    for name in [f'{m}.y' for m in read(QWEN35 / 'inputs.safetensors')] if got else []:
        y = floats(recorded[name][2])
        if name[:-2] in modules:
            bias = floats(widened(stored[f'{name[:-2]}.bias'][2]))
            y = array.array('f', (v + bias[i % len(bias)] for i, v in enumerate(y)))
        if (worst := error(floats(got[name][2]), y)) > BOUND:
            t.check(f'{name} with its bias', False, worst)
    t.check('biases are added', done.returncode == 0 and len(got) > 50, done.stdout + done.stderr)
    done = t.run(QWEN35, '--bias')
    t.check('--bias goes with --input', done.returncode == 2 and '--input' in done.stderr, done.stderr)


def expectations(t):
    for words in ((), ('--tp', '2')):
        done = t.run(QWEN35, '--input', QWEN35 / 'inputs.safetensors', '--expect',
                     QWEN35 / 'outputs.safetensors', *words)
        t.check(f'--expect {words}', done.returncode == 0 and 'outputs equal those of' in done.stdout,
                done.stdout)
    wrong = read(QWEN35 / 'outputs.safetensors')
    dtype, shape, raw = wrong['lm_head.y']
    wrong['lm_head.y'] = (dtype, shape, floats(raw)[::-1].tobytes())
    write(t.folder / 'wrong.safetensors', wrong)
    done = t.run(QWEN35, '--input', QWEN35 / 'inputs.safetensors', '--expect',
                 t.folder / 'wrong.safetensors')
    t.check('--expect notices another output', done.returncode == 1 and
            '`lm_head.y` differs from the expected output' in done.stdout, done.stdout)
    (t.folder / 'wrong.safetensors').unlink()


def inputs(t):
    lm_head = read(NEXT / 'inputs.safetensors')['lm_head']
    wide = ('F32', lm_head[1], widened(lm_head[2]))
    x = t.folder / 'x.safetensors'
    outputs = []
    for tensor in (lm_head, wide):
        write(x, {'lm_head': tensor})
        done = t.run(NEXT, '--input', x, '--output', t.y)
        outputs.append(t.y.read_bytes() if done.returncode == 0 else done.stdout)
    t.check('F32 input is rounded to BF16', outputs[0] == outputs[1])
    # 1 + 2^-8 lies between two BF16 numbers: nearest even is 1.
    tie = ('F32', lm_head[1], struct.pack('<f', 1 + 2**-8) * (len(lm_head[2]) // 2))
    ones = ('F32', lm_head[1], struct.pack('<f', 1) * (len(lm_head[2]) // 2))
    ties = []
    for tensor in (tie, ones):
        write(x, {'lm_head': tensor})
        t.run(NEXT, '--input', x, '--output', t.y)
        ties.append(t.y.read_bytes())
    t.check('ties are rounded to even', ties[0] == ties[1])
    write(x, {'lm_head': (lm_head[0], [0, 256], b'')})
    done = t.run(NEXT, '--input', x, '--output', t.y)
    t.check('no tokens give no rows', done.returncode == 0 and
            read(t.y)['lm_head.y'][:2] == ('F32', [0, 384]), done.stdout)

    tokens, columns = lm_head[1]
    cases = [
        ('a dtype that is not read', 'the input of `lm_head` is F16; BF16 and F32 are read',
         {'lm_head': ('F16', lm_head[1], lm_head[2])}),
        ('one column too few', f'the input of `lm_head` is [{tokens}, 255]; it must be [tokens, 256]',
         {'lm_head': ('BF16', [tokens, columns - 1], lm_head[2][:tokens * (columns - 1) * 2])}),
        ('one dimension', 'the input of `lm_head` is [256]; it must be [tokens, 256]',
         {'lm_head': ('BF16', [columns], lm_head[2][:512])}),
        ('a module that the model lacks',
         'error[FR406]: the model has no module `lm_haed`\n', {'lm_haed': lm_head}),
        ('the nearest name is offered', 'help: did you mean `lm_head`?', {'lm_haed': lm_head}),
        ('a tensor instead of a module', 'the model has no module `lm_head.weight`',
         {'lm_head.weight': lm_head}),
        ('a norm', '`model.norm` is no linear', {'model.norm': lm_head}),
        ('mistakes of one kind are one finding',
         '  = found:  2 of 3 tensors of the file have this mistake\n  = effect: nothing is run\n'
         'help: did you mean `lm_head`?\n\nerror[FR505]: `model.norm` is no linear\n',
         {'lm_haed': lm_head, 'lm_hea': lm_head, 'model.norm': lm_head}),
        ('one wrong among right ones', 'the model has no module `nobody`',
         {'lm_head': lm_head, 'nobody': lm_head}),
    ]
    for what, value in (('NaN', math.nan), ('infinity', math.inf)):
        raw = bytearray(wide[2])
        struct.pack_into('<f', raw, (2 * columns + 7) * 4, value)
        cases.append((f'{what} in F32', 'the input of `lm_head` is not finite at [2, 7]',
                      {'lm_head': ('F32', lm_head[1], bytes(raw))}))
    raw = bytearray(lm_head[2])
    raw[2:4] = b'\x80\xff'
    cases.append(('-infinity in BF16', 'the input of `lm_head` is not finite at [0, 1]',
                  {'lm_head': ('BF16', lm_head[1], bytes(raw))}))
    huge = ('F32', lm_head[1], struct.pack('<f', 3.4e38) * (len(wide[2]) // 4))
    cases.append(('a value that is no BF16 number', 'the input of `lm_head` is not finite at [0, 0]',
                  {'lm_head': huge}))
    for name, says, tensors in cases:
        t.y.unlink(missing_ok=True)
        t.refused(name, 1, says, NEXT, tensors)
    write(x, {'lm_head': lm_head})
    x.write_bytes(x.read_bytes()[:-1])
    t.y.unlink(missing_ok=True)
    done = t.run(NEXT, '--input', x, '--output', t.y)
    t.check('an input file cut short', done.returncode == 1 and 'error[FR709]' in done.stdout and
            not t.y.exists(), done.stdout)
    write(x, {'lm_head': lm_head})
    done = t.run(NEXT, '--input', x, '--output', t.folder / 'no' / 'y')
    t.check('an output folder that does not exist', done.returncode == 2 and
            'does not exist' in done.stdout, done.stdout)
    for what in ('folder', 'pipe'):
        special = t.folder / what
        special.mkdir() if what == 'folder' else os.mkfifo(special)
        done = t.run(NEXT, '--input', x, '--output', special)
        t.check(f'a {what} as output is refused and left alone', done.returncode == 2 and
                'is there and is not a file' in done.stdout and not special.is_file() and
                not special.with_name(what + '.part').exists(), done.stdout)
        special.rmdir() if what == 'folder' else special.unlink()
    old = t.folder / 'old'
    old.write_text('kept')
    done = t.run(NEXT, '--input', t.folder / 'no-input', '--output', old)
    t.check('an old output stays when nothing can be written', old.read_text() == 'kept')
    old.unlink()
    x.unlink()


def random_activations(t):
    first, second, other = (t.run(NEXT, '--check', '-f', 'json', '--seed', seed)
                            for seed in ('1', '1', '2'))
    a, b, c = (json.loads(run.stdout) for run in (first, second, other))
    t.check('equal seeds give equal runs', a == b and first.returncode == 0)
    t.check('other seeds give other runs', a['schemes'] != c['schemes'])
    t.check('both schemes are compared', set(a['schemes']) == {'bf16', 'fp8_block'} and
            all(0 < float(s['largest_error']) <= BOUND for s in a['schemes'].values()), a)
    t.check('the answer has the frame of all answers', a['schema_version'] == 1 and
            a['findings'] == [] and a['summary']['exit_code'] == 0, a)
    few, many = (t.run(NEXT, '--check', '-f', 'json', '--seed', '1', '--threads', threads).stdout
                 for threads in ('1', '5'))
    t.check('errors do not depend on threads', few == many == first.stdout, few + many)
    human = t.run(QWEN35, '--check', '--tp', '2')
    t.check('--check prints the largest error of each scheme', human.returncode == 0 and all(
        re.search(rf'^{scheme} .*largest error \d\.\d\de-\d\d', human.stdout, re.M)
        for scheme in ('bf16', 'fp8_block')), human.stdout)
    # Each linear once: fused modules whole, their parts not again.
    listed = json.loads(subprocess.run(
        [t.ferrule, 'plan', NEXT, '-f', 'json'], capture_output=True, check=True).stdout)
    runs = sum(s['runs'] for s in a['schemes'].values())
    t.check('as many linears are run as the plan counts', runs == sum(listed['schemes'].values()),
            f"{runs} {listed['schemes']}")


def broken_weights(t):
    copy = t.folder / 'copy'
    copy.mkdir()
    for path in NEXT.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    shard = copy / 'model-00001-of-00002.safetensors'
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    done = t.run(copy)
    t.check('a truncated weights file', done.returncode == 1 and 'error[FR709]' in done.stdout,
            done.stdout)
    shard.unlink()
    done = t.run(copy)
    t.check('a missing weights file', done.returncode == 1 and 'error[FR706]' in done.stdout,
            done.stdout)
    shard.write_bytes(whole)
    t.check('and whole again', t.run(copy).returncode == 0)
    # One scale, then one weight, that no sound checkpoint has.
    for name, place, value, code, says in (
            ('linear_attn.out_proj.weight_scale_inv', 4, struct.pack('<f', math.nan), 'FR507',
             'weight_scale_inv`[0, 1] is nan; a scale is a positive number'),
            ('linear_attn.out_proj.weight_scale_inv', 0, struct.pack('<f', -1), 'FR507',
             'weight_scale_inv`[0, 0] is -1; a scale is a positive number'),
            ('linear_attn.out_proj.weight', 256 + 3, b'\x7f', 'FR508',
             'out_proj.weight` holds 1 NaN code, the first at [1, 3]')):
        entry, start = entry_of(whole, f'model.layers.0.{name}')
        at = start + entry['data_offsets'][0] + place
        shard.write_bytes(whole[:at] + value + whole[at + len(value):])
        t.y.unlink(missing_ok=True)
        done = t.run(copy, '--input', NEXT / 'inputs.safetensors', '--output', t.y)
        t.check(f'{code}: {says}', done.returncode == 1 and f'error[{code}]' in done.stdout and
                says in done.stdout and not t.y.exists(), done.stdout)
    for path in copy.iterdir():
        path.unlink()
    copy.rmdir()


def half_listed(t):
    """A list that names q_proj and k_proj but not v_proj, with headers and without."""
    for checkpoint, attn in ((NEXT, 'model.layers.3.self_attn'),
                             (QWEN35, 'model.language_model.layers.3.self_attn')):
        for headers in (True, False):
            copy = t.folder / 'half'
            copy.mkdir()
            for path in checkpoint.iterdir():
                if headers and path.name.startswith('model'):
                    (copy / path.name).symlink_to(path)
            config = json.loads((checkpoint / 'config.json').read_text())
            config['quantization_config']['modules_to_not_convert'] += [f'{attn}.q_proj',
                                                                        f'{attn}.k_proj']
            (copy / 'config.json').write_text(json.dumps(config))
            done = subprocess.run([t.ferrule, 'plan', copy], cwd=ROOT, capture_output=True,
                                  text=True, check=False)
            said = re.search(r'error\[FR403\]: .*', done.stdout)
            t.check(f'half a fused module, {checkpoint.name}, headers {headers}',
                    done.returncode == 1 and said and f'`{attn}.qkv_proj`' in said[0] and
                    '`q_proj` bf16, `k_proj` bf16, `v_proj` fp8_block' in said[0], done.stdout)
            if headers:
                t.check(f'and it is not run, {checkpoint.name}', t.run(copy).returncode == 1)
            for path in copy.iterdir():
                path.unlink()
            copy.rmdir()


def main(ferrule):
    with tempfile.TemporaryDirectory(prefix='ferrule-') as folder:
        t = Tests(ferrule, folder)
        for part in (recorded_outputs, biases, expectations, inputs, random_activations, broken_weights,
                     half_listed):
            t.y.unlink(missing_ok=True)
            part(t)
    return t.close()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
