# SPDX-License-Identifier: Apache-2.0
"""Tests of tests/bench/gpu_table.py: a wrong row would make a linear slow and nothing would say so."""
import contextlib
import io
import sys
import tempfile
from pathlib import Path

import gpu_table

TABLE = Path(__file__).parents[2] / 'kernels' / 'gpu_table.inc'
HEAD = 'shape\tM\tN\tK\tway\tus\tspread\tfloor_us\tof_floor\terror\tsame_bits\tcopies\n'
KEPT_LARGE, KEPT_LT, KEPT_TILE = ('{2048, 4096, 1024, kLarge, 64, 256, 1, -2, 1},', '{2048, 4096, 1024, kLt, 64, 256, 1, -2, 1},',
                                  '{2048, 4096, 1024, kTile, 128, 128, 1, 2, 0},')

# What was kept; (tokens, way, µs, spread) of a sweep of 2048 × 4096 → rows; what stderr says
CASES = [
    ('the fastest way gets the row', [], [(8, 'small s8 h1 late', 4.0, 0), (8, 'small s16 h2 x q', 3.9, 0), (8, 'tile n16 s8 x1', 5, 0)],
     ['{2048, 4096, 8, kSmall, 16, 2, kAfterX, 1, 0},'], ''),
    ('boxes in flight, and who quantizes', [], [(8, 'small s8 h1 late f3', 4.0, 0), (16, 'small s2 h2 once f3 q', 3.9, 0)],
     ['{2048, 4096, 8, kSmall, 8, 1, kLate, 0, 3},', '{2048, 4096, 16, kSmall, 2, 2, kAtOnce, 1, 3},'], ''),
    ('few rows', [], [(1, 'small s8 h1 late', 2.0, 0), (1, 'few s4 e2', 1.8, 0)], ['{2048, 4096, 4, kFewRows, 4, 2, 0, 0, 0},'], ''),
    ('what is slow at times is not the fastest', [], [(64, 'tile n32 s4 x2', 5, 0.5), (64, 'tile n16 wide x1', 6, 0.01)],
     ['{2048, 4096, 64, kTile, 16, 256, 1, 1, 0},'], ''),
    ('what varies a little counts by its median', [], [(64, 'tile n32 s4 x2', 5, 0.2), (64, 'tile n16 wide x1', 5.5, 0.01)],
     ['{2048, 4096, 64, kTile, 32, 128, 4, 2, 0},'], ''),
    ('4096 tokens stand for more', [], [(4096, 'large t256 r128 s1 x2 c1', 90, 0)],
     ['{2048, 4096, kAny, kLarge, 256, 128, 1, 2, 1},'], ''),
    ('a kept row stays where nothing was faster', [KEPT_LARGE], [(1024, 'rule', 30, 0), (1024, 'large t128 r128 s1 x1 c1', 31, 0)],
     [KEPT_LARGE], ''),
    ('a kept row gives way to what is faster', [KEPT_LARGE], [(1024, 'rule', 30, 0), (1024, 'large t128 r128 s1 x1 c1', 29, 0)],
     ['{2048, 4096, 1024, kLarge, 128, 128, 1, 1, 1},'], ''),
    ('a kept row stays where what is faster is so by less than the margin', [KEPT_LARGE],
     [(1024, 'rule', 30, 0), (1024, 'large t128 r128 s1 x1 c1', 29.8, 0)], [KEPT_LARGE], ''),
    ('a kept row stays where the way it names took turns and `rule` did not', [KEPT_LARGE],
     [(1024, 'large t64 r256 s1 x-2 c1', 29, 0), (1024, 'large t128 r128 s1 x1 c1', 29.8, 0)], [KEPT_LARGE], ''),
    ('a kept row goes where neither took turns', [KEPT_LARGE],
     [('# 1024', 'rule', 40, 0), (1024, 'large t128 r128 s1 x1 c1', 29.8, 0)], ['{2048, 4096, 1024, kLarge, 128, 128, 1, 1, 1},'], ''),
    ('a kept row of cuBLASLt is what it named, whichever name it was timed by', [KEPT_LT],
     [(1024, 'lt', 20, 0), (1024, 'large t128 r128 s1 x1 c1', 19.9, 0)], [KEPT_LT], ''),
    ('a rule that no row said is no way', [], [(1024, 'rule', 30, 0), (1024, 'large t128 r128 s1 x1 c1', 31, 0)],
     ['{2048, 4096, 1024, kLarge, 128, 128, 1, 1, 1},'], ''),
    ('what others run, other numbers of tokens and what did not fit are no ways', [KEPT_TILE],
     [(1024, 'peer quantizer + cublaslt', 1, 0), (1024, 'mma', 1, 0), (1025, 'tile n16 s1 x1', 1, 0), ('# 1024', 'lt', 1, 0)],
     [KEPT_TILE], ''),
    ('cuBLASLt beside the fastest of our tiles', [KEPT_LARGE],
     [(1024, 'lt', 20, 0), (1024, 'large t64 r64 s1 x1 c1', 31, 0), (1024, 'large t128 r64 s1 x1 c1', 30, 0), (1024, 'tile n128 s1 x1', 29, 0)],
     ['{2048, 4096, 1024, kLt, 128, 64, 1, 1, 1},'], ''),
    ('cuBLASLt beside the tile of the kept row', [KEPT_LARGE], [(1024, 'lt', 20, 0), (1024, 'rule', 30, 0)], [KEPT_LT], ''),
    ('cuBLASLt beside the tile of its own kept row', [KEPT_LT], [(1024, 'lt', 20, 0), (1024, 'rule', 21, 0)], [KEPT_LT], ''),
    ('cuBLASLt without any large tile: our own fastest way, and a note', [],
     [(64, 'lt', 20, 0), (64, 'tile n64 s2 x1', 30, 0), (64, 'tile n32 s2 x1', 25, 0)],
     ['{2048, 4096, 64, kTile, 32, 128, 2, 1, 0},'], 'the row says `tile n32 s2 x1`'),
    ('the kept row, a small tile, was our own fastest way', [KEPT_TILE],
     [(1024, 'lt', 20, 0), (1024, 'rule', 24, 0), (1024, 'tile n64 s2 x1', 30, 0)], [KEPT_TILE], 'its row stays'),
    ('cuBLASLt alone beside a small tile that was kept', [KEPT_TILE], [(1024, 'lt', 20, 0)], [KEPT_TILE], 'its row stays'),
    ('cuBLASLt alone: no row', [], [(1024, 'lt', 20, 0)], [], '2048 rows, 4096 columns, 1024 tokens'),
]
# What was kept; (tokens, way, µs, spread) of each sweep → rows
OF_SEVERAL = [
    ('of several sweeps the slowest counts', [],
     [[(8, 'small s8 h1 late', 4.0, 0), (8, 'small s4 h1 late', 3.0, 0)], [(8, 'small s8 h1 late', 4.0, 0), (8, 'small s4 h1 late', 5.0, 0)]],
     ['{2048, 4096, 8, kSmall, 8, 1, kLate, 0, 0},']),
    ('what took turns in one sweep of two does not count', [],
     [[(8, 'small s8 h1 late', 4.0, 0), (8, 'small s4 h1 late', 3.0, 0)], [(8, 'small s8 h1 late', 4.0, 0)]],
     ['{2048, 4096, 8, kSmall, 8, 1, kLate, 0, 0},']),
    ('a kept row stays unless a way is faster in every sweep', [KEPT_LARGE],
     [[(1024, 'rule', 30, 0), (1024, 'large t128 r128 s1 x1 c1', 20, 0)], [(1024, 'rule', 30, 0), (1024, 'large t128 r128 s1 x1 c1', 31, 0)]],
     [KEPT_LARGE]),
    ('a kept row goes that took turns in one sweep of two, however fast it was there', [KEPT_LARGE],
     [[(1024, 'rule', 20, 0), (1024, 'large t128 r128 s1 x1 c1', 29, 0)], [(1024, 'large t128 r128 s1 x1 c1', 28, 0)]],
     ['{2048, 4096, 1024, kLarge, 128, 128, 1, 1, 1},']),
    ('a kept row stays where nothing took turns in both sweeps', [KEPT_LARGE],
     [[(1024, 'rule', 20, 0)], [(1024, 'large t128 r128 s1 x1 c1', 28, 0)]], [KEPT_LARGE]),
    ('other numbers of tokens in other sweeps', [], [[(8, 'small s8 h1 late', 4.0, 0)], [(16, 'small s4 h1 late', 3.0, 0)]],
     ['{2048, 4096, 8, kSmall, 8, 1, kLate, 0, 0},', '{2048, 4096, 16, kSmall, 4, 1, kLate, 0, 0},']),
]


