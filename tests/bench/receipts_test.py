# SPDX-License-Identifier: Apache-2.0
"""Receipts say in their first line what was measured, when and on what."""
import re
import unittest
from pathlib import Path

RECEIPTS = sorted((Path(__file__).parents[2] / 'kernels' / 'receipts').glob('*.tsv'))
# The driver is named since the tool names it.
FIRST = re.compile(r'# ferrule \d+\.\d+\.\d+ (?P<commit>[0-9a-f]{7,40}), (?P<date>\d{4}-\d\d-\d\d), (?P<device>NVIDIA [^,]+), '
                   r'CUDA \d+\.\d+(, driver \d+(\.\d+)+)?(, reads \d\.\d{3} TB/s)?\n')


class Receipts(unittest.TestCase):
    def test_there_are_some(self):
        self.assertGreaterEqual(len(RECEIPTS), 3)

    def test_first_lines(self):
        for path in RECEIPTS:
            with self.subTest(path.name), open(path, encoding='utf-8') as file:
                first = FIRST.fullmatch(file.readline())
                self.assertIsNotNone(first)
                # h200-2026-11-30-run1.tsv
                self.assertIn(first['date'], path.name)
                self.assertIn(re.search(r'[a-z]+\d+', path.name).group(), first['device'].lower())


unittest.main()
