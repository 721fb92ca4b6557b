# SPDX-License-Identifier: Apache-2.0
"""How receipts of `ferrule bench` compare with the fastest known chains of quantizer and product.

    python3 tests/bench/ratios.py kernels/receipts/h200-2026-11-30-resweep-run1.tsv

peers_h200.tsv holds those chains' times (SGLang, vLLM, FlashInfer, DeepGEMM, CUTLASS, cuBLASLt; medians
of three H200s, 2026-11-22). They were not measured in the same run, and machines differ. Where a receipt
has cuBLASLt's block GEMM alone (`--peers`) and tokens are more than 32, the chain's time is what it was as a
multiple of that GEMM, times the GEMM of the receipt; with fewer tokens cuBLASLt's own times jump, so the
recorded ones stand. `as recorded` beside it is without that.

Then the same of three shards of tp 4, up to 128 tokens; groups that read one x against what the servers take for
them (group_peers_h200.tsv); and BF16 with few rows against cuBLASLt of the same receipt.
"""
import math
import sys
from pathlib import Path

HERE = Path(__file__).parent
ONE_GPU = ('q3n_qkvz q3n_ba q3n_out_o q3n_qkv q3n_sh_gateup q3n_sh_down q35_27b_qkvz q35_27b_qkvgate '
           'q35_27b_out_o q35_27b_gateup q35_27b_down ds_qkv_a ds_q_b ds_o ds_sh_gateup ds_sh_down '
           'ds_dense_gateup ds_dense_down').split()
TP4 = 'q3n_tp4_qkvz q3n_tp4_out_o q3n_tp4_sh_gateup'.split()
FEW_ROWS = 'bf16_q3n_ba bf16_q3n_router'.split()
# Group of a receipt → what the servers' times are recorded under.
GROUPS = {
    'group_q3n_qkvz_ba': 'group_q3n_qkvz_ba',
    'group_q3n_shared_router_gate': 'group_q3n_shared_router_gate',
    'group_q3n_gate_up_router_gate': 'group_q3n_shared_router_gate',
}


def read(path, shape, tokens, value, way='rule'):
    rows = {}
    names = None
    for line in Path(path).read_text(encoding='utf-8').splitlines():
        if line.startswith('#') or not line.strip():
            continue
        fields = line.split('\t')
        if names is None or fields[0] == 'shape':
            names = fields
            continue
        entry = dict(zip(names, fields))
        if entry.get('way', way) == way and entry[value]:
            rows[entry[shape], int(entry[tokens])] = float(entry[value])
    return rows


def mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


class Peers:
    """What is recorded of others, and ratios of a receipt against it."""

    def __init__(self):
        table, groups = HERE / 'peers_h200.tsv', HERE / 'group_peers_h200.tsv'
        self.recorded = read(table, 'shape', 'M', 'best_peer_us')
        self.over_gemm = read(table, 'shape', 'M', 'best_over_cublaslt_block_gemm')
        self.groups = {name: read(groups, 'shape', 'M', column) for name, column in (('SGLang', 'sglang_us'), ('vLLM', 'vllm_us'))}

    def linears(self, path, shapes, most):
        """A line for each number of tokens up to `most`."""
        ours = read(path, 'shape', 'M', 'us')
        gemm = read(path, 'shape', 'M', 'us', 'peer cublaslt alone')
        for tokens in sorted({m for _, m in ours if m <= most}):
            cells = [(s, tokens) for s in shapes if (s, tokens) in self.recorded and (s, tokens) in ours]
            if not cells:
                continue
            plain = {c: self.recorded[c] / ours[c] for c in cells}
            here = {c: self.over_gemm[c] * gemm[c] / ours[c] if tokens > 32 and c in gemm and c in self.over_gemm else plain[c]
                    for c in cells}
            worst = sorted(here, key=here.get)[:3]
            yield (f'{tokens:>6} tokens  {mean(here.values()):.2f}  (as recorded {mean(plain.values()):.2f})  lowest '
                   + ', '.join(f'{here[c]:.2f} {c[0]}' for c in worst))

    def of_groups(self, path):
        ours = read(path, 'shape', 'M', 'us')
        for shape, recorded in GROUPS.items():
            for server, times in self.groups.items():
                cells = [(m, times[recorded, m] / us) for (s, m), us in sorted(ours.items()) if s == shape and (recorded, m) in times]
                if cells:
                    yield f'{shape} against {server}: ' + ', '.join(f'{ratio:.2f} at {m}' for m, ratio in cells)

    @staticmethod
    def few_rows(path):
        ours = read(path, 'shape', 'M', 'us')
        others = read(path, 'shape', 'M', 'us', 'peer cublaslt bf16')
        for shape in FEW_ROWS:
            cells = [(m, others[s, m] / us) for (s, m), us in sorted(ours.items()) if s == shape and m <= 16 and (s, m) in others]
            if cells:
                yield f'{shape} against cuBLASLt of the same run: ' + ', '.join(f'{ratio:.2f} at {m}' for m, ratio in cells)


def report(path, peers):
    sections = (('18 linears, one GPU', peers.linears(path, ONE_GPU, math.inf)), ('3 shards of tp 4', peers.linears(path, TP4, 128)),
                ('groups that read one x', peers.of_groups(path)), ('BF16 with few rows', peers.few_rows(path)))
    for title, lines in sections:
        lines = list(lines)
        if lines:
            yield title
            yield from (f'  {line}' for line in lines)


def main(paths):
    peers = Peers()
    for path in paths:
        print(path)
        for line in report(path, peers):
            print(line)


if __name__ == '__main__':
    main(sys.argv[1:])
