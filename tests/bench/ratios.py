# SPDX-License-Identifier: Apache-2.0
"""How receipts of `ferrule bench` compare with the fastest known chains of quantizer and product.

    python3 tests/bench/ratios.py kernels/receipts/h200-2026-11-25.tsv

peers_h200.tsv holds those chains' times (SGLang, vLLM, FlashInfer, DeepGEMM, CUTLASS, cuBLASLt; medians
of three H200s, 2026-11-22). They were not measured in the same run: machines differ by 3 %.
"""
import math
import sys
from pathlib import Path

ONE_GPU = ('q3n_qkvz q3n_ba q3n_out_o q3n_qkv q3n_sh_gateup q3n_sh_down q35_27b_qkvz q35_27b_qkvgate '
           'q35_27b_out_o q35_27b_gateup q35_27b_down ds_qkv_a ds_q_b ds_o ds_sh_gateup ds_sh_down '
           'ds_dense_gateup ds_dense_down').split()


def read(path, shape, tokens, value):
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
        rows[entry[shape], int(entry[tokens])] = float(entry[value])
    return rows


def main(paths):
    peers = read(Path(__file__).parent / 'peers_h200.tsv', 'shape', 'M', 'best_peer_us')
    for path in paths:
        ours = read(path, 'shape', 'M', 'us')
        print(path)
        for tokens in sorted({m for _, m in ours}):
            ratios = {s: peers[s, tokens] / ours[s, tokens] for s in ONE_GPU
                      if (s, tokens) in peers and (s, tokens) in ours}
            if not ratios:
                continue
            mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
            worst = min(ratios, key=ratios.get)
            print(f'{tokens:>6} tokens  {mean:.2f}  worst {ratios[worst]:.2f} {worst}')


if __name__ == '__main__':
    main(sys.argv[1:])
