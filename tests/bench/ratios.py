# SPDX-License-Identifier: Apache-2.0
"""How receipts of `ferrule bench` compare with the fastest known chains of quantizer and product.

    python3 tests/bench/ratios.py kernels/receipts/h200-2026-11-25.tsv

peers_h200.tsv holds those chains' times (SGLang, vLLM, FlashInfer, DeepGEMM, CUTLASS, cuBLASLt; medians
of three H200s, 2026-11-22). They were not measured in the same run, and machines differ. Where a receipt
has cuBLASLt's block GEMM alone (`--peers`) and tokens are more than 32, the chain's time is what it was as a
multiple of that GEMM, times the GEMM of the receipt; with fewer tokens cuBLASLt's own times jump, so the
recorded ones stand. `as recorded` beside it is without that.
"""
import math
import sys
from pathlib import Path

ONE_GPU = ('q3n_qkvz q3n_ba q3n_out_o q3n_qkv q3n_sh_gateup q3n_sh_down q35_27b_qkvz q35_27b_qkvgate '
           'q35_27b_out_o q35_27b_gateup q35_27b_down ds_qkv_a ds_q_b ds_o ds_sh_gateup ds_sh_down '
           'ds_dense_gateup ds_dense_down').split()


def read(path, shape, tokens, value, way='rule'):
    rows = {}
    names = None
    for line in open(path, encoding='utf-8'):
        if line.startswith('#') or not line.strip():
            continue
        fields = line.rstrip('\n').split('\t')
        if names is None or fields[0] == 'shape':
            names = fields
            continue
        entry = dict(zip(names, fields))
        if entry.get('way', way) == way and entry[value]:
            rows[entry[shape], int(entry[tokens])] = float(entry[value])
    return rows


def mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def main(paths):
    table = Path(__file__).parent / 'peers_h200.tsv'
    recorded = read(table, 'shape', 'M', 'best_peer_us')
    over_gemm = read(table, 'shape', 'M', 'best_over_cublaslt_block_gemm')
    for path in paths:
        ours = read(path, 'shape', 'M', 'us')
        gemm = read(path, 'shape', 'M', 'us', 'peer cublaslt alone')
        print(path)
        for tokens in sorted({m for _, m in ours}):
            cells = [(s, tokens) for s in ONE_GPU if (s, tokens) in recorded and (s, tokens) in ours]
            if not cells:
                continue
            plain = {c: recorded[c] / ours[c] for c in cells}
            here = {c: over_gemm[c] * gemm[c] / ours[c] if tokens > 32 and c in gemm and c in over_gemm else plain[c]
                    for c in cells}
            worst = sorted(here, key=here.get)[:3]
            print(f'{tokens:>6} tokens  {mean(here.values()):.2f}  (as recorded {mean(plain.values()):.2f})  lowest '
                  + ', '.join(f'{here[c]:.2f} {c[0]}' for c in worst))


if __name__ == '__main__':
    main(sys.argv[1:])
