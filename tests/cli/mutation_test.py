# SPDX-License-Identifier: Apache-2.0
"""Questions for `ferrule decide` and activations for `ferrule run`, broken at random from a seed.

  mutation_test.py FERRULE

The program answers in bounded time with 0 or 1, its JSON can be read, and after an error there is
no output file, not even a part of one. Files that the engine reads: tests/engine/mutation_test.cc.
"""
import json
import random
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TINY = 'tests/fixtures/tiny/qwen3_next_fp8'
QUESTIONS, ACTIVATIONS = 60, 120
WORDS = [b'{', b'}', b'[', b']', b':', b',', b'"', b'\\', b'\n', b'\0', b'\xff', b'\\u0000', b'\\ud800',
         b'null', b'true', b'NaN', b'1e999', b'-1', b'18446744073709551616', b'9' * 30,
         b'[' * 2000, b'{"a":' * 70, b'"a":1,"a":2,', b'lm_head', b'\x1b[31m']


def mutated(raw, dice):
    raw = bytearray(raw)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(raw)) if raw else 0
        kind = dice.randrange(6)
        if kind == 0 and raw:
            raw[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            raw[at:at] = dice.choice(WORDS)
        elif kind == 2:
            raw[at:at + dice.randint(1, 8)] = dice.choice(WORDS)
        elif kind == 3:
            del raw[at:at + dice.randint(1, 8)]
        elif kind == 4:
            raw[at:at] = raw[at:at + dice.randint(1, 200)]
        elif dice.randrange(3) == 0:
            del raw[at:]
    return bytes(raw)


class Tests:
    def __init__(self, ferrule):
        self.ferrule, self.passed, self.failed, self.refused = ferrule, 0, 0, 0

    def run(self, name, *words):
        """Exit code, or None after a failure that was counted."""
        try:
            done = subprocess.run([self.ferrule, '-f', 'json', *map(str, words)], cwd=ROOT,
                                  capture_output=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            return self.fail(name, 'no answer in 60 seconds')
        if done.returncode not in (0, 1):
            return self.fail(name, f'exit {done.returncode}\n{done.stdout[-2000:]!r}{done.stderr!r}')
        if b'\x1b' in done.stdout:
            return self.fail(name, 'an escape reached standard output')
        self.passed += 1
        self.refused += done.returncode
        return done.returncode, done.stdout

    def fail(self, name, why):
        self.failed += 1
        print(f'failed: {name}: {why}')


def questions(t, folder, dice):
    lines = (ROOT / 'tests/data/bug_cases.jsonl').read_bytes().splitlines(keepends=True)
    path = folder / 'q.jsonl'
    for number in range(QUESTIONS):
        raw = mutated(b''.join(dice.sample(lines, 4)), dice)
        path.write_bytes(raw)
        t.run(f'questions {number}: {raw!r}', 'decide', path,
              *([] if number % 2 else ['--as', 'sglang@0.5.23']))


def activations(t, folder, dice):
    raw = (ROOT / TINY / 'inputs.safetensors').read_bytes()
    size = struct.unpack('<Q', raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    header.pop('__metadata__', None)
    tensors, data = {}, b''
    for name in ('lm_head', 'model.layers.0.linear_attn.in_proj_ba', 'model.layers.3.self_attn.qkv_proj'):
        begin, end = header[name]['data_offsets']
        tensors[name] = {**header[name], 'data_offsets': [len(data), len(data) + end - begin]}
        data += raw[8 + size + begin:8 + size + end]
    text = json.dumps(tensors).encode()
    x, y = folder / 'x.safetensors', folder / 'y.safetensors'
    for number in range(ACTIVATIONS):
        y.unlink(missing_ok=True)
        if number == 0:
            broken = struct.pack('<Q', len(text)) + text + data  # as it is: taken
        elif number % 4 == 0:
            broken = mutated(struct.pack('<Q', len(text)) + text, dice) + data
        else:
            other = mutated(text, dice)
            broken = struct.pack('<Q', len(other)) + other + data
        x.write_bytes(broken)
        name = f'activations {number}: {broken[:len(broken) - len(data)]!r}'
        done = t.run(name, 'run', TINY, '--input', x, '--output', y)
        if done is None:
            continue
        answer = json.loads(done[1])
        left = sorted(p.name for p in folder.iterdir() if p not in (x, y) and p.name != 'q.jsonl')
        if answer['summary']['exit_code'] != done[0] or left or (done[0] == 0) != y.exists():
            t.fail(name, f'exit {done[0]}, output {y.exists()}, left {left}')
        elif done[0] and not any(f['level'] == 'error' and f['message'] for f in answer['findings']):
            t.fail(name, 'refused without a word')
        elif number == 0 and done[0]:
            t.fail(name, 'what is right is refused')


def main(ferrule):
    t, dice = Tests(str(Path(ferrule).resolve())), random.Random(41)
    with tempfile.TemporaryDirectory(prefix='ferrule-') as folder:
        questions(t, Path(folder), dice)
        activations(t, Path(folder), dice)
    if t.refused < (QUESTIONS + ACTIVATIONS) // 2:
        t.fail('most are refused', t.refused)
    print(f'{t.passed} passed, {t.failed} failed')
    return 0 if t.failed == 0 and t.passed > 0 else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
