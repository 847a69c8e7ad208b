"""The scripts of benchmarks/ as modules."""

import importlib
import sys

import pytest
import torch
from paths import ROOT


@pytest.fixture
def script(monkeypatch):
    """Runs a script of benchmarks/ in this process, and gives the module, for a test to change before."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    names = [path.stem for path in (ROOT / "benchmarks").glob("*.py")]
    before = {name: sys.modules.pop(name, None) for name in names}

    def load(name: str, *words: object):
        monkeypatch.setattr(sys, "argv", [name, *map(str, words), "--threads", str(torch.get_num_threads())])
        return importlib.import_module(name)

    yield load
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update({name: module for name, module in before.items() if module is not None})
