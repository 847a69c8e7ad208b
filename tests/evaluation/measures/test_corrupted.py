"""`flowgru evaluate --corruptions`: distance and error, with and without a true flow, and after an interruption."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from estimates import only_error
from media import noisy_frames, write_clip

from flowgru.cli import main
from flowgru.config.evaluation.corruptions import CORRUPTION_NAMES
from flowgru.data.corruptions.pairs import corrupt_pair
from flowgru.data.formats.flow_files import write_flow
from flowgru.data.formats.images import write_image
from flowgru.evaluation.measures import corrupted, results, running


def run(*words: object) -> int:
    return main(["evaluate", *map(str, words)])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "corruptions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_pair_has_a_line_for_each_corruption(pairs, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(pairs, "--baseline", "farneback", "--corruptions", "all", "--severity", 1, "--output", out) == 0
    found = rows(out)
    assert list(found[0]) == ["pair", "set", "corruption", "severity", "distance", "epe_per_image"]
    assert [row["corruption"] for row in found] == 2 * ["none", *CORRUPTION_NAMES]
    clean, spoiled = found[0], found[1:13]
    assert (clean["severity"], float(clean["distance"])) == ("0", 0)
    assert {row["severity"] for row in spoiled} == {"1"} and all(float(row["distance"]) > 0 for row in spoiled)
    errors = [float(row["epe_per_image"]) for row in found]
    with (out / "pairs.csv").open(newline="") as file:
        assert [float(row["epe"]) for row in csv.DictReader(file)] == pytest.approx([errors[0], errors[13]])
    assert "mean of the corruptions" in capsys.readouterr().out
    assert "<svg" in (out / "corruptions.svg").read_text()
    said = json.loads((out / "evaluation.json").read_text())["further_measures"]["corruptions"]["corruptions_by_set"]
    assert [row["corruption"] for row in said] == ["none", *CORRUPTION_NAMES, "mean of the corruptions"]


def test_the_two_numbers_are_apart(pairs, tmp_path):
    """A method that sees nothing is as wrong as before, and its flow is where it was."""
    out = tmp_path / "out"
    assert run(pairs, "--baseline", "zero", "--corruptions", "fog,rain", "--output", out) == 0
    assert {(float(row["distance"]), float(row["epe_per_image"])) for row in rows(out)} == {(0, 2)}


def test_frames_without_true_flow_have_a_distance_and_no_error(frames, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(frames, "--baseline", "farneback", "--corruptions", "jpeg", "--output", out) == 0
    found = rows(out)
    assert [row["pair"] for row in found] == 2 * ["walk/frame_0"] + 2 * ["walk/frame_1"]
    assert {row["set"] for row in found} == {"walk"} and {row["epe_per_image"] for row in found} == {""}
    assert float(found[1]["distance"]) > 0
    assert "epe_per_image" not in capsys.readouterr().out.split("┏")[1]


@pytest.mark.parametrize("dtype, size", [(np.uint8, (1, 1)), (np.uint16, (20, 30))])
def test_tiny_pictures_and_deep_ones(tmp_path, dtype, size):
    (tmp_path / "clip").mkdir()
    for number in range(2):
        picture = np.full((*size, 3), (number + 1) * np.iinfo(dtype).max // 3, dtype)
        if dtype == np.uint8:
            write_image(tmp_path / "clip" / f"{number}.png", picture)
        else:
            assert cv2.imwrite(str(tmp_path / "clip" / f"{number}.png"), picture)
    out = tmp_path / "out"
    assert run(tmp_path / "clip", "--baseline", "farneback", "--corruptions", "all", "--output", out) == 0
    assert len(rows(out)) == 13


@pytest.fixture(autouse=True)
def one_chart(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first test draws: a chart takes longer than what the others look at."""
    if request.function is not test_every_pair_has_a_line_for_each_corruption:
        monkeypatch.setattr(results, "chart_svg", lambda chart: "<svg></svg>")


def interrupted(monkeypatch: pytest.MonkeyPatch, after: int) -> list[str]:
    """Ctrl-C in the place of a corruption, after so many; gives the names of those that were made."""
    made: list[str] = []

    def spoil(first, second, name, severity, seed):
        if len(made) == after:
            raise KeyboardInterrupt
        made.append(name)
        return corrupt_pair(first, second, name, severity, seed)

    monkeypatch.setattr(corrupted, "corrupt_pair", spoil)
    return made


