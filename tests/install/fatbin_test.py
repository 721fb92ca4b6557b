# SPDX-License-Identifier: Apache-2.0
"""Tests of tests/install/fatbin.py on sections made byte by byte."""
import sys

from fatbin import ELF, PTX, entries, mistakes

A, F = 1 << 20, 1 << 21


def little(value, count):
    return value.to_bytes(count, 'little')


def entry(kind, arch, flags=0, code=b'\x7fELF and more', header=64):
    head = (little(kind, 2) + little(0x101, 2) + little(header, 4) + little(len(code), 8) + bytes(8) +
            little(1, 2) + little(8, 2) + little(arch, 4) + bytes(8) + little(0x11 | flags, 8))
    return head + bytes(header - len(head)) + code


def fat(*parts):
    body = b''.join(parts)
    return little(0xBA55ED50, 4) + little(1, 2) + little(16, 2) + little(len(body), 8) + body


# A sentence, a section, its fat binaries.
READ = [
    ('nothing', b'', []),
    ('one entry', fat(entry(ELF, 80)), [[(ELF, '80')]]),
    ('archs that end in a letter', fat(entry(ELF, 90, A), entry(ELF, 100, F), entry(ELF, 90)),
     [[(ELF, '90a'), (ELF, '100f'), (ELF, '90')]]),
    ('PTX beside code', fat(entry(ELF, 80), entry(PTX, 80)), [[(ELF, '80'), (PTX, '80')]]),
    ('headers of other lengths', fat(entry(ELF, 100, header=112), entry(ELF, 120, header=80)),
     [[(ELF, '100'), (ELF, '120')]]),
    ('several, with gaps', fat(entry(ELF, 80)) + bytes(24) + fat() + fat(entry(ELF, 89)),
     [[(ELF, '80')], [], [(ELF, '89')]]),
]

# A sentence, a section that is none, what is said.
REFUSED = [
    ('another magic', b'\x01' + fat(entry(ELF, 80)), 'no fat binary begins at byte 0'),
    ('cut in a header', fat()[:12], 'ends inside the header at byte 0'),
    ('cut in the code', fat(entry(ELF, 80))[:-1], 'ends behind the section'),
    ('an entry longer than its fat binary', fat(entry(ELF, 80)[:-1]), 'the entry at byte 16 ends behind'),
    ('half an entry', fat(entry(ELF, 80)[:40]), 'ends inside the entry at byte 16'),
]

ALL = [(ELF, '80'), (ELF, '90a')]
# A sentence, fat binaries, how each sentence said begins where 80 and 90a were asked for.
JUDGED = [
    ('all archs, and Hopper alone', [ALL, [(ELF, '90a')], ALL], []),
    ('in another order', [ALL[::-1]], []),
    ('none', [], ['no GPU code']),
    ('Hopper alone is not all', [[(ELF, '90a')]], ['none of 1 fat binaries holds']),
    ('PTX', [ALL, ALL + [(PTX, '90a')]], ['fat binary 2 of 2 holds PTX for 90a']),
    ('one arch missing', [ALL, [(ELF, '80')]], ['fat binary 2 of 2 holds code for 80, not for 80, 90a']),
    ('another arch', [ALL, ALL + [(ELF, '120')]], ['fat binary 2 of 2 holds code for 80, 90a, 120, not for']),
    ('90 is not 90a', [ALL, [(ELF, '90')]], ['fat binary 2 of 2 holds code for 90, not for 80, 90a']),
    ('empty', [ALL, []], ['fat binary 2 of 2 holds code for nothing']),
    ('one arch twice', [ALL + [(ELF, '80')]], ['fat binary 1 of 1 holds an arch twice']),
    ('another kind', [ALL + [(4, '80')]], ['fat binary 1 of 1 holds what is neither']),
]


def refusal(section):
    try:
        return f'read as {entries(section)}'
    except ValueError as error:
        return str(error)


def main():
    rows = [(name, entries(section), wanted) for name, section, wanted in READ]
    rows += [(name, refusal(section), wanted) for name, section, wanted in REFUSED]
    rows += [(name, mistakes(found, ['80', '90a']), wanted) for name, found, wanted in JUDGED]
    failures = 0
    for at, (name, got, wanted) in enumerate(rows):
        if at < len(READ):
            good = got == wanted
        elif at < len(READ) + len(REFUSED):
            good = wanted in got
        else:
            good = len(got) == len(wanted) and all(map(str.startswith, got, wanted))
        if not good:
            failures += 1
            print(f'failed: {name}\n  got {got}\n  wanted {wanted}')
    print(f'{len(rows) - failures} passed, {failures} failed')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
