# SPDX-License-Identifier: Apache-2.0
"""Writes kernels/gpu_table.inc from what `ferrule bench --sweep` printed.

    ferrule bench --sweep --no-check --shape … --tokens 1,8,16,32,64,96,128,192,256,384,512,768,1024,1536,2048,4096 > sweep.tsv
    (from 256 tokens on with `--heat 100`: prefill is at the power limit)
    python3 tests/bench/gpu_table.py --keep kernels/gpu_table.inc sweep.tsv > new && mv new kernels/gpu_table.inc

Each shape gets one row for each class of tokens: the fastest way at the class's number, of those that took turns in the end (the
others stand in `#` lines). A way's time is the median, but where its replays differ by more than TWO_SPEEDS it is the slowest;
of several sweeps of a shape (a file each) it is the longest, and only ways count that took turns in all of them. With --keep a
row of that table stays where nothing was measured, and where nothing was faster than it by MARGIN if it took turns in all sweeps:
the way `rule` of the sweep is what the table said then, and so is the way that the row names.
A row of cuBLASLt says beside it which tiles of ours were the fastest, for where it is not there: those of the sweep, else those
of the row that was kept. Where neither has any, the row says the fastest of our own ways, or there is none; stderr names it.
"""
import sys

CLASSES = {1: '4', 8: '8', 16: '16', 32: '32', 64: '64', 96: '96', 128: '128', 192: '192', 256: '256', 384: '384', 512: '512',
           768: '768', 1024: '1024', 1536: '1536', 2048: '2048', 4096: 'kAny'}
AHEAD = {'x': 'kAfterX', 'late': 'kLate', 'once': 'kAtOnce'}
KEPT = 'rule'  # the way that stands for the row that was kept
MARGIN = 0.01  # nearer ways change places from sweep to sweep
TWO_SPEEDS = 0.3  # some ways are slow in one replay of three, by chance; a GPU at its power limit varies by less
WAYS = {KEPT, 'lt', 'small', 'few', 'tile', 'large'}  # first words of those that a row can say


def row_of(way):
    words = way.split()
    if words[0] == 'small':
        in_flight = words[4][1:] if words[4:] and words[4][0] == 'f' else '0'
        return f'kSmall, {words[1][1:]}, {words[2][1:]}, {AHEAD[words[3]]}, {int(words[-1] == "q")}, {in_flight}'
    if words[0] == 'few':
        return f'kFewRows, {words[1][1:]}, {words[2][1:]}, 0, 0, 0'
    if words[0] == 'large':
        return f'kLarge, {words[1][1:]}, {words[2][1:]}, {words[3][1:]}, {words[4][1:]}, {words[5][1:]}'
    wide = words[2] == 'wide'
    return f'kTile, {words[1][1:]}, {256 if wide else 128}, {1 if wide else words[2][1:]}, {words[3][1:]}, 0'


def read_table(path):
    """({(rows, columns, tokens): the rest of its row}, what it was made from)"""
    kept, source = {}, []
    for line in open(path, encoding='utf-8'):
        if line.startswith('// ferrule'):
            source.append(line[3:].strip())
        if line.startswith('{'):
            field = [text.strip() for text in line.strip('{},\n').split(',')]
            tokens = next(tokens for tokens, name in CLASSES.items() if name == field[2])
            kept[int(field[0]), int(field[1]), tokens] = ', '.join(field[3:])
    return kept, source


def read_sweeps(paths, kept):
    """({(rows, columns, tokens): {way: [time in each sweep]}}, what was measured)"""
    measured, source = {}, []
    for path in paths:
        for line in open(path, encoding='utf-8'):
            if line.startswith('# ferrule'):
                source.append(line[2:].strip())
            field = line.rstrip('\n').split('\t')
            if line.startswith(('#', 'shape\t')) or int(field[1]) not in CLASSES:
                continue
            if field[4].split()[0] not in WAYS:
                continue
            key = int(field[2]), int(field[3]), int(field[1])
            if field[4] != KEPT or key in kept:
                median, spread = float(field[5]), float(field[6])
                time = median * (1 + spread) if spread > TWO_SPEEDS else median
                measured.setdefault(key, {}).setdefault(field[4], []).append(time)
    return measured, source


def is_kept(way, row):
    """Whether a way is what the kept row says."""
    return way == KEPT or row is not None and (row.startswith('kLt,') if way == 'lt' else row == row_of(way))


def fastest(times, row):
    """(time, way) of what counts, and which of them gets the row: KEPT unless another is faster by MARGIN."""
    sweeps = max(map(len, times.values()))
    ways = sorted((max(of), way) for way, of in times.items() if len(of) == sweeps)
    kept = min((time for time, way in ways if is_kept(way, row)), default=None)
    return ways, KEPT if kept is not None and ways[0][0] >= kept * (1 - MARGIN) else ways[0][1]


def beside_lt(key, ways, kept):
    """The row of a shape for which cuBLASLt was the fastest; None: as it was."""
    tiles = [way for _, way in ways if way.startswith('large')]
    row = row_of(tiles[0]) if tiles else kept.get(key, '')
    if row.startswith(('kLarge,', 'kLt,')):
        return 'kLt' + row[row.index(','):]
    own = next((way for _, way in ways if way != 'lt'), KEPT)
    instead = f'the row says `{own}`' if own != KEPT else 'its row stays' if key in kept else 'it gets no row'
    print(f'note: {key[0]} rows, {key[1]} columns, {key[2]} tokens: cuBLASLt was the fastest, and no large tile was measured beside '
          f'it, which a row of cuBLASLt needs: {instead}. Remedy: sweep this shape with all ways', file=sys.stderr)
    return None if own == KEPT else row_of(own)


def main(arguments):
    keep = arguments[:1] == ['--keep']
    rows, source = read_table(arguments[1]) if keep else ({}, [])
    measured, newer = read_sweeps(arguments[2:] if keep else arguments, rows)
    for key, times in measured.items():
        ways, best = fastest(times, rows.get(key))
        row = beside_lt(key, ways, rows) if best == 'lt' else None if best == KEPT else row_of(best)
        if row is not None:
            rows[key] = row
    print('// SPDX-License-Identifier: Apache-2.0')
    print('// Made by tests/bench/gpu_table.py; not to be edited.')
    for text in dict.fromkeys(text.split(', reads ')[0] for text in source + newer):
        print('// ' + text)
    for (rows_of_w, width, tokens), row in sorted(rows.items()):
        print(f'{{{rows_of_w}, {width}, {CLASSES[tokens]}, {row}}},')


if __name__ == '__main__':
    main(sys.argv[1:])
