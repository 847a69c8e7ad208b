"""A path that is empty is refused by every command, where the words of all commands are read."""

import pytest
from estimates import only_error
from paths import ROOT

from flowgru.cli import main

RECIPE = ("--config", str(ROOT / "configs/compare.yaml"))
EMPTY = [
    ("estimate", "in.mp4", "--output"),
    ("view", "a.flo", "--output"),
    ("demo", "--output"),
    ("evaluate", "sintel", "--output"),
    ("evaluate", "sintel", "--root"),
    ("submit", "sintel", "--output"),
    ("submit", "sintel", "--check"),
    ("export", "--output"),
    ("train", "--output"),
    ("train", "--output", "run", "--init-from"),
    ("compare", *RECIPE, "--output"),
    ("benchmark", "--json"),
]


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize("words", EMPTY, ids=" ".join)
def test_an_empty_path_is_refused_by_every_command_before_any_work(words, empty, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*words, empty]) == 2
    assert only_error(capsys) == f"error: {words[-1]} is empty: give a name or a path, or leave it out"
    assert not list(tmp_path.iterdir())
