# SPDX-License-Identifier: Apache-2.0
"""Tests of python/ferrule: package_test.py FERRULE, the command line, whose answers are the right ones.

FERRULE_LIBRARY names the library and PYTHONPATH the package, as the build sets them.
"""
import array
import copy
import gc
import json
import os
import pickle
import struct
import subprocess
import sys
import threading
import unittest
from pathlib import Path

import ferrule

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / 'examples/tiny_qwen3_next_fp8'
QKV = 'model.layers.3.self_attn.qkv_proj'
FIXTURES = ROOT / 'tests/fixtures'
COMMAND = ''
BOOK = ferrule.RuleBook()


def command(*arguments):
    """What the command line answers in JSON."""
    ran = subprocess.run([COMMAND, *map(str, arguments), '-f', 'json'], capture_output=True, check=False, cwd='/')
    return json.loads(ran.stdout)


def bf16(number):
    return struct.unpack('<I', struct.pack('<f', number))[0] >> 16


class Plans(unittest.TestCase):
    def test_plans_are_those_of_the_command_line(self):
        for name, tp in [('qwen3_5_27b_fp8', 1), ('qwen3_8b_fp8', 4), ('mixtral_8x7b', 2), ('gemma_4_31b_it', 1)]:
            with self.subTest(name=name):
                plan = BOOK.plan(FIXTURES / name, tp=tp)
                answer = command('plan', FIXTURES / name, '--tp', tp)
                self.assertEqual(plan.to_dict(), answer)
                self.assertEqual((plan.tp, plan.sha, plan.counts), (tp, answer['plan_sha'], answer['schemes']))
                self.assertFalse(plan.has_errors)

    def test_decisions_are_those_of_the_command_line(self):
        plan = BOOK.plan(FIXTURES / 'qwen3_5_27b_fp8', tp=2)
        rows = command('plan', FIXTURES / 'qwen3_5_27b_fp8', '--tp', 2, '--expand')['modules']
        self.assertEqual(list(plan), [row['name'] for row in rows])
        self.assertEqual(len(plan), len(rows))
        for row in rows:
            one = plan[row['name']]
            self.assertEqual(
                [one.kind, one.scheme, one.claim, one.stored, one.dtype, list(one.parts), list(one.shape),
                 list(one.block) if one.block else None, [[list(part) for part in rank.rows] for rank in one.ranks],
                 [[rank.first_column, rank.end_column] for rank in one.ranks]],
                [row[key] for key in ('kind', 'scheme', 'claim', 'stored', 'dtype', 'parts', 'shape', 'block')] +
                [[rank['rows'] for rank in row['per_rank']], [rank['cols'] for rank in row['per_rank']]], row['name'])
            why = row['why']
            self.assertEqual([one.rule_file, one.rule_line, one.reason, one.entry or None, one.tensor],
                             [why['rule_file'], why['rule_line'], why['reason'], why['entry'], why['tensor']])
            self.assertEqual(plan.scheme(row['name']), row['scheme'])

    def test_a_plan_is_a_mapping(self):
        plan = BOOK.plan(TINY)
        self.assertIn('lm_head', plan)
        for absent in ('lm_heat', '', 7, None, 'model', 'lm\0head'):
            self.assertNotIn(absent, plan)
        self.assertIsNone(plan.get('lm_heat'))
        with self.assertRaisesRegex(KeyError, 'did you mean `lm_head`'):
            plan['lm_heat']
        self.assertEqual(plan.scheme('lm_heat'), '')
        self.assertEqual(plan.scheme('model.layers.0.mlp.experts'), 'fp8_block')
        one = plan['model.layers.0.linear_attn.in_proj_ba']
        self.assertEqual((one.scheme, one.quantized), ('bf16', False))
        self.assertIn(one.entry, one.why)
        self.assertIn('tp=1', plan.summary)
        self.assertIn(plan.summary, repr(plan))
        self.assertEqual(len({plan, plan}), 1)
        self.assertIn('linear_attn', plan.report())

    def test_what_is_wrong_is_refused(self):
        for call, blame, text in [
                (lambda: BOOK.plan('/nowhere'), 2, 'does not exist'),
                (lambda: BOOK.plan(TINY, tp=3), 1, 'FR501'),
                (lambda: BOOK.plan(TINY, tp=0), 2, 'tp must be between'),
                (lambda: BOOK.plan(TINY, tp=10 ** 30), 2, 'tp must be between'),
                (lambda: BOOK.plan(TINY, tp=-10 ** 30), 2, 'tp must be between'),
                (lambda: ferrule.RuleBook('/nowhere'), 2, 'cannot be read'),
                (lambda: ferrule.RuleBook(ROOT / 'tests/cli/bad'), 1, 'unknown key'),
                (lambda: BOOK.plan(TINY).as_engine('sglang@0.0'), 2, 'no runtime'),
                (lambda: BOOK.ask('a', quant_method='fp9'), 1, 'no dialect claims')]:
            with self.assertRaises(ferrule.Error) as caught:
                call()
            self.assertIn(text, str(caught.exception))
            self.assertEqual(caught.exception.blame, blame, str(caught.exception))
        for call in (lambda: BOOK.plan(TINY, tp='2'), lambda: BOOK.plan(TINY, tp=True), lambda: BOOK.plan(None),
                     lambda: BOOK.plan(TINY).scheme(b'lm_head'), lambda: BOOK.plan(TINY)[7]):
            self.assertRaises(TypeError, call)
        for call in (lambda: BOOK.plan('a\0b'), lambda: BOOK.plan(TINY).scheme('a\0b')):
            self.assertRaises(ValueError, call)

    def test_findings_of_a_plan_with_errors(self):
        book = ferrule.RuleBook(ROOT / 'examples/qwen3_next_fp8/wrong_rules')
        with self.assertRaisesRegex(ferrule.Error, 'FR301'):
            book.plan(TINY)
        plan = book.plan(TINY, allow_errors=True)
        self.assertTrue(plan.has_errors)
        self.assertIn(('FR301', 'real-declared-fused', 'error'), [(f.code, f.slug, f.level) for f in plan.findings])
        with self.assertRaisesRegex(ferrule.Error, 'a plan with errors is not loaded'):
            plan.load(QKV)

    def test_engines(self):
        directory = FIXTURES / 'qwen3_30b_a3b_fp8'
        as_engine = BOOK.plan(directory, tp=4).as_engine('sglang@0.5.23')
        right = command('plan', directory, '--tp', 4, '--as', 'sglang@0.5.23', '--expand')['as']
        self.assertEqual((as_engine.engine, as_engine.version), ('sglang', '0.5.23'))
        self.assertEqual([{**vars(m), 'modules': list(m.modules)} for m in as_engine.modules], right['modules'])
        self.assertTrue(as_engine.has_errors)
        self.assertIn('FR802', [finding['code'] for finding in as_engine.findings])

    def test_questions(self):
        fused = {'gate_up_proj': ['gate_proj', 'up_proj']}
        self.assertEqual(BOOK.ask('a.gate_up_proj', ['a.gate_proj', 'a.up_proj'], fused=fused).verdict, 'skip')
        self.assertEqual(BOOK.ask('a.gate_up_proj', [], fused=fused).verdict, 'quant')
        mixed = BOOK.ask('a.gate_up_proj', ['a.gate_proj'], fused=fused)
        self.assertEqual((mixed.verdict, mixed.code), ('error', 'FR403'))
        self.assertIn('`up_proj` quant', mixed.reason)


