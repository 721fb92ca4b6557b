# SPDX-License-Identifier: Apache-2.0
"""Which ways `ferrule bench --peers` times.

  bench_ways_test.py BENCH_WAYS
"""
import subprocess
import sys
import unittest

PROGRAM = sys.argv.pop(1)
ALONE = 'quantizer|0|alone'
BF16 = 'peer cublaslt bf16|0|'


def ways(tokens, shape, *words):
    done = subprocess.run([PROGRAM, str(tokens), 'x=' + shape, *words], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


class Ways(unittest.TestCase):
    def test_blocks_in_fours(self):
        self.assertEqual(ways(8, '2048:1024,64b'),
                         ['rule|0|checked', 'peer quantizer + cublaslt|0|checked', 'peer cublaslt alone|0|', ALONE, BF16])

    def test_other_tokens_are_padded_and_the_name_says_so(self):
        for tokens, padded in (1, 4), (3, 4), (5, 8), (4095, 4096):
            with self.subTest(tokens=tokens):
                self.assertEqual(ways(tokens, '2048:1024,64b'), [
                    'rule|0|checked', f'peer quantizer + cublaslt, {padded} tokens|{padded}|checked',
                    f'peer cublaslt alone, {padded} tokens|{padded}|', ALONE, BF16])

    def test_other_schemes_need_no_fours(self):
        for shape in '2048:1024t', '2048:1024c':
            with self.subTest(shape=shape):
                self.assertEqual(ways(1, shape), ['rule|0|checked', 'peer quantizer + cublaslt|0|checked', 'peer cublaslt alone|0|', ALONE, BF16])

    def test_bf16_has_nothing_to_quantize(self):
        self.assertEqual(ways(1, '2048:64b'), ['rule|0|checked', BF16])

    def test_of_a_sweep_the_quantizer_alone_would_be_the_fastest_way(self):
        said = ways(1, '2048:1024', 'sweep')
        self.assertNotIn(ALONE, said)
        self.assertIn('peer cublaslt alone, 4 tokens|4|', said)


unittest.main()
