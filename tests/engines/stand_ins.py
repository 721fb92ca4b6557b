# SPDX-License-Identifier: Apache-2.0
"""Empty modules in place of packages that are imported and not used."""
import importlib.abc
import importlib.machinery
from unittest import mock


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """For sys.meta_path: one package with all that is below it, or everything that nobody before finds. Each name of such a
    module is there."""

    def __init__(self, package=None):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        ours = self.package is None or name.split('.')[0] == self.package
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if ours else None

    def create_module(self, spec):
        module = mock.MagicMock(name=spec.name)
        module.__path__, module.__spec__ = [], spec
        return module

    def exec_module(self, module):
        pass
