"""`flowgru estimate` goes on where the same command was stopped, and never takes another command's results for its own."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from estimates import SIZE, names, only_error
from media import moving_frames, noisy_frames, write_clip

from flowgru.config.choices import FlowFormat
from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.flow_formats import FLOW_FORMATS
from flowgru.estimation.file_names import CARRIED
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.pair_files import read_carried
from flowgru.estimation.reads import weights_beside

pytestmark = pytest.mark.usefixtures("without_a_network")

FLOWS = [f"frame_{number}.flo" for number in range(1, 11)]


def flows(folder: Path) -> list[np.ndarray]:
    return [read_flow(path).flow for path in sorted(folder.glob("*.flo"), key=lambda path: (len(path.name), path.name))]


def kept(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.parametrize("options", [(), ("--backward",), ("--warm-start",), ("--warm-start", "--backward")])
def test_the_same_command_goes_on_and_gives_what_it_would_have_given(
    estimate, folder, output, tmp_path, capsys, stop_after, options
):
    assert estimate(folder, "--output", tmp_path / "whole", *options) == 0
    stop_after(4)
    assert estimate(folder, *options) == 130
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"4 flows of this command in {output}: the same command goes on after them",
        "stopped by Ctrl-C",
    ]
    before = kept(output)
    assert {"estimate.jsonl", *FLOWS[:4]} <= before.keys()
    matched = stop_after(None)
    assert estimate(folder, *options) == 0
    said = capsys.readouterr().out
    assert "holds 4 flows of this command already: going on after them" in said and "wrote 6 flows" in said
    assert len(matched) == 6 and names(output) == names(tmp_path / "whole")
    for flow, whole in zip(flows(output), flows(tmp_path / "whole"), strict=True):
        np.testing.assert_allclose(flow, whole, rtol=0, atol=1e-4)
    after = kept(output)
    assert all(after[name] == before[name] for name in FLOWS[:4])
    summaries = [
        json.loads((place / "summary.json").read_text())["clips"][0]["flows"] for place in (output, tmp_path / "whole")
    ]
    for one, other in zip(*summaries, strict=True):
        assert (
            one.keys() == other.keys() and one["name"] == other["name"] and one["initial_flow"] == other["initial_flow"]
        )


@pytest.mark.parametrize("name", ["SIGTERM", *(["SIGHUP"] if hasattr(signal, "SIGHUP") else [])])
def test_other_signals_have_a_last_word_too(name, estimate, folder, output, capsys, monkeypatch, stop_after):
    matched, match = stop_after(None), PairMatcher.match

    def match_and_end(self, *args, **options):
        if len(matched) == 2:
            try:
                os.kill(os.getpid(), signal.Signals[name])
            finally:  # the shell in a terminal that is closed sends it, too
                os.kill(os.getpid(), signal.Signals[name])
        return match(self, *args, **options)

    monkeypatch.setattr(PairMatcher, "match", match_and_end)
    before = signal.signal(signal.Signals[name], signal.SIG_DFL)  # whoever began the tests may ignore SIGHUP
    try:
        assert estimate(folder) == 128 + signal.Signals[name]
    finally:
        signal.signal(signal.Signals[name], before)
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"2 flows of this command in {output}: the same command goes on after them",
        f"stopped by {name}",
    ]


def test_other_weights_of_the_default_are_noticed(estimate, folder, output, tmp_path, capsys, monkeypatch, stop_after):
    weights = tmp_path / "default.safetensors"
    weights.write_bytes(b"first")
    monkeypatch.setattr("flowgru.estimation.reads.DEFAULT_MODEL", weights)
    stop_after(4)
    assert estimate(folder, "--model", "default") == 130
    weights.write_bytes(b"other")  # as an update of flowgru brings them
    stop_after(None)
    capsys.readouterr()
    assert estimate(folder, "--model", "default") == 2
    assert "already holds flows of another request (weights was" in only_error(capsys)
    weights.write_bytes(b"first")
    assert estimate(folder, "--model", "default") == 0


@pytest.mark.parametrize(("name", "beside"), [("m.xml", "m.bin"), ("m.onnx", "m.onnx.data"), ("m.pt2", None)])
def test_only_weights_that_belong_to_an_exported_file_count(name, beside, tmp_path):
    for other in ("m.xml", "m.onnx", "m.pt2", "m.bin", "m.onnx.data"):
        (tmp_path / other).touch()
    assert weights_beside(str(tmp_path / name)) == ([tmp_path / beside] if beside else [])


def test_what_is_done_is_said_and_not_done_again(estimate, folder, output, capsys, stop_after):
    assert estimate(folder, "--video") == 0
    before, matched = kept(output), stop_after(0)
    assert estimate(folder, "--video") == 0
    assert "holds the 10 flows of this command already; --overwrite computes them anew" in capsys.readouterr().out
    assert not matched and kept(output) == before
    (output / "flow.mp4").unlink()
    (output / "frame_10.flo").unlink()
    matched = stop_after(None)
    assert estimate(folder, "--video") == 0 and len(matched) == 1
    assert kept(output).keys() == before.keys()
    matched = stop_after(None)
    assert estimate(folder, "--video", "--overwrite") == 0 and len(matched) == 10


def test_a_clip_that_is_done_is_not_read_again_and_the_others_are(estimate, tmp_path, output, stop_after):
    clips = [write_clip(tmp_path / f"{name}.mp4", moving_frames(4, *SIZE)) for name in ("one", "two")]
    stop_after(5)
    assert estimate(*clips, "--video") == 130
    assert names(output / "one") == ["flow.mp4", *(f"frame_00000{number}.flo" for number in (1, 2, 3))]
    before, matched = kept(output / "one"), stop_after(None)
    assert estimate(*clips, "--video") == 0 and len(matched) == 1
    assert kept(output / "one") == before and names(output / "two") == names(output / "one")
    summary = json.loads((output / "summary.json").read_text())
    assert [len(clip["flows"]) for clip in summary["clips"]] == [3, 3]
    assert all(clip["colour_scale"] for clip in summary["clips"])


@pytest.mark.parametrize("number", [4, 6])
def test_of_several_clips_each_goes_on_from_where_its_own_flow_has_led(estimate, tmp_path, output, stop_after, number):
    clips = [write_clip(tmp_path / f"{name}.mkv", noisy_frames(6, *SIZE)) for name in ("one", "two")]
    clips[0].write_bytes(clips[0].read_bytes()[: 2 * clips[0].stat().st_size // 3])
    words = (*clips, "--warm-start", "--on-error", "skip")
    assert estimate(*words, "--output", tmp_path / "whole") == 3
    num_first = len(list((tmp_path / "whole/one").glob("*.flo")))
    assert 1 < num_first < number
    stop_after(number)
    assert estimate(*words) == 130
    matched = stop_after(None)
    assert estimate(*words) == 3
    assert len(matched) == num_first + 5 - number
    for clip in ("one", "two"):
        for flow, whole in zip(flows(output / clip), flows(tmp_path / "whole" / clip), strict=True):
            np.testing.assert_allclose(flow, whole, rtol=0, atol=1e-4)
    assert not list(output.rglob("*.npz"))


def test_a_warm_start_goes_on_only_from_the_last_flow(estimate, folder, output, tmp_path, stop_after):
    assert estimate(folder, "--warm-start", "--output", tmp_path / "whole") == 0
    stop_after(5)
    assert estimate(folder, "--warm-start") == 130
    (output / "frame_2.flo").unlink()
    stop_after(None)
    assert estimate(folder, "--warm-start") == 0
    for flow, whole in zip(flows(output), flows(tmp_path / "whole"), strict=True):
        np.testing.assert_allclose(flow, whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("place, value", [(8, 99), (6, 1)], ids=["compressed in no known way", "encrypted"])
def test_what_a_warm_start_goes_on_with_counts_for_nothing_where_it_is_damaged(tmp_path, place, value):
    path = tmp_path / CARRIED
    np.savez(path, **{"0_0": np.ones((1, 2, 3, 4), np.float32), "clip": "walk", "num_flows": 3})
    assert read_carried(tmp_path, "walk")[0] == 3
    content = bytearray(path.read_bytes())
    for start, offset in ((b"PK\x01\x02", place + 2), (b"PK\x03\x04", place)):
        at = content.index(start) + offset
        content[at : at + 2] = value.to_bytes(2, "little")
    path.write_bytes(content)
    assert read_carried(tmp_path, "walk") == (0, (None, None))


@pytest.mark.parametrize("format", get_args(FlowFormat))
def test_a_warm_start_goes_on_in_every_format(estimate, folder, output, stop_after, format):
    words = (folder, "--warm-start", "--format", format)
    stop_after(3)
    assert estimate(*words) == 130 and (output / "estimate.carried.npz").is_file()
    matched = stop_after(None)
    assert estimate(*words) == 0 and len(matched) == 7
    assert names(output) == sorted([*(f"frame_{n}{FLOW_FORMATS[format].suffix}" for n in range(1, 11)), "summary.json"])


def test_what_begins_anew_is_not_called_going_on(estimate, tmp_path, output, capsys):
    clip = write_clip(tmp_path / "clip.mkv", noisy_frames(8, *SIZE))
    clip.write_bytes(clip.read_bytes()[: 2 * clip.stat().st_size // 3])
    assert estimate(clip, "--warm-start") == 3
    num_flows = len(list(output.glob("*.flo")))
    capsys.readouterr()
    assert estimate(clip, "--warm-start") == 3
    said = capsys.readouterr().out
    assert "going on after them" not in said and f"wrote {num_flows} flows" in said


def test_after_kill_9_torn_lines_locks_and_temporary_files_are_no_hindrance(estimate, folder, output, stop_after):
    stop_after(4)
    assert estimate(folder) == 130
    journal = output / "estimate.jsonl"
    text = journal.read_text()
    journal.write_text(text[: text.rindex("}") - 5])  # the line of the fourth flow, whose file is there
    (output / "estimate.lock").write_text("999999999\nelsewhere\n")
    (output / ".flowgru-999999999-0123abcd.flo").write_bytes(b"PIEH")
    (output / ".flowgru-notes").write_text("mine")
    matched = stop_after(None)
    assert estimate(folder) == 0 and len(matched) == 7
    assert names(output) == sorted([".flowgru-notes", *FLOWS, "summary.json"])


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--iterations", 2), "iterations was 1 and is 2"),
        (("--backward",), "backward was false and is true"),
        (("--end", 8), "end was not given and is 8"),
    ],
)
def test_another_request_is_refused(estimate, folder, output, capsys, stop_after, finished, options, said):
    stop_after(None if finished else 4)
    assert estimate(folder) == (0 if finished else 130)
    capsys.readouterr()
    before, _ = kept(output), stop_after(None)
    assert estimate(folder, *options) == 2
    assert said in only_error(capsys) and kept(output) == before
    assert estimate(folder, *options, "--overwrite") == 0


def test_files_that_are_not_ours_and_inputs_that_changed_are_refused(estimate, folder, output, capsys, stop_after):
    stop_after(4)
    assert estimate(folder) == 130
    (output / "frame_7.flo").write_bytes(b"mine")
    capsys.readouterr()
    assert estimate(folder) == 2
    assert "already holds frame_7.flo" in only_error(capsys)
    (output / "frame_7.flo").unlink()
    stop_after(None)
    assert estimate(folder) == 0
    capsys.readouterr()
    shutil.copyfile(folder / "frame_1.png", folder / "frame_2.png")
    assert estimate(folder) == 2
    assert "whose files have changed since" in only_error(capsys)


def test_a_clip_whose_files_changed_before_it_was_done_begins_anew(estimate, folder, output, stop_after):
    stop_after(4)
    assert estimate(folder) == 130
    shutil.copyfile(folder / "frame_1.png", folder / "frame_2.png")
    matched = stop_after(None)
    assert estimate(folder) == 0 and len(matched) == 10


def test_after_overwriting_was_stopped_the_command_goes_on_without_the_word(estimate, folder, output, stop_after):
    assert estimate(folder) == 0
    stop_after(4)
    assert estimate(folder, "--overwrite", "--iterations", 2) == 130
    matched = stop_after(None)
    assert estimate(folder, "--iterations", 2) == 0 and len(matched) == 6


@pytest.mark.parametrize("content", ["", "{", "[]\n", '{"request": 1}\n', '{"request": {}, "clips": 3}', "[" * 9999])
@pytest.mark.parametrize("name", ["estimate.jsonl", "summary.json"])
def test_a_journal_that_is_none_is_no_licence(estimate, folder, output, capsys, name, content):
    output.mkdir()
    (output / name).write_text(content)
    (output / "frame_1.flo").write_bytes(b"mine")
    assert estimate(folder) == 2
    assert (output / "frame_1.flo").read_bytes() == b"mine" and (output / name).read_text() == content
    only_error(capsys)
