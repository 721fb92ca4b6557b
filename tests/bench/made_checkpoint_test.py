# SPDX-License-Identifier: Apache-2.0
"""A made checkpoint has the tensors of its fixture, whole, and no code that is NaN."""
import json
import struct
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import made_checkpoint  # noqa: E402

passed, failed = 0, 0


def check(what, good, found):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    if not good:
        print(f'FAILED {what}: {found}')


LISTING = {'tensors': [
    {'name': 'a.{L}.b.{E}.weight', 'dtype': 'F8_E4M3', 'shape': [3, 700000], 'L': [1, 4], 'E': 2},
    {'name': 'a.{L}.b.{E}.weight_scale_inv', 'dtype': 'BF16', 'shape': [1, 5], 'L': [1, 4], 'E': 2},
    {'name': 'c.weight', 'dtype': 'BF16', 'shape': [7], },
    {'name': 'd', 'dtype': 'F32', 'shape': [], }]}
with tempfile.TemporaryDirectory() as folder:
    fixture, made = Path(folder) / 'fixture', Path(folder) / 'made'
    fixture.mkdir()
    (fixture / 'config.json').write_text('{"model_type": "x"}')
    (fixture / 'tensors.json').write_text(json.dumps(LISTING))
    (fixture / 'quantization_config.json').write_text('{"quant_method": "fp8"}')
    made_checkpoint.FILE_BYTES = 4 << 20  # several files, and one that a tensor fills alone
    made_checkpoint.main(fixture, made)
    check('one config', json.loads((made / 'config.json').read_text()) ==
          {'model_type': 'x', 'quantization_config': {'quant_method': 'fp8'}}, 'another')
    places = json.loads((made / 'model.safetensors.index.json').read_text())['weight_map']
    seen, values = {}, {}
    for name in sorted(set(places.values())):
        content = (made / name).read_bytes()
        size = struct.unpack('<Q', content[:8])[0]
        header = json.loads(content[8:8 + size])
        check('a file ends where its last tensor does',
              8 + size + max(t['data_offsets'][1] for t in header.values()) == len(content), name)
        for tensor, entry in header.items():
            check('the index knows the file of a tensor', places[tensor] == name, tensor)
            seen[tensor] = (entry['dtype'], entry['shape'])
            begin, end = entry['data_offsets']
            values[tensor] = content[8 + size + begin:8 + size + end]
    check('several files', len(set(places.values())) > 1, places)
    wanted = {f'a.{layer}.b.{expert}.weight': ('F8_E4M3', [3, 700000]) for layer in (1, 4) for expert in (0, 1)}
    wanted |= {name + '_scale_inv': ('BF16', [1, 5]) for name in wanted} | {'c.weight': ('BF16', [7]), 'd': ('F32', [])}
    check('names, types and shapes', seen == wanted, seen)
    for tensor, content in values.items():
        kind, shape = wanted[tensor]
        if kind == 'F8_E4M3':
            check('as many codes as values', len(content) == shape[0] * shape[1], len(content))
            check('no NaN, both signs', not {0x7F, 0xFF} & set(content) and min(content) < 0x80 < max(content), tensor)
        if tensor.endswith('_scale_inv'):
            scales = [struct.unpack('<f', b'\0\0' + content[i:i + 2])[0] for i in range(0, len(content), 2)]
            check('scales', len(scales) == 5 and all(0.9e-3 < scale < 2.1e-3 for scale in scales), scales)
    check('bytes of the others', (len(values['c.weight']), len(values['d'])) == (14, 4), values['d'])
check('the nearest code', [made_checkpoint.e4m3(v) for v in (0.0, 1.0, -1.0, 448.0, 1e9, 2.0 ** -9, 0.0625)] ==
      [0x00, 0x38, 0xB8, 0x7E, 0x7E, 0x01, 0x18], [made_checkpoint.e4m3(v) for v in (0.0625,)])
print(f'{passed} passed, {failed} failed')
sys.exit(failed > 0)
