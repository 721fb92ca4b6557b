# SPDX-License-Identifier: Apache-2.0
"""Writes kernels/gpu_table.inc from what `ferrule bench --sweep` printed.

    ferrule bench --sweep --no-check --shape … --tokens 1,8,16,32,64,128,256,512,1024,2048,4096 > sweep.tsv
    python3 tests/bench/gpu_table.py --keep kernels/gpu_table.inc sweep.tsv > new && mv new kernels/gpu_table.inc

Each shape gets one row for each class of tokens: the way whose slowest replays were the fastest at the class's number. With --keep a row of that table stays
where nothing was measured, and where nothing was faster than it: the way `rule` of the sweep is what the table said then.
A row of cuBLASLt says beside it which tiles of ours were the fastest, for where it is not there.
"""
import sys

CLASSES = {1: '4', 8: '8', 16: '16', 32: '32', 64: '64', 128: '128', 256: '256', 512: '512', 1024: '1024',
           2048: '2048', 4096: 'kAny'}
AHEAD = {'x': 'kAfterX', 'late': 'kLate', 'once': 'kAtOnce'}


def row_of(way, own):
    words = way.split()
    if words[0] == 'lt':
        return row_of(own, own).replace('kLarge', 'kLt')
    if words[0] == 'small':
        return f'kSmall, {words[1][1:]}, {words[2][1:]}, {AHEAD[words[3]]}, {int(words[-1] == "q")}, 0'
    if words[0] == 'large':
        return f'kLarge, {words[1][1:]}, {words[2][1:]}, {words[3][1:]}, {words[4][1:]}, {words[5][1:]}'
    wide = words[2] == 'wide'
    return f'kTile, {words[1][1:]}, {256 if wide else 128}, {1 if wide else words[2][1:]}, {words[3][1:]}, 0'


def main(arguments):
    kept, source, paths = {}, [], arguments
    if arguments and arguments[0] == '--keep':
        paths = arguments[2:]
        for line in open(arguments[1], encoding='utf-8'):
            if line.startswith('// ferrule'):
                source.append(line[3:].strip())
            if line.startswith('{'):
                field = [text.strip() for text in line.strip('{},\n').split(',')]
                tokens = next(tokens for tokens, name in CLASSES.items() if name == field[2])
                kept[int(field[0]), int(field[1]), tokens] = ', '.join(field[3:])
    best, tiles = {}, {}
    for path in paths:
        for line in open(path, encoding='utf-8'):
            if line.startswith('# ferrule'):
                source.append(line[2:].strip())
            field = line.rstrip('\n').split('\t')
            if line.startswith(('#', 'shape\t')) or field[4] == 'mma' or int(field[1]) not in CLASSES:
                continue
            key = int(field[2]), int(field[3]), int(field[1])
            if field[4] != 'rule' or key in kept:
                slowest = float(field[5]) * (1 + float(field[6]))  # some ways have two speeds, by chance
                best[key] = min(best.get(key, (1e9, '')), (slowest, field[4]))
                if field[4].startswith('large'):
                    tiles[key] = min(tiles.get(key, (1e9, '')), (slowest, field[4]))
    rows = kept | {key: row_of(way, tiles.get(key, ('', ''))[1]) for key, (_, way) in best.items() if way != 'rule'}
    print('// SPDX-License-Identifier: Apache-2.0')
    print('// Made by tests/bench/gpu_table.py; not to be edited.')
    for text in source:
        print('// ' + text)
    for (rows_of_w, width, tokens), row in sorted(rows.items()):
        print(f'{{{rows_of_w}, {width}, {CLASSES[tokens]}, {row}}},')


if __name__ == '__main__':
    main(sys.argv[1:])
