"""The scripts of benchmarks/ that look at one model: each gives its rows, of a small model on small pairs."""

from functools import partial

import pytest
import torch
from media import moving_frames, write_clip
from tables import rows, rows_without_times

from flowgru.config import SyntheticSettings
from flowgru.data.formats.images import read_image

SMALL = ("--height", 128, "--width", 136)


@pytest.fixture
def few_textures(monkeypatch):
    """Has a script paint its pairs with two textures."""
    return lambda module: monkeypatch.setattr(module, "SyntheticSettings", partial(SyntheticSettings, num_textures=2))


def test_masks_of_what_is_hidden_are_compared(script, model, tmp_path, few_textures):
    occlusion = script("occlusion", "--model", model, "--pairs", 1, *SMALL, "--json", tmp_path / "a.jsonl")
    few_textures(occlusion)
    occlusion.main()
    found = rows_without_times(tmp_path / "a.jsonl")
    assert [row["flow"] for row in found] == ["the model's way", "network alone, 24 refinements from zero", "DIS"]
    assert all(0 <= row[name] <= 1 for row in found for name in ("precision", "recall"))


def test_flows_are_shown_one_above_the_other_for_each_pair(script, model, tmp_path, few_textures):
    words = ("--model", model, "--before", model, "--indices", 0, 1, *SMALL, "--json", tmp_path / "a.jsonl")
    pictures = script("pictures", "--output", tmp_path / "flows.png", *words)
    few_textures(pictures)
    pictures.main()
    height, width, _ = read_image(tmp_path / "flows.png").shape
    assert height >= 5 * 128 and width >= 2 * 136 and len(rows_without_times(tmp_path / "a.jsonl")) == 2


def test_tiles_are_compared_with_the_whole(script, model, tmp_path, monkeypatch):
    tiles = script("tiles", "--model", model, "--tiles", "1x2", "--iterations", 1, "--json", tmp_path / "a.jsonl")
    frame = torch.rand(3, 160, 320)
    monkeypatch.setattr(tiles, "pairs", lambda root: [("one", frame, frame.roll(2, dims=2), torch.zeros(2, 160, 320))])
    tiles.main()
    (row,) = rows_without_times(tmp_path / "a.jsonl")
    assert row["tiles"] == "1x2" and row["EPE whole"] > 0 and row["EPE tiles"] > 0


def test_what_stands_still_is_measured_on_the_models_way_and_alone(script, model, tmp_path, monkeypatch):
    still_pairs = script("still_pairs", "--model", model, "--json", tmp_path / "a.jsonl")
    frame = torch.full((3, 128, 136), 0.5)
    monkeypatch.setattr(still_pairs, "pairs", lambda: [("grey", frame, frame)])
    still_pairs.main()
    (row,) = rows_without_times(tmp_path / "a.jsonl")
    assert row["pair"] == "grey" and row["DIS"] == 0 and row["network alone"] >= 0


def test_a_models_way_is_timed_on_a_clip_beside_the_network_alone(script, model, tmp_path):
    write_clip(tmp_path / "walk.mp4", moving_frames(3, 128, 136))
    words = ("--model", model, "--frames", 3, "--rounds", 1, "--clock", "processor", "--json", tmp_path / "a.jsonl")
    script("ways", tmp_path / "walk.mp4", *words).main()
    alone, own = rows(tmp_path / "a.jsonl")
    assert alone["times as fast (range)"]["median"] == 1 and own["s a pair"] > 0


def test_stopping_early_is_timed_by_the_clock_that_is_asked_for(script, model, tmp_path, monkeypatch, few_textures):
    few = ("--pairs", 2, "--size", "128x136", "--iterations", 1, 2, "--below", 1000, "--timed-pairs", 1, "--rounds", 1)
    words = ("--models", model, *few, "--clock", "processor", "--json", tmp_path / "a.jsonl")
    early_exit = script("early_exit", *words)
    few_textures(early_exit)
    clocks, interleaved = set(), early_exit.interleaved_seconds
    timed = lambda *given, **more: clocks.add(more["clock"]) or interleaved(*given, **more)  # noqa: E731
    monkeypatch.setattr(early_exit, "interleaved_seconds", timed)
    early_exit.main()
    found = rows(tmp_path / "a.jsonl")
    assert clocks == {"processor"} and [row["refinements, mean"] for row in found] == [1, 2, 1]
