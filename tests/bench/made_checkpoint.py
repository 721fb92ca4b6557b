# SPDX-License-Identifier: Apache-2.0
"""Writes a checkpoint with the names, types and shapes of a fixture and made-up weights.

  made_checkpoint.py FIXTURE DIRECTORY

FIXTURE has config.json and tensors.json (tests/fixtures/README.md). Weights are normal: E4M3 codes about 64 times a standard
normal, scales 1/1000 to 2/1000, other types about 0.02. For timings of loading and for `ferrule run --check`, not for what a
model says. Takes as much room as the model.
"""
import itertools
import json
import os
import random
import statistics
import struct
import sys

SIZES = {'F8_E4M3': 1, 'BF16': 2, 'F32': 4}
FILE_BYTES = 4 << 30
PATTERN = 1 << 20  # values that are made; a tensor repeats them from some place on
POSITIVE = tuple((1 + (c & 7) / 8) * 2.0 ** ((c >> 3) - 7) if c >> 3 else (c & 7) / 8 * 2.0 ** -6 for c in range(0x7F))


def e4m3(value):
    """The code nearest to `value`, never NaN."""
    nearest = min(range(0x7F), key=lambda code: abs(POSITIVE[code] - abs(value)))
    return nearest | (0x80 if value < 0 else 0)


def patterns(seed):
    """{(type, is a scale): bytes of PATTERN values}"""
    source = random.Random(seed)
    normal = statistics.NormalDist()
    normals = [normal.inv_cdf((i + 0.5) / 256) for i in range(256)]
    drawn = source.randbytes(PATTERN)

    def repeat(encode, values):
        encoded = [encode(value) for value in values]
        return b''.join(encoded[byte] for byte in drawn)

    def bf16(value):
        return struct.pack('<f', value)[2:]

    def f32(value):
        return struct.pack('<f', value)

    scales = [(1 + i / 256) * 1e-3 for i in range(256)]
    return {('F8_E4M3', False): repeat(lambda value: bytes([e4m3(64 * value)]), normals),
            ('BF16', False): repeat(lambda value: bf16(0.02 * value), normals),
            ('F32', False): repeat(lambda value: f32(0.02 * value), normals),
            ('BF16', True): repeat(bf16, scales), ('F32', True): repeat(f32, scales)}


def expand(listing):
    """(name, type, shape) of each tensor of a fixture."""
    for row in listing['tensors']:
        keys = [key for key in row if '{' + key + '}' in row['name']]
        choices = [row[key] if isinstance(row[key], list) else range(row[key]) for key in keys]
        for values in itertools.product(*choices):
            name = row['name']
            for key, value in zip(keys, values):
                name = name.replace('{' + key + '}', str(value))
            yield name, row['dtype'], row['shape']


def write_file(path, tensors, made, source):
    header, end = {}, 0
    for name, kind, shape, size in tensors:
        header[name] = {'dtype': kind, 'shape': shape, 'data_offsets': [end, end + size]}
        end += size
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for name, kind, _, size in tensors:
            pattern = made[kind, '_scale' in name]
            skip = source.randrange(PATTERN) * SIZES[kind]
            file.write(pattern[skip:skip + size])
            size -= min(size, len(pattern) - skip)
            for _ in range(size // len(pattern)):
                file.write(pattern)
            file.write(pattern[:size % len(pattern)])


def write_config(fixture, directory):
    with open(os.path.join(fixture, 'config.json'), encoding='utf-8') as file:
        config = json.load(file)
    apart = os.path.join(fixture, 'quantization_config.json')
    if os.path.exists(apart):
        with open(apart, encoding='utf-8') as file:
            config.setdefault('quantization_config', json.load(file))
    with open(os.path.join(directory, 'config.json'), 'w', encoding='utf-8') as file:
        json.dump(config, file)


def main(fixture, directory):
    with open(os.path.join(fixture, 'tensors.json'), encoding='utf-8') as file:
        listing = json.load(file)
    files, room = [], 0
    for name, kind, shape in expand(listing):
        size = SIZES[kind]
        for n in shape:
            size *= n
        if size > room:
            files.append([])
            room = max(FILE_BYTES, size)
        files[-1].append((name, kind, shape, size))
        room -= size
    os.makedirs(directory)
    write_config(fixture, directory)
    made, source, places = patterns(1), random.Random(2), {}
    for i, tensors in enumerate(files):
        name = f'model-{i + 1:05}-of-{len(files):05}.safetensors'
        write_file(os.path.join(directory, name), tensors, made, source)
        places.update((tensor[0], name) for tensor in tensors)
    with open(os.path.join(directory, 'model.safetensors.index.json'), 'w', encoding='utf-8') as file:
        json.dump({'metadata': {}, 'weight_map': places}, file)


if __name__ == '__main__':
    main(*sys.argv[1:])