def test_an_interrupted_sweep_goes_on(pairs, tmp_path, monkeypatch, capsys):
    words = (pairs, "--baseline", "farneback", "--corruptions", "fog,rain,jpeg", "--output")
    assert run(*words, tmp_path / "whole") == 0
    out = tmp_path / "out"
    interrupted(monkeypatch, 4)
    assert run(*words, out) == 130
    said = capsys.readouterr().err.splitlines()
    assert said[-2:] == [
        f"{out}/corruptions.jsonl keeps 6 measurements: the same command goes on with them",
        "stopped by Ctrl-C",
    ]
    assert [path.name for path in out.iterdir()] == ["corruptions.jsonl"]
    with (out / "corruptions.jsonl").open("a") as file:
        file.write('{"data": "pairs.csv", "ind')  # what is killed while it writes leaves half a line
    made = interrupted(monkeypatch, 100)
    capsys.readouterr()
    assert run(*words, out) == 0
    assert made == ["rain", "jpeg"]
    assert "goes on with 6 measurements" in capsys.readouterr().out
    assert (out / "corruptions.csv").read_text() == (tmp_path / "whole/corruptions.csv").read_text()
    assert not (out / "corruptions.jsonl").exists() and not (out / "corruptions.lock").exists()


def test_names_that_read_like_numbers_are_names_after_an_interruption_too(pairs, tmp_path, monkeypatch):
    head, *lines = pairs.read_text().splitlines()
    named = [f"{line},{group},{name}" for line, group, name in zip(lines, ("inf", "nan"), ("nan", "-inf"), strict=True)]
    pairs.write_text("\n".join([f"{head},set,name", *named]))
    words = (pairs, "--baseline", "farneback", "--corruptions", "fog", "--output")
    assert run(*words, tmp_path / "whole") == 0
    interrupted(monkeypatch, 1)
    assert run(*words, tmp_path / "out") == 130
    interrupted(monkeypatch, 100)
    assert run(*words, tmp_path / "out") == 0
    found = (tmp_path / "out/corruptions.csv").read_text()
    assert found == (tmp_path / "whole/corruptions.csv").read_text() and {row["set"] for row in rows(tmp_path / "out")} == {
        "inf", "nan",
    }  # fmt: skip


@pytest.mark.parametrize("stored", ['"nan"', "NaN"])
def test_what_is_not_known_is_not_known_after_an_interruption_either(frames, tmp_path, monkeypatch, stored):
    """Journals of earlier releases have texts in the place of numbers that are not finite."""
    words = (frames, "--baseline", "farneback", "--corruptions", "fog", "--output")
    assert run(*words, tmp_path / "whole") == 0
    interrupted(monkeypatch, 1)
    assert run(*words, tmp_path / "out") == 130
    journal = tmp_path / "out/corruptions.jsonl"
    assert journal.read_text().count("NaN") == 3
    journal.write_text(journal.read_text().replace("NaN", stored))
    made = interrupted(monkeypatch, 100)
    assert run(*words, tmp_path / "out") == 0 and made == ["fog"]
    assert (tmp_path / "out/corruptions.csv").read_text() == (tmp_path / "whole/corruptions.csv").read_text()