def line_of(tokens, way, us, spread):
    if isinstance(tokens, int):
        return f'q\t{tokens}\t2048\t4096\t{way}\t{us}\t{spread}\t1\t0.5\t\t\t5\n'
    return f'{tokens}\t2048\t4096\t{way}: does not fit\n'


def table_of(kept, sweeps):
    """(rows, stderr) for a table of these rows and sweeps."""
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / 'old.inc'
        old.write_text(''.join(row + '\n' for row in kept), encoding='utf-8')
        new = [Path(folder) / f'sweep{i}.tsv' for i in range(len(sweeps))]
        for path, sweep in zip(new, sweeps):
            path.write_text(HEAD + ''.join(line_of(*measured) for measured in sweep), encoding='utf-8')
        printed, said = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            gpu_table.main((['--keep', str(old)] if kept else []) + [str(path) for path in new])
    return [line for line in printed.getvalue().splitlines() if line.startswith('{')], said.getvalue()


def main():
    failures = 0
    cases = [(sentence, kept, [sweep], expected, note) for sentence, kept, sweep, expected, note in CASES]
    cases += [(*case, '') for case in OF_SEVERAL]
    for sentence, kept, sweeps, expected, note in cases:
        rows, said = table_of(kept, sweeps)
        if rows != expected or (note not in said if note else said):
            failures += 1
            print(f'failed: {sentence}\n  got {rows}, wanted {expected}\n  stderr `{said}`, wanted `{note}`')
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        gpu_table.main(['--keep', str(TABLE)])
    with tempfile.TemporaryDirectory() as folder:
        sweeps = [Path(folder) / f'{reads}.tsv' for reads in (4.4, 4.5)]
        for sweep in sweeps:
            sweep.write_text(f'# ferrule 0.1.0 1234567, 2026-11-30, NVIDIA H200, reads {sweep.stem} TB/s\n{HEAD}', encoding='utf-8')
        again = io.StringIO()
        with contextlib.redirect_stdout(again):
            gpu_table.main(['--keep', str(TABLE), *map(str, sweeps)])
    if printed.getvalue() != TABLE.read_text(encoding='utf-8'):
        failures += 1
        print('failed: without a sweep the table stays as it is')
    if again.getvalue().count('1234567') != 1:
        failures += 1
        print('failed: what the table was made from stands once, not for each sweep')
    print(f'{len(cases) + 2 - failures} passed, {failures} failed')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
