# SPDX-License-Identifier: Apache-2.0
"""The command line of a wheel: `ferrule …` or `python -m ferrule …`."""
import os
import sys
from pathlib import Path


def main():
    program = Path(__file__).resolve().parent / 'bin' / 'ferrule'
    if not program.is_file():
        sys.exit(f'{program} is not there: this package came with `meson install`, whose `ferrule` is on PATH')
    os.execv(program, ['ferrule', *sys.argv[1:]])


if __name__ == '__main__':
    main()
