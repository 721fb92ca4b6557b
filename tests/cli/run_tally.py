# SPDX-License-Identifier: Apache-2.0
"""What tests of `ferrule run` share: running it, counting what holds, the closing line."""
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class RunTally:
    def __init__(self, ferrule, timeout=300):
        self.ferrule, self.timeout = str(Path(ferrule).resolve()), timeout
        self.passed, self.failed = 0, 0

    def run(self, *words):
        """`ferrule run` with these words, from the repository's root; stdout and stderr as text."""
        return subprocess.run([self.ferrule, 'run', *map(str, words)], cwd=ROOT,
                              capture_output=True, text=True, timeout=self.timeout, check=False)

    def check(self, name, good, said=''):
        self.passed, self.failed = self.passed + bool(good), self.failed + (not good)
        if not good:
            print(f'failed: {name}\n{said}')

    def close(self):
        """Prints the line that CI reads. Returns the exit code."""
        print(f'{self.passed} passed, {self.failed} failed')
        return 0 if self.failed == 0 and self.passed > 0 else 1
