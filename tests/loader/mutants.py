# SPDX-License-Identifier: Apache-2.0
"""The tiny checkpoints under wrong numerics, computed with numpy from the files alone: how much y differs.

  mutants.py > mutants.tsv        (needs numpy; run by hand, its result is what tiny_test.cc must meet)

Shares no code with ferrule. A row: the mistake, how many modules can show it, the least relative
Frobenius difference of y from what is recorded, and the module of that. `whole`: modules as stored,
all tokens. `parts`: fused modules and what the ranks of tp 2 hold, the first two tokens; each range
of rows has the scale grid that it touches. `halves`: all tokens of what the ranks hold.
"""
import json
import struct
import sys
from pathlib import Path

import numpy as np

TINY = Path(__file__).resolve().parents[1] / 'fixtures' / 'tiny'
BLOCK = 128


def e4m3():
    table = np.zeros(256)
    for code in range(256):
        exponent, mantissa = code >> 3 & 15, code & 7
        value = mantissa * 2.0**-9 if exponent == 0 else (8 + mantissa) * 2.0**(exponent - 10)
        table[code] = -value if code > 127 else value
    table[[127, 255]] = np.nan
    return table


CODES = e4m3()
POSITIVE = CODES[:127]


def to_e4m3(x):
    """Nearest code, ties to the even one, saturated."""
    size = np.minimum(np.abs(x), 448)
    above = np.clip(np.searchsorted(POSITIVE, size), 1, 126)
    low, high = size - POSITIVE[above - 1], POSITIVE[above] - size
    nearest = np.where(low < high, above - 1, np.where(low > high, above, above - above % 2))
    return np.copysign(POSITIVE[nearest], x)


def read(path):
    raw = path.read_bytes()
    size = struct.unpack('<Q', raw[:8])[0]
    header, tensors = json.loads(raw[8:8 + size]), {}
    for name, entry in header.items():
        if name == '__metadata__':
            continue
        begin, end = entry['data_offsets']
        data = raw[8 + size + begin:8 + size + end]
        if entry['dtype'] == 'BF16':
            values = (np.frombuffer(data, '<u2').astype('<u4') << 16).view('<f4')
        elif entry['dtype'] == 'F32':
            values = np.frombuffer(data, '<f4')
        else:
            values = CODES[np.frombuffer(data, 'u1')]
        tensors[name] = values.reshape(entry['shape']).astype(np.float64)
    return tensors


