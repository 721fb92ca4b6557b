# SPDX-License-Identifier: Apache-2.0
"""Writes kernels/gpu_table.inc from what `ferrule bench --sweep` printed.

    ferrule bench --sweep --no-check --shape … --tokens 1,8,16,32,64,128,256,512,1024,4096 > sweep.tsv
    python3 tests/bench/gpu_table.py sweep.tsv > kernels/gpu_table.inc

Each shape gets one row for each class of tokens: the fastest way measured at the class's number.
"""
import sys

CLASSES = {1: '4', 8: '8', 16: '16', 32: '32', 64: '64', 128: '128', 256: '256', 512: '512', 1024: '1024',
           4096: 'kAny'}
AHEAD = {'x': 'kAfterX', 'late': 'kLate', 'once': 'kAtOnce'}


def row_of(way):
    words = way.split()
    if words[0] == 'small':
        return f'kSmall, {words[1][1:]}, {words[2][1:]}, {AHEAD[words[3]]}, 0, 0'
    if words[0] == 'large':
        return f'kLarge, {words[1][1:]}, {words[2][1:]}, {words[3][1:]}, {words[4][1:]}, {words[5][1:]}'
    wide = words[2] == 'wide'
    return f'kTile, {words[1][1:]}, {256 if wide else 128}, {1 if wide else words[2][1:]}, {words[3][1:]}, 0'


def main(paths):
    best, source = {}, []
    for path in paths:
        for line in open(path, encoding='utf-8'):
            if line.startswith('# ferrule'):
                source.append(line[2:].strip())
            field = line.rstrip('\n').split('\t')
            if line.startswith(('#', 'shape\t')) or field[4] == 'rule' or int(field[1]) not in CLASSES:
                continue
            key = int(field[2]), int(field[3]), int(field[1])
            best[key] = min(best.get(key, (1e9, '')), (float(field[5]), field[4]))
    print('// SPDX-License-Identifier: Apache-2.0')
    print('// Made by tests/bench/gpu_table.py; not to be edited.')
    for text in source:
        print('// ' + text)
    for (rows, width, tokens), (_, way) in sorted(best.items()):
        print(f'{{{rows}, {width}, {CLASSES[tokens]}, {row_of(way)}}},')


if __name__ == '__main__':
    main(sys.argv[1:])