class Linears(unittest.TestCase):
    def test_y_is_what_the_command_line_computes(self):
        plan = BOOK.plan(TINY, tp=2)
        total = 0
        for name in (QKV, 'lm_head', 'model.layers.0.linear_attn.in_proj_ba'):
            for rank in (0, 1):
                linear = plan.load(name, rank)
                self.assertEqual(linear.rows, sum(end - begin for begin, end in plan[name].ranks[rank].rows))
                columns = linear.columns
                x = array.array('H', [bf16((k * 7 % 11 - 5) / 4) for k in range(3 * columns)])
                y = linear(x)
                self.assertEqual((y.shape, y.format), ((3, linear.rows), 'f'))
                self.assertEqual(bytes(linear(bytes(x))), bytes(y))
                self.assertEqual(bytes(linear(memoryview(x).cast('B').cast('H', (3, columns)))), bytes(y))
                self.assertEqual(bytes(linear(x, ferrule.Pool(2))), bytes(y))
                self.assertEqual(list(linear(x[:columns])[0, k] for k in range(linear.rows)),
                                 list(y[0, k] for k in range(linear.rows)))
                total += y.nbytes
        self.assertGreater(total, 0)

    def test_bf16_is_multiplied_exactly(self):
        name = 'model.layers.0.linear_attn.in_proj_ba'
        plan = BOOK.plan(TINY)
        linear, stored = plan.load(name), plan[name]
        weights = stored_bf16(TINY, stored.tensor, stored.shape)
        rows, columns = stored.shape
        ones = linear(array.array('H', [bf16(1.0)] * columns))
        for row in range(rows):
            exact = sum(weights[row * columns:(row + 1) * columns])
            self.assertAlmostEqual(ones[0, row], exact, delta=1e-5 * sum(map(abs, weights[row * columns:(row + 1) * columns])))

    def test_x_that_does_not_fit(self):
        linear = BOOK.plan(TINY).load(QKV)
        columns = linear.columns
        for wrong, error in [
                (array.array('H', [0] * (columns - 1)), ValueError), (bytes(2 * columns + 1), ValueError),
                (array.array('f', [0.0] * columns), TypeError), (array.array('I', [0] * columns), TypeError),
                (memoryview(bytes(4 * columns)).cast('H', (4, columns // 2)), ValueError),
                (memoryview(array.array('H', [0] * 2 * columns))[::2], ValueError), (None, TypeError), ([0] * columns, TypeError)]:
            with self.assertRaises(error):
                linear(wrong)
        self.assertEqual(linear(b'').nbytes, 0)
        for rank in (1, -1, 10 ** 30):
            with self.assertRaisesRegex(ferrule.Error, 'rank'):
                BOOK.plan(TINY).load(QKV, rank)

    def test_threads(self):
        linear = BOOK.plan(TINY).load(QKV)
        x = array.array('H', [bf16(0.5)] * (4 * linear.columns))
        right, wrong, pool = bytes(linear(x)), [], ferrule.Pool(2)

        def many():
            for _ in range(20):
                if bytes(linear(x, pool)) != right:
                    wrong.append(1)

        threads = [threading.Thread(target=many) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])


class Handles(unittest.TestCase):
    def test_what_is_kept_alive(self):
        linear = ferrule.RuleBook().plan(TINY).load(QKV)  # book and plan are gone
        as_engine = ferrule.RuleBook().plan(TINY).as_engine('vllm@0.32.0')
        gc.collect()
        self.assertEqual(len(linear(bytes(2 * linear.columns))), 1)
        self.assertGreater(len(as_engine.modules), 10)

    def test_copies_share_and_nothing_is_pickled(self):
        plan = BOOK.plan(TINY)
        self.assertIs(copy.copy(plan), plan)
        self.assertIs(copy.deepcopy(plan), plan)
        for handle in (plan, BOOK, plan.load(QKV)):
            self.assertRaises(TypeError, pickle.dumps, handle)
        self.assertEqual(pickle.loads(pickle.dumps(plan[QKV])), plan[QKV])  # plain data is

    def test_plans_are_not_leaked(self):
        def resident():
            return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')

        for _ in range(5):
            BOOK.plan(TINY).to_dict()
        before = resident()
        for _ in range(60):
            plan = BOOK.plan(TINY)
            plan.to_dict(), plan[QKV], plan.load(QKV), list(plan), plan.get('x')
        self.assertLess(resident() - before, 8 << 20)


class Library(unittest.TestCase):
    def test_a_library_that_is_none(self):
        for named, said in [('/nowhere.so', 'Remedy: `meson install'), (sys.executable, 'ferrule needs')]:
            ran = subprocess.run([sys.executable, '-c', 'import ferrule'], capture_output=True, text=True, check=False,
                                 env={**os.environ, 'FERRULE_LIBRARY': named})
            self.assertIn(said, ran.stderr)
            self.assertIn('ImportError', ran.stderr)
        other = next(Path(line.split()[-1]) for line in Path('/proc/self/maps').read_text().splitlines() if 'libc.so' in line)
        ran = subprocess.run([sys.executable, '-c', 'import ferrule'], capture_output=True, text=True, check=False,
                             env={**os.environ, 'FERRULE_LIBRARY': str(other)})
        self.assertIn(f'{other} is no libferrule.so.0 of this release', ran.stderr)

    def test_signatures_are_those_of_the_headers(self):
        from ferrule import _library
        declared = set()
        for header in ('engine/ferrule_c.h', 'kernels/load_c.h'):
            for line in (ROOT / header).read_text().splitlines():
                before, call, rest = line.partition('(')
                name = before.split()[-1].lstrip('*') if before.split() else ''
                if call and name.startswith('ferrule_') and not line.startswith((' ', '/')) and 'typedef' not in line:
                    declared.add(name.removeprefix('ferrule_'))
        self.assertEqual(declared, set(_library._SIGNATURES))
        self.assertIn(f'#define FERRULE_ABI_VERSION {_library.ABI}\n', (ROOT / 'engine/ferrule_c.h').read_text())


def stored_bf16(directory, tensor, shape):
    """A BF16 tensor of a safetensors checkpoint as numbers, read here byte by byte."""
    for path in sorted(Path(directory).glob('*.safetensors')):
        data = path.read_bytes()
        length = struct.unpack('<Q', data[:8])[0]
        header = json.loads(data[8:8 + length])
        if tensor in header:
            begin, end = header[tensor]['data_offsets']
            codes = struct.unpack(f'<{(end - begin) // 2}H', data[8 + length + begin:8 + length + end])
            assert len(codes) == shape[0] * shape[1] and header[tensor]['dtype'] == 'BF16'
            return [struct.unpack('<f', struct.pack('<I', code << 16))[0] for code in codes]
    raise AssertionError(f'{tensor} is not stored')


def main():
    global COMMAND
    COMMAND = str(Path(sys.argv[1]).resolve())
    result = unittest.TextTestRunner(verbosity=1).run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules['__main__']))
    failed = len(result.failures) + len(result.errors)
    for test, _ in result.failures + result.errors:
        print(f'failed: {test}')
    print(f'{result.testsRun - failed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
