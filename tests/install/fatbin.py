# SPDX-License-Identifier: Apache-2.0
"""What GPU code a library holds, without CUDA's tools.

  fatbin.py LIBRARY ARCH…

ARCH is as in -Dgpu_archs: 80, 90a. Fails with a sentence a line where the library holds PTX, which a
driver would compile at start-up, or lacks code for one of these.

The section .nv_fatbin holds one fat binary for each .cu file, each a header and its entries:
  header  u32 0xBA55ED50, u16 version, u16 bytes of the header, u64 bytes of all entries
  entry   u16 kind (1: PTX, 2: ELF), u16, u32 bytes of its header, u64 bytes of its code, u32, u32,
          u16, u16, u32 arch, u32, u32, u64 flags (bit 20: the arch ends in `a`, bit 21: in `f`)
"""
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

MAGIC = 0xBA55ED50
HEADER = struct.Struct('<IHHQ')
ENTRY = struct.Struct('<HHIQIIHHIIIQ')
PTX, ELF = 1, 2
HOPPER_ALONE = {'90a'}  # wgmma and TMA: kernels/meson.build


def entries(section):
    """[[(kind, arch), …] for each fat binary] of a section; ValueError where it is none."""
    found, at = [], 0
    while at < len(section):
        if not any(section[at:at + 8]):  # up to the next multiple of the alignment
            at += 8
            continue
        if len(section) - at < HEADER.size:
            raise ValueError(f'the section ends inside the header at byte {at}')
        magic, _, header_bytes, size = HEADER.unpack_from(section, at)
        if magic != MAGIC:
            raise ValueError(f'no fat binary begins at byte {at}: {magic:#x}')
        at += header_bytes
        end = at + size
        if header_bytes < HEADER.size or end > len(section):
            raise ValueError(f'a fat binary ends behind the section, at byte {end}')
        found.append([])
        while at < end:
            if end - at < ENTRY.size:
                raise ValueError(f'a fat binary ends inside the entry at byte {at}')
            kind, _, entry_bytes, code, *_, arch, _, _, flags = ENTRY.unpack_from(section, at)
            if entry_bytes < ENTRY.size or at + entry_bytes + code > end:
                raise ValueError(f'the entry at byte {at} ends behind its fat binary')
            suffix = 'a' if flags >> 20 & 1 else 'f' if flags >> 21 & 1 else ''
            found[-1].append((kind, f'{arch}{suffix}'))
            at += entry_bytes + code
    return found


def mistakes(found, archs):
    """Sentences on what is wrong with fat binaries that are to run on `archs` without a compiler."""
    if not found:
        return ['no GPU code at all']
    said, everywhere = [], 0
    for number, parts in enumerate(found, 1):
        which = f'fat binary {number} of {len(found)}'
        ptx = [arch for kind, arch in parts if kind == PTX]
        code = [arch for kind, arch in parts if kind == ELF]
        if ptx:
            said.append(f'{which} holds PTX for {", ".join(ptx)}: a driver would compile it at start-up')
        if len(ptx) + len(code) < len(parts):
            said.append(f'{which} holds what is neither PTX nor code')
        if len(set(code)) < len(code):
            said.append(f'{which} holds an arch twice: {", ".join(code)}')
        if set(code) == set(archs):
            everywhere += 1
        elif set(code) != HOPPER_ALONE:
            said.append(f'{which} holds code for {", ".join(code) or "nothing"}, not for {", ".join(archs)}')
    if everywhere == 0:
        said.append(f'none of {len(found)} fat binaries holds code for {", ".join(archs)}')
    return said


def section_of(library):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'section'
        subprocess.run(['objcopy', '-O', 'binary', '--only-section=.nv_fatbin', library, out], check=True)
        return out.read_bytes()


def main(library, *archs):
    said = mistakes(entries(section_of(library)), archs)
    for sentence in said:
        print(f'{library}: {sentence}')
    return 1 if said else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
