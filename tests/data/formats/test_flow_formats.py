"""One table has all formats of flow files, and everything that reads, writes or offers one takes it from there."""

import typing

import numpy as np
import pytest
from paths import ROOT

from flowgru.config.choices import FlowFormat
from flowgru.data.formats import flow_files, flow_formats
from flowgru.data.formats.flow_files import flow_size, read_flow, write_flow
from flowgru.data.formats.flow_formats import BY_SUFFIX, FLOW_FORMATS
from flowgru.parser import TaskParser

FLOW = np.arange(24, dtype=np.float32).reshape(3, 4, 2)


def test_the_names_that_commands_offer_are_the_formats_that_are_written():
    assert {name for name, format in FLOW_FORMATS.items() if format.encode} == {*typing.get_args(FlowFormat)}


@pytest.mark.parametrize("name", typing.get_args(FlowFormat))
def test_a_written_format_is_known_again_by_its_first_bytes(tmp_path, name):
    format = FLOW_FORMATS[name]
    write_flow(tmp_path / f"a{format.suffix}", FLOW)
    (tmp_path / f"a{format.suffix}").rename(tmp_path / "nameless")
    assert [other for other in FLOW_FORMATS if FLOW_FORMATS[other].fits((tmp_path / "nameless").read_bytes())] == [name]
    np.testing.assert_array_equal(read_flow(tmp_path / "nameless").flow, FLOW)
    assert flow_size(tmp_path / "nameless") == (4, 3)


@pytest.mark.parametrize(("command", "more"), [("estimate", []), ("view", ["png"])])
def test_a_command_offers_every_format(command, more):
    module = __import__(f"flowgru.commands.{command}", fromlist=[command])
    parser = TaskParser(command, getattr(module, command))
    for name in [*more, *typing.get_args(FlowFormat)]:
        parser.parse(["a", "--output", "out", "--format", name])


def test_every_file_that_loses_pixels_is_named(tmp_path):
    far = FLOW.copy()
    far[0, 0, 0] = 600
    for name in ("a", "b"):
        with pytest.warns(
            UserWarning, match=rf"{name}.png: the KITTI format holds .*, and 1 pixel of the flow"
        ) as caught:
            write_flow(tmp_path / f"{name}.png", far)
        assert len(caught) == 1
    assert not read_flow(tmp_path / "a.png").valid[0, 0]


def test_a_line_in_the_table_is_enough_for_reading_and_writing(tmp_path, monkeypatch):
    def encode(flow):
        return b"MINE" + flow.flow.tobytes()

    def read(path):
        return flow_formats.cleaned(np.frombuffer(path.read_bytes(), np.float32, offset=4).reshape(3, 4, 2))

    mine = flow_formats.Format(".mine", (b"MINE",), read, lambda path: (4, 3), encode)
    monkeypatch.setitem(FLOW_FORMATS, "mine", mine)
    monkeypatch.setitem(BY_SUFFIX, ".mine", mine)
    flow_files.write_flow(tmp_path / "a.mine", FLOW)
    np.testing.assert_array_equal(read_flow(tmp_path / "a.mine").flow, FLOW)


@pytest.mark.parametrize("bytes_of", ["PIEH", "x89HDF"])
def test_no_other_file_knows_what_a_flow_file_begins_with(bytes_of):
    knowing = [path for path in (ROOT / "flowgru").rglob("*.py") if bytes_of in path.read_text("utf-8")]
    assert [path.name for path in knowing] == ["flow_formats.py"]
