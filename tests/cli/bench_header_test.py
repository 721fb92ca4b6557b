# SPDX-License-Identifier: Apache-2.0
"""The first line of what `ferrule bench` prints.

  bench_header_test.py BENCH_HEADER
"""
import re
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = sys.argv.pop(1)
OPEN = 'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (dvs-builder@U16)\n'
CLOSED = 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.12  Wed Sep 20 09:35:17 UTC 2023\n'
GCC = 'GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n'


def header(driver, *words):
    done = subprocess.run([PROGRAM, *words], input=driver, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


class Header(unittest.TestCase):
    def test_says_all(self):
        said = header(OPEN + GCC, '9073bc0')
        self.assertRegex(said, r'^# ferrule \d+\.\d+\.\d+ 9073bc0, 2026-11-30, Made Up 1, CUDA 13\.0, '
                               r'driver 580\.159\.04, reads 4\.528 TB/s\n$')

    def test_what_was_not_measured_is_not_said(self):
        self.assertTrue(header(OPEN, '9073bc0', 'unmeasured').endswith(', driver 580.159.04\n'))

    def test_the_driver(self):
        for text, driver in (CLOSED + GCC, '535.104.12'), ('', 'unknown'), (GCC, 'unknown'), ('NVRM version: none\n' + GCC, 'unknown'):
            with self.subTest(text=text):
                self.assertIn(f', driver {driver}, reads', header(text, 'x'))

    def test_the_commit_it_was_built_from(self):
        commit = re.match(r'# ferrule \S+ (.*?), 2026', header(OPEN)).group(1)
        known = subprocess.run(['git', '-C', ROOT, 'rev-parse', 'HEAD'], capture_output=True, check=False)
        if known.returncode != 0:
            self.assertEqual(commit, 'unknown commit')
            return
        self.assertRegex(commit, r'^[0-9a-f]{7,40}\+?$')
        subprocess.run(['git', '-C', ROOT, 'cat-file', '-e', commit.rstrip('+') + '^{commit}'], check=True)


unittest.main()
