"""`flowgru evaluate --corruptions`: distance and error, with and without a true flow."""

import json
import shutil

import cv2
import numpy as np
import pytest
from estimates import corruption_rows, evaluate, only_error
from media import noisy_frames, write_clip
from tables import csv_rows

from flowgru.config.evaluation.corruptions import CORRUPTION_NAMES
from flowgru.data.formats.images import write_image
from flowgru.evaluation.measures import results


def test_every_pair_has_a_line_for_each_corruption(pairs, tmp_path, capsys):
    out = tmp_path / "out"
    assert evaluate(pairs, "--baseline", "farneback", "--corruptions", "all", "--severity", 1, "--output", out) == 0
    found = corruption_rows(out)
    assert list(found[0]) == ["pair", "set", "corruption", "severity", "distance", "epe_per_image"]
    assert [row["corruption"] for row in found] == 2 * ["none", *CORRUPTION_NAMES]
    clean, spoiled = found[0], found[1:13]
    assert (clean["severity"], float(clean["distance"])) == ("0", 0)
    assert {row["severity"] for row in spoiled} == {"1"} and all(float(row["distance"]) > 0 for row in spoiled)
    errors = [float(row["epe_per_image"]) for row in found]
    assert [float(row["epe"]) for row in csv_rows(out / "pairs.csv")] == pytest.approx([errors[0], errors[13]])
    assert "mean of the corruptions" in capsys.readouterr().out
    assert "<svg" in (out / "corruptions.svg").read_text()
    said = json.loads((out / "evaluation.json").read_text())["further_measures"]["corruptions"]["corruptions_by_set"]
    assert [row["corruption"] for row in said] == ["none", *CORRUPTION_NAMES, "mean of the corruptions"]


def test_the_two_numbers_are_apart(pairs, tmp_path):
    """A method that sees nothing is as wrong as before, and its flow is where it was."""
    out = tmp_path / "out"
    assert evaluate(pairs, "--baseline", "zero", "--corruptions", "fog,rain", "--output", out) == 0
    assert {(float(row["distance"]), float(row["epe_per_image"])) for row in corruption_rows(out)} == {(0, 2)}


def test_frames_without_true_flow_have_a_distance_and_no_error(frames, tmp_path, capsys):
    out = tmp_path / "out"
    assert evaluate(frames, "--baseline", "farneback", "--corruptions", "jpeg", "--output", out) == 0
    found = corruption_rows(out)
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
    assert evaluate(tmp_path / "clip", "--baseline", "farneback", "--corruptions", "all", "--output", out) == 0
    assert len(corruption_rows(out)) == 13


@pytest.fixture(autouse=True)
def one_chart(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first test draws: a chart takes longer than what the others look at."""
    if request.function is not test_every_pair_has_a_line_for_each_corruption:
        monkeypatch.setattr(results, "chart_svg", lambda chart: "<svg></svg>")


def test_what_an_earlier_run_wrote_goes_and_what_a_user_made_stays(pairs, tmp_path, capsys):
    out = tmp_path / "out"
    words = (pairs, "--baseline", "zero", "--output", out)
    assert evaluate(*words, "--corruptions", "fog") == 0
    (out / "time.csv").write_text("mine")
    capsys.readouterr()
    assert evaluate(*words) == 2 and "already holds evaluation.json" in capsys.readouterr().err
    assert evaluate(*words, "--overwrite") == 0
    assert sorted(path.name for path in out.iterdir()) == ["evaluation.json", "pairs.csv", "time.csv", "worst"]
    for name in ("evaluation.json", "pairs.csv"):
        (out / name).unlink()
    shutil.rmtree(out / "worst")
    assert evaluate(*words, "--time") == 2 and "already holds time.csv" in capsys.readouterr().err
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
    assert evaluate(pairs, *baseline, *words) == 2
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
    assert evaluate(frames, "--baseline", "zero", *words) == 2
    assert said in only_error(capsys)


@pytest.mark.parametrize("words", [["--baseline", "zero"], ["--baseline", "zero", "--reach"], ["--flows", "."]])
def test_a_clip_of_which_nothing_would_be_measured_is_refused_beside_a_set_too(words, pairs, frames, capsys):
    assert evaluate(pairs, frames, *words) == 2
    assert f"{frames} has no true flow" in (said := only_error(capsys)) and said.endswith("leave it out")


def test_what_could_not_be_read_of_a_clip_is_said(tmp_path, capsys):
    clip = write_clip(tmp_path / "walk.mkv", noisy_frames(6))
    clip.write_bytes(clip.read_bytes()[: 2 * clip.stat().st_size // 3])
    assert evaluate(clip, "--baseline", "zero", "--corruptions", "fog", "--output", tmp_path / "out") == 3
    assert "the file ends early" in capsys.readouterr().err and corruption_rows(tmp_path / "out")