def error(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def x_scales(x):
    """One for each token and block of columns, repeated over the block."""
    blocks = [np.abs(x[:, k:k + BLOCK]).max(1) for k in range(0, x.shape[1], BLOCK)]
    scale = np.maximum(np.stack(blocks, 1).astype(np.float32), np.float32(1e-10)) / np.float32(448)
    return scale.astype(np.float64)


def spread(scale, columns):
    return np.repeat(scale, BLOCK, 1)[:, :columns]


def quantized(x, scale):
    return to_e4m3((x.astype(np.float32) / scale.astype(np.float32)).astype(np.float64))


def over(grid, rows, columns):
    """A grid of scales over the elements of a matrix."""
    return np.repeat(np.repeat(grid, BLOCK, 0), BLOCK, 1)[:rows, :columns]


def whole_modules(c, found):
    for name, module in c['expect']['modules'].items():
        grid = c['tensors'].get(name + '.weight_scale_inv')
        if name not in c['x'] or grid is None:
            continue
        w, x, y = c['tensors'][name + '.weight'], c['x'][name], c['y'][name + '.y']
        rows, columns = w.shape
        s = x_scales(x)
        sx = spread(s, columns)
        xq = quantized(x, sx)

        def put(mistake, wrong):
            found.setdefault((mistake, 'whole'), []).append((error(wrong, y), name))

        def with_grid(other):
            return (xq * sx) @ (w * over(other, rows, columns)).T

        assert error(with_grid(grid), y) < 1e-6
        full = over(grid, rows, columns)
        if grid.shape[0] > 1:
            put('next row of scales', with_grid(np.roll(grid, -1, 0)))
        if grid.shape[1] > 1:
            put('next column of scales', with_grid(np.roll(grid, -1, 1)))
            put('previous column of scales', with_grid(np.roll(grid, 1, 1)))
            put('activation scale of another block',
                (xq * spread(np.roll(s, -1, 1), columns)) @ (w * full).T)
            one = np.broadcast_to(s.max(1, keepdims=True), x.shape)
            put('one activation scale per token', (quantized(x, one) * one) @ (w * full).T)
        if min(grid.shape) > 1:
            put('transposed scales', with_grid(grid.reshape(grid.shape[::-1]).T))
        put('x not quantized', x @ (w * full).T)


class Segment:
    """One range of rows of one stored tensor, over the columns that a rank holds."""

    def __init__(self, c, name, rows, columns):
        (begin, end), (left, right) = rows, columns
        self.w = c['tensors'][name + '.weight'][begin:end, left:right]
        self.n_phase, self.k_phase = begin % BLOCK, left % BLOCK
        grid = c['tensors'][name + '.weight_scale_inv']
        self.grid = grid[begin // BLOCK:-(-end // BLOCK), left // BLOCK:-(-right // BLOCK)]

    def run(self, x, mistake):
        rows, columns = self.w.shape
        high, wide = self.grid.shape
        height = -(-rows // high) if mistake == 'block height as rows / scale rows' else BLOCK
        n_phase = 0 if mistake == "a shard's first row taken for a block's" else self.n_phase
        k_phase = 0 if mistake == "a shard's first column taken for a block's" else self.k_phase
        i, j = (np.arange(rows) + n_phase) // height, (np.arange(columns) + k_phase) // BLOCK
        i, j = np.minimum(i, high - 1)[:, None], np.minimum(j, wide - 1)[None, :]
        if mistake == 'next row of scales':
            i = (i + 1) % high
        if mistake == 'next column of scales':
            j = (j + 1) % wide
        if mistake == 'previous column of scales':
            j = (j - 1) % wide
        if mistake == 'transposed scales':
            i, j = (j * high + i) // wide, (j * high + i) % wide
        block = (np.arange(columns) + k_phase) // BLOCK
        s = np.stack([np.abs(x[:, block == b]).max(1) for b in range(block[-1] + 1)], 1)
        s = (np.maximum(s.astype(np.float32), np.float32(1e-10)) / np.float32(448)).astype(np.float64)
        if mistake == 'one activation scale per token':
            s = np.broadcast_to(s.max(1, keepdims=True), s.shape)
        xq = quantized(x, s[:, block])
        if mistake == 'activation scale of another block':
            s = np.roll(s, -1, 1)
        product = x if mistake == 'x not quantized' else xq * s[:, block]
        return product @ (self.w * self.grid[i, j]).T

    def shows(self):
        high, wide = self.grid.shape
        return {'next row of scales': high > 1, 'next column of scales': wide > 1,
                'previous column of scales': wide > 1, 'transposed scales': min(high, wide) > 1,
                'activation scale of another block': wide > 1,
                'one activation scale per token': wide > 1, 'x not quantized': True,
                'block height as rows / scale rows':
                    high > 1 and -(-self.w.shape[0] // high) != BLOCK,
                "a shard's first row taken for a block's": high > 1 and self.n_phase > 0,
                "a shard's first column taken for a block's": wide > 1 and self.k_phase > 0}


def parts(c, found):
    modules, fused = c['expect']['modules'], c['expect']['fused']
    outputs = [(f'{name}.y', name, [(part, {}) for part in fused[name]['parts']]) for name in fused]
    for name in [*fused, *modules]:
        for rank in (0, 1):
            of = fused[name]['parts'] if name in fused else [name]
            outputs.append((f'{name}.y_tp2.rank{rank}', name, [
                (part, (modules[part].get('ranks') or {'tp2': [{}, {}]})['tp2'][rank])
                for part in of]))
    for key, name, of in outputs:
        if key not in c['y'] or of[0][0] + '.weight_scale_inv' not in c['tensors']:
            continue
        segments = []
        for part, cut in of:
            columns = cut.get('cols', [0, modules[part]['cols']])
            for rows in cut.get('rows', [[0, modules[part]['rows']]]):
                segments.append(Segment(c, part, rows, columns))
        x, y = c['x'][name][:2, columns[0]:columns[1]], c['y'][key][:2]
        assert error(np.concatenate([s.run(x, '') for s in segments], 1), y) < 1e-6
        for mistake in segments[0].shows():
            if any(s.shows()[mistake] for s in segments):
                wrong = np.concatenate([s.run(x, mistake) for s in segments], 1)
                found.setdefault((mistake, 'parts'), []).append((error(wrong, y), key))


def halves(c, found):
    modules, fused = c['expect']['modules'], c['expect']['fused']
    for name in [*fused, *modules]:
        keys = [f'{name}.y_tp2.rank{rank}' for rank in (0, 1)]
        if keys[0] not in c['y']:
            continue
        parts = fused[name]['parts'] if name in fused else [name]
        cut = [modules[part]['ranks']['tp2'] for part in parts]
        if 'rows' not in cut[0][0] or sum(len(part[0]['rows']) for part in cut) < 2:
            continue
        side_by_side = np.concatenate([c['y'][part + '.y'] for part in parts], 1)
        wrong = [side_by_side[:, rank * c['y'][key].shape[1]:][:, :c['y'][key].shape[1]]
                 for rank, key in enumerate(keys)]
        for key, one in zip(keys, wrong):
            y = c['y'][key]
            moved = np.abs(one - y).max(0) > 1e-5 * np.abs(y).max()
            found.setdefault(('cut as one range', 'halves'), []).append((error(one, y), key))
            found.setdefault(('cut as one range, outputs that are wrong', 'halves'), []).append(
                (error(one[:, moved], y[:, moved]), key))


def main():
    found = {}
    for folder in ('qwen3_next_fp8', 'qwen3_5_fp8'):
        tensors = {}
        for path in (TINY / folder).glob('model*.safetensors'):
            tensors.update(read(path))
        checkpoint = {'tensors': tensors, 'x': read(TINY / folder / 'inputs.safetensors'),
                      'y': read(TINY / folder / 'outputs.safetensors'),
                      'expect': json.loads((TINY / folder / 'expect.json').read_text())}
        whole_modules(checkpoint, found)
        parts(checkpoint, found)
        halves(checkpoint, found)
    print('# made by mutants.py with numpy: mistake, of what, how often, least difference, where')
    for (mistake, what), errors in found.items():
        least, name = min(errors)
        print(mistake, what, len(errors), f'{least:.6f}', name, sep='\t')
    return 0


if __name__ == '__main__':
    sys.exit(main())
