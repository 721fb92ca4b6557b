# SPDX-License-Identifier: Apache-2.0
"""Tests of tests/bench/ratios.py on made-up receipts, whose ratios follow from how they are made."""
import tempfile
import unittest
from pathlib import Path

import ratios

HEAD = '# ferrule\nshape\tM\tN\tK\tway\tus\tspread\tfloor_us\tof_floor\terror\tsame_bits\tcopies\tbytes_us\tflops_us\n'
PEERS = ratios.Peers()


def report(*rows):
    """What is said of (shape, tokens, way, µs), as one text."""
    with tempfile.NamedTemporaryFile('w', suffix='.tsv', encoding='utf-8') as receipt:
        receipt.write(HEAD + ''.join(f'{shape}\t{tokens}\t1\t1\t{way}\t{us}\t0\t1\t1\t\t\t1\t1\t1\n' for shape, tokens, way, us in rows))
        receipt.flush()
        return '\n'.join(ratios.report(Path(receipt.name), PEERS))


def recorded(shape, tokens, times=PEERS.recorded):
    return times[shape, tokens]


class Ratios(unittest.TestCase):
    def test_linears(self):
        said = report(('q3n_qkvz', 1, 'rule', recorded('q3n_qkvz', 1) / 2), ('ds_o', 1, 'rule', recorded('ds_o', 1) / 8))
        self.assertIn('18 linears, one GPU\n       1 tokens  4.00  (as recorded 4.00)  lowest 2.00 q3n_qkvz, 8.00 ds_o', said)

    def test_above_32_tokens_the_block_gemm_of_the_run_corrects(self):
        over = PEERS.over_gemm['ds_o', 64]
        said = report(('ds_o', 64, 'rule', recorded('ds_o', 64)), ('ds_o', 64, 'peer cublaslt alone', 3 * recorded('ds_o', 64) / over))
        self.assertIn('64 tokens  3.00  (as recorded 1.00)', said)
        said = report(('ds_o', 32, 'rule', recorded('ds_o', 32)), ('ds_o', 32, 'peer cublaslt alone', 1000))
        self.assertIn('32 tokens  1.00  (as recorded 1.00)', said)

    def test_shards_of_tp_4_up_to_128_tokens(self):
        shape = 'q3n_tp4_out_o'
        said = report((shape, 8, 'rule', recorded(shape, 8) / 2), (shape, 256, 'rule', 1))
        self.assertEqual(said, f'3 shards of tp 4\n       8 tokens  2.00  (as recorded 2.00)  lowest 2.00 {shape}')

    def test_groups(self):
        # 10.5, 11.0, 10.4, 10.4 µs are what SGLang takes, 16.5 what vLLM takes for one token.
        said = report(*[('group_q3n_qkvz_ba', tokens, 'rule', us) for tokens, us in ((1, 5.25), (8, 5.5), (16, 10.4), (32, 20.8), (2, 1))])
        self.assertIn('group_q3n_qkvz_ba against SGLang: 2.00 at 1, 2.00 at 8, 1.00 at 16, 0.50 at 32\n', said)
        self.assertIn('group_q3n_qkvz_ba against vLLM: 3.14 at 1, ', said)
        said = report(('group_q3n_shared_router_gate', 1, 'rule', 11.3), ('group_q3n_gate_up_router_gate', 128, 'rule', 2.975))
        self.assertIn('group_q3n_shared_router_gate against SGLang: 1.00 at 1\n', said)
        self.assertIn('group_q3n_gate_up_router_gate against SGLang: 4.00 at 128', said)

    def test_bf16_of_the_same_run(self):
        said = report(('bf16_q3n_ba', 16, 'rule', 2), ('bf16_q3n_ba', 16, 'peer cublaslt bf16', 5), ('bf16_q3n_ba', 32, 'rule', 2),
                      ('bf16_q3n_ba', 32, 'peer cublaslt bf16', 5), ('bf16_q3n_router', 1, 'rule', 2))
        self.assertEqual(said, 'BF16 with few rows\n  bf16_q3n_ba against cuBLASLt of the same run: 2.50 at 16')

    def test_the_18_linears(self):
        self.assertEqual(len(ratios.ONE_GPU), 18)
        self.assertEqual([shape for shape in ratios.ONE_GPU + ratios.TP4 if (shape, 1) not in PEERS.recorded], [])


unittest.main()
