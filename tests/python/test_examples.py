"""The examples in docstrings and in the READMEs."""

import doctest
import importlib
import os
import pathlib
import pkgutil
import unittest

import blipcpp

SOURCE = pathlib.Path(os.environ["BLIP_SOURCE"])


def load_tests(loader, tests, pattern):
    os.chdir(SOURCE / "demo/scenes")
    for module in [blipcpp.__name__] + [
        m.name for m in pkgutil.walk_packages(blipcpp.__path__, "blipcpp.")
    ]:
        tests.addTests(doctest.DocTestSuite(importlib.import_module(module)))
    for readme in ("python/README.md", "README.md"):
        tests.addTests(doctest.DocFileSuite(str(SOURCE / readme), module_relative=False))
    return tests


if __name__ == "__main__":
    unittest.main()