def test_a_sweep_does_not_go_on_with_other_numbers(pairs, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    words = (pairs, "--corruptions", "fog", "--output", out)
    interrupted(monkeypatch, 1)
    assert run(*words, "--baseline", "farneback") == 130
    interrupted(monkeypatch, 100)
    capsys.readouterr()
    assert run(*words, "--baseline", "farneback", "--severity", 3) == 2
    said = capsys.readouterr().err
    assert "interrupted sweep whose severity were others" in said and len(said.splitlines()) == 1
    assert run(*words, "--baseline", "zero") == 2
    assert run(*words, "--baseline", "zero", "--overwrite") == 0
    assert {float(row["distance"]) for row in rows(out)} == {0}


@pytest.mark.parametrize("change", ["order", "direction", "flow"])
def test_a_sweep_does_not_go_on_with_other_data(pairs, tmp_path, monkeypatch, capsys, change):
    words = (pairs, "--baseline", "farneback", "--corruptions", "fog,rain", "--output", tmp_path / "out")
    interrupted(monkeypatch, 2)
    assert run(*words) == 130
    head, *lines = pairs.read_text().splitlines()
    if change == "order":
        pairs.write_text("\n".join([head, *reversed(lines)]))
    elif change == "direction":
        pairs.write_text("\n".join(["second,first,flow", *lines]))
    else:
        write_flow(tmp_path / "f1.flo", np.ones((24, 40, 2), np.float32), overwrite=True)
    interrupted(monkeypatch, 100)
    capsys.readouterr()
    assert run(*words) == 2
    assert "interrupted sweep whose data were others" in only_error(capsys)


def test_a_sweep_does_not_go_on_with_other_weights_of_one_name(pairs, tmp_path, monkeypatch, capsys):
    """An address hf:// stands for other weights once they were pushed, and so does a graph whose weights lie beside it."""
    weights = tmp_path / "downloaded"
    weights.write_bytes(b"first")
    monkeypatch.setattr(running, "weights_beside", lambda model: [weights])
    words = (pairs, "--baseline", "farneback", "--corruptions", "fog,rain", "--output", tmp_path / "out")
    interrupted(monkeypatch, 2)
    assert run(*words) == 130
    weights.write_bytes(b"other")
    capsys.readouterr()
    assert run(*words) == 2
    assert "interrupted sweep whose weights were others" in only_error(capsys)
    weights.write_bytes(b"first")
    interrupted(monkeypatch, 100)
    assert run(*words) == 0


@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_in_the_journals_place_that_no_sweep_has_left_stays(pairs, tmp_path, capsys, is_link):
    words = (pairs, "--baseline", "zero", "--corruptions", "fog", "--output", tmp_path / "out")
    journal = tmp_path / "out/corruptions.jsonl"
    journal.parent.mkdir()
    mine = tmp_path / "mine.jsonl" if is_link else journal
    mine.write_text('{"fog": "mine"}\n')
    if is_link:
        journal.symlink_to(mine)
    assert run(*words) == 2 and "is no journal of an interrupted sweep" in only_error(capsys)
    assert mine.read_text() == '{"fog": "mine"}\n' and journal.is_symlink() == is_link
    assert run(*words, "--overwrite") == 0 and len(rows(tmp_path / "out")) == 4


def test_a_sweep_of_fewer_corruptions_takes_nothing_away(pairs, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    words = (pairs, "--baseline", "farneback", "--output", out, "--corruptions")
    interrupted(monkeypatch, 3)
    assert run(*words, "fog,rain,jpeg") == 130
    interrupted(monkeypatch, 100)
    kept = (out / "corruptions.jsonl").read_text()
    capsys.readouterr()
    assert run(*words, "fog") == 2
    said = capsys.readouterr().err
    assert "interrupted sweep that has measured rain, jpeg too" in said and len(said.splitlines()) == 1
    assert (out / "corruptions.jsonl").read_text() == kept
    made = interrupted(monkeypatch, 100)
    assert run(*words, "fog,rain,jpeg,contrast") == 0
    assert sorted(made) == ["contrast", "contrast", "fog", "jpeg", "rain"]
    assert {row["corruption"] for row in rows(out)} == {"none", "fog", "rain", "jpeg", "contrast"}


def test_what_an_earlier_run_wrote_goes_and_what_a_user_made_stays(pairs, tmp_path, capsys):
    out = tmp_path / "out"
    words = (pairs, "--baseline", "zero", "--output", out)
    assert run(*words, "--corruptions", "fog") == 0
    (out / "time.csv").write_text("mine")
    capsys.readouterr()
    assert run(*words) == 2 and "already holds evaluation.json" in capsys.readouterr().err
    assert run(*words, "--overwrite") == 0
    assert sorted(path.name for path in out.iterdir()) == ["evaluation.json", "pairs.csv", "time.csv", "worst"]
    for name in ("evaluation.json", "pairs.csv"):
        (out / name).unlink()
    shutil.rmtree(out / "worst")
    assert run(*words, "--time") == 2 and "already holds time.csv" in capsys.readouterr().err
    assert (out / "time.csv").read_text() == "mine"


@pytest.mark.parametrize(
    "words, said",
    [
        (["--corruptions", "fog,snow"], "--corruptions has 'snow': known are all, gaussian_noise"),
        (["--corruptions", "fogg"], "did you mean 'fog'?"),
        (["--corruptions", "fog", "--severity", "4"], "--severity is '4': expected one of 1, 2, 3"),
        (["--severity", "2"], "--severity has no effect without --corruptions"),
        (["--report"], "--report has no effect without --output"),
        (["--clip-size", "9x9", "--temporal"], "--clip-size has '9x9'"),
        (["--clip-frames", "20"], "--clip-frames has no effect without --temporal"),
        (["--reach", "--reach-sizes", "64"], "--reach-sizes has '64'"),
        (["--flows", ".", "--trust"], "--trust need others"),
    ],
)
def test_a_wrong_request_is_one_line(words, said, pairs, capsys):
    baseline = [] if "--flows" in words else ["--baseline", "zero"]
    assert run(pairs, *baseline, *words) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "has no true flow, and errors need one: give --corruptions, --temporal or --time"),
        (["--trust"], "has no true flow, and --trust compares errors, which need one"),
    ],
)
def test_errors_of_what_has_no_true_flow_are_refused(words, said, frames, capsys):
    assert run(frames, "--baseline", "zero", *words) == 2
    assert said in only_error(capsys)


@pytest.mark.parametrize("words", [["--baseline", "zero"], ["--baseline", "zero", "--reach"], ["--flows", "."]])
def test_a_clip_of_which_nothing_would_be_measured_is_refused_beside_a_set_too(words, pairs, frames, capsys):
    assert run(pairs, frames, *words) == 2
    assert f"{frames} has no true flow" in (said := only_error(capsys)) and said.endswith("leave it out")


def test_what_could_not_be_read_of_a_clip_is_said(tmp_path, capsys):
    clip = write_clip(tmp_path / "walk.mkv", noisy_frames(6))
    clip.write_bytes(clip.read_bytes()[: 2 * clip.stat().st_size // 3])
    assert run(clip, "--baseline", "zero", "--corruptions", "fog", "--output", tmp_path / "out") == 3
    assert "the file ends early" in capsys.readouterr().err and rows(tmp_path / "out")
