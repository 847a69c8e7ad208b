"""The seconds of a pair stand beside what they depend on."""

import pytest
import torch
from media import moving_frames, write_clip
from tables import csv_rows

from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.config.model_settings import ModelSettings
from flowgru.config.way import Way
from flowgru.evaluation.evaluate import Estimate
from flowgru.evaluation.measures import seconds
from flowgru.model.flow_network import FlowNetwork


def timed_pairs(monkeypatch, busy) -> seconds.Timed:
    """Two pairs and one with itself, while all programs had so many seconds."""
    passed = iter(busy)
    monkeypatch.setattr(seconds, "busy_seconds", lambda: next(passed))
    began = iter(["dis", "warm", "warm"])
    estimator = lambda first, second, start=None, /: Estimate(first[:, :2], None, next(began))  # noqa: E731
    timed = seconds.Timed(estimator, torch.device("cpu"))
    first, second = torch.zeros(2, 1, 3, 8, 8)
    for other in (first, second, second):
        timed(first, other)
    return timed


def test_a_busy_machine_is_named(monkeypatch):
    timed = timed_pairs(monkeypatch, [0, 0, 10, 15])
    assert len(timed.wall) == 2  # the picture with itself is no pair
    section = seconds.time_section([("made", timed)], ModelSettings(), None)
    assert section.tables[0].rows[0][1] == 1 and "the machine was busy while the pairs of made" in section.notes[0]


def test_the_seconds_of_a_network_say_what_they_depend_on(monkeypatch):
    network, way = FlowNetwork(NetworkConfig()), Way(5, "dis", 1, scales=2)
    timed = timed_pairs(monkeypatch, [None, None])
    monkeypatch.setattr(seconds, "num_threads", lambda: 7)
    settings = ModelSettings(precision="bf16", stop_below=0.5)
    section = seconds.time_section([("made", timed)], settings, way, network)
    conditions = [torch.get_num_threads(), "bf16", 5, "warm", "auto: all_pairs", "cpu", str(way), 7, 0.5, "1x1", "no"]
    assert section.tables[0].rows[0][6:] == conditions
    assert len(section.tables[0].columns) == len(section.tables[0].rows[0])
    timed.wall.append(1.0)
    timed.processor.append(1.0)
    timed.began.append("dis")
    settings = ModelSettings(tiles="2x3", compile=True)
    (row,) = seconds.time_section([("made", timed)], settings, way, network).tables[0].rows
    assert (row[9], row[10], row[14:]) == ("1 warm, 1 dis", "auto", [None, "2x3", "yes"])


@pytest.mark.parametrize(
    "way, said", [(Way(5), None), (Way(5, "given"), None), (Way(5, polish=True), 7), (Way(5, "dis"), 7)]
)
def test_the_threads_of_opencv_are_said_where_it_has_a_part(monkeypatch, way, said):
    timed = timed_pairs(monkeypatch, [None, None])
    monkeypatch.setattr(seconds, "num_threads", lambda: 7)
    section = seconds.time_section([("made", timed)], ModelSettings(), way, FlowNetwork(NetworkConfig()))
    assert section.tables[0].rows[0][13] == said


def test_the_threads_of_a_classical_method_are_opencvs(monkeypatch):
    timed = timed_pairs(monkeypatch, [None, None])
    monkeypatch.setattr(seconds, "num_threads", lambda: 7)
    section = seconds.time_section([("made", timed)], ModelSettings(), None)
    assert section.tables[0].rows[0][6] == 7 and section.tables[0].rows[0][8:11] == 3 * [None]


@pytest.mark.parametrize("busy", [[0, 0, 0, 0], [None, None]])
def test_a_quiet_machine_and_an_unknown_one_are_not(monkeypatch, busy):
    section = seconds.time_section([("made", timed_pairs(monkeypatch, busy))], ModelSettings(), None)
    assert section.notes == []


def test_a_clip_is_timed_as_its_pairs_follow_each_other(model, tmp_path):
    write_clip(tmp_path / "walk.mp4", moving_frames(4, 96, 128))
    words = ("evaluate", tmp_path / "walk.mp4", "--model", model, "--iterations", 1, "--initial-flow", "dis", "--time")
    for more, began in (((), "dis"), (("--warm-start",), "warm")):
        folder = tmp_path / began
        assert main([*map(str, (*words, *more, "--output", folder))]) == 0
        (row,) = csv_rows(folder / "time.csv")
        assert (row["pairs"], row["initial_flow"], row["tiles"], row["compile"]) == ("2", began, "1x1", "no")


def test_generated_pairs_begin_at_zero_where_a_folder_has_the_initial_flow(model, pairs, capsys):
    words = ("evaluate", pairs, "--model", model, "--iterations", 1, "--reach", "--reach-sizes", "64x64")
    for start, said in ((pairs.parent, True), ("zero", False)):
        assert main([*map(str, (*words, "--initial-flow", start))]) == 0
        output = capsys.readouterr()
        assert ("they begin at zero here" in output.out + output.err) == said
