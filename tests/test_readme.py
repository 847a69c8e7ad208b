"""What the README tells a user to type is what the program takes."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from flowgru.cli import COMMANDS
from flowgru.tasks.arguments import TaskParser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SOURCES = [README, *(path.read_text() for path in sorted((ROOT / "configs").glob("*.yaml")))]
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


@pytest.mark.parametrize("name", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_leads_somewhere(name):
    assert (ROOT / name).exists()


def test_the_three_python_lines_work():
    import numpy as np

    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    frames = [np.full((16, 24, 3), 50 * number, np.uint8) for number in (1, 2)]
    names: dict = {"frames": frames}
    exec(code[1], names)
    assert names["picture"].shape == (3, 16, 24)
