"""What the README and the pages of docs/ tell a user to type is what the program takes."""

import hashlib
import importlib
import os
import re
import runpy
import shlex
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from paths import ROOT

from flowgru.cli import COMMANDS
from flowgru.parser import TaskParser

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md", *sorted(ROOT.glob("docs/*.md"))]
SOURCES = [path.read_text() for path in (*PAGES, *sorted(ROOT.glob("configs/*.yaml")))]
COMMAND = rf"^[# ]*(flowgru (?:{'|'.join(COMMANDS)}) .*)$"
LINES = [line for text in SOURCES for line in re.findall(COMMAND, text, re.MULTILINE)]


@pytest.mark.parametrize("line", LINES)
def test_every_command_is_understood(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(line.replace("$operator", "conv_gru"), comments=True)
    command = COMMANDS[words[1]]
    task = getattr(importlib.import_module(command.module), command.function)
    TaskParser("flowgru", task).parse(words[2:])


def test_there_are_commands_to_check():
    assert {line.split()[1] for line in LINES} >= {"estimate", "view", "train", "evaluate"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_three_python_lines_work():
    import numpy as np

    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    frames = [np.full((16, 24, 3), 50 * number, np.uint8) for number in (1, 2)]
    names: dict = {"frames": frames}
    exec(code[1], names)
    assert names["picture"].shape == (16, 24, 3)


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
    for name in ("pip", "ruff", "pyright", "pytest"):
        (venv / "bin" / name).write_text(f'#!/bin/sh\necho "called: {name} $*"\n')
        (venv / "bin" / name).chmod(0o755)
    environment = {**os.environ, "FLOWGRU_CI_CACHE": str(tmp_path)}
    checked = subprocess.run(["bash", ".ci/run"], cwd=tree, env=environment, capture_output=True, text=True, timeout=60)
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
        option=SimpleNamespace(tx=[], maxprocesses=None, dist="no", **option),
        pluginmanager=SimpleNamespace(has_plugin=lambda name: name == "xdist"),
    )
    runpy.run_path(str(ROOT / "tests/conftest.py"))["pytest_cmdline_main"](config)
    assert config.option.numprocesses == expected


def test_the_tests_need_no_xdist():
    words = ["-m", "pytest", "-p", "no:xdist", "--collect-only", "-q", "tests/project/test_readme.py"]
    subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, check=True, timeout=60)
