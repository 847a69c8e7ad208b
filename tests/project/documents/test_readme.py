"""What the README tells a user to type works, and the check runs its test command."""

import hashlib
import os
import re
import runpy
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from paths import ROOT

README = (ROOT / "README.md").read_text()


def test_the_check_runs_the_test_command_word_for_word(tmp_path):
    """.ci/run, with programs that only note how they are called, where real pairs lie beside the checkout."""
    tree = tmp_path / "tree"
    (tmp_path / "shared/data").mkdir(parents=True)
    (tree / ".ci").mkdir(parents=True)
    for name in (".ci/run", "README.md", "pyproject.toml"):
        (tree / name).write_bytes((ROOT / name).read_bytes())
    (tree / ".ci/wheel").write_text('echo "called: wheel $*"\n')
    python = subprocess.run(
        ["python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], stdout=-1, text=True
    )
    key = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()[:16]
    venv = tmp_path / "flowgru-ci" / f"{key}-{python.stdout.strip()}"
    (venv / "bin").mkdir(parents=True)
    (venv / "ready").touch()
    for name in ("pip", "ruff", "pyright", "pytest", "chromium"):
        (venv / "bin" / name).write_text(f'#!/bin/sh\necho "called: {name} $*"\n')
        (venv / "bin" / name).chmod(0o755)
    environment = {**os.environ, "FLOWGRU_CI_CACHE": str(tmp_path)}
    checked = subprocess.run(
        ["bash", ".ci/run"], cwd=tree, env=environment, capture_output=True, text=True, timeout=200
    )
    assert checked.returncode == 0, checked.stderr
    command = re.search(r'^pip install -e "\.\[dev\]" && (pytest.*)$', README, re.MULTILINE)
    assert command is not None
    called = re.findall(r"^called: ((?:pytest|wheel).*)$", checked.stdout, re.MULTILINE)
    assert [line.rstrip() for line in called] == [f"wheel {venv}", command[1] + " --data-root=../shared/data"]


@pytest.mark.parametrize(
    ("option", "expected"),
    [({"numprocesses": None}, "auto"), ({"numprocesses": 0}, 0), ({"numprocesses": 3}, 3)],
    ids=["README's", "-n 0", "-n 3"],
)
def test_the_tests_choose_their_processes_where_nobody_else_does(option, expected):
    config: Any = SimpleNamespace(
        option=SimpleNamespace(tx=[], maxprocesses=None, dist="no", distload=False, **option),
        pluginmanager=SimpleNamespace(has_plugin=lambda name: name == "xdist"),
    )
    runpy.run_path(str(ROOT / "tests/conftest.py"))["pytest_cmdline_main"](config)
    assert config.option.numprocesses == expected
    assert config.option.dist == ("loadfile" if expected else "no")


def test_the_tests_need_no_xdist():
    words = ["-m", "pytest", "-p", "no:xdist", "--collect-only", "-q", "tests/project/documents/test_readme.py"]
    subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, check=True, timeout=200)
