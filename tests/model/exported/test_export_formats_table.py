"""One table has all kinds of exported files; the command, the loader and `estimate` take them from there."""

import typing
from pathlib import Path

import pytest

from flowgru.config.choices import ExportFormat
from flowgru.errors import RequestError
from flowgru.estimation.opening import is_exported
from flowgru.model.exported import formats
from flowgru.model.exported.flow import ExportedFlow
from flowgru.model.exported.formats import FORMATS
from flowgru.model.weight_files.loading import load_model


def missing(path: Path) -> formats.Opened:
    raise ModuleNotFoundError("No module named 'myruntime'", name="myruntime")


def write(*_: object) -> None:
    raise AssertionError("nothing is written here")


def test_the_names_that_the_command_offers_are_those_of_the_table():
    assert {*FORMATS} == {*typing.get_args(ExportFormat)}


@pytest.mark.parametrize("runnable", [True, False])
def test_a_line_in_the_table_is_enough(tmp_path, monkeypatch, runnable):
    mine = formats.Format(write, missing, (".mine",), (), runnable)
    monkeypatch.setitem(FORMATS, "mine", mine)
    assert is_exported("flow.mine") is runnable and not is_exported("flow.safetensors")
    with pytest.raises(RequestError, match=r"flow\.mine is named like an exported model"):
        load_model("flow.mine", "cpu")
    (tmp_path / "flow.mine").touch()
    with pytest.raises(RequestError, match=r"the package myruntime is missing: pip install 'flowgru\[export\]'"):
        ExportedFlow(tmp_path / "flow.mine")
