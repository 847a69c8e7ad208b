"""No run takes files of the user's own for those of an earlier run, and none loses sight of those that are."""

import json
from pathlib import Path

import pytest
from estimates import SIZE, names
from media import noisy_frames

from flowgru.data.formats.images import write_image

pytestmark = pytest.mark.usefixtures("without_a_network")


@pytest.fixture
def clips(tmp_path) -> list[Path]:
    """Three clips of three frames."""
    for name in "abc":
        for number, frame in enumerate(noisy_frames(3, *SIZE)):
            write_image(tmp_path / name / f"{number}.png", frame)
    return [tmp_path / name for name in "abc"]


def damage(picture: Path) -> bytes:
    """Cuts a picture off; returns what it was."""
    whole = picture.read_bytes()
    picture.write_bytes(whole[:200])
    return whole


def flows_of_clips(output: Path) -> dict[str, int]:
    return {clip["clip"]: len(clip["flows"]) for clip in json.loads((output / "summary.json").read_text())["clips"]}


def test_a_picture_of_the_users_own_is_refused_every_time_and_never_taken_away(estimate, folder, output, capsys):
    own = output / "frame_2_occlusion.png"
    output.mkdir()
    own.write_bytes(b"mine")
    for _ in range(2):
        assert estimate(folder, "--backward") == 2
        assert f"{own.name} exists already" in capsys.readouterr().err.splitlines()[-1]
        assert own.read_bytes() == b"mine"
    assert estimate(folder, "--overwrite") == 0
    assert own.read_bytes() == b"mine"


def test_clips_after_one_that_cannot_be_read_stay_in_the_summary(estimate, clips, output, capsys, stop_after):
    whole = damage(clips[0] / "2.png")
    stop_after(4)
    assert estimate(*clips, "--on-error", "skip") == 130
    stop_after(None)
    capsys.readouterr()
    assert estimate(*clips) == 3
    assert "c is not gone on with, because a could not be read" in capsys.readouterr().err
    assert flows_of_clips(output) == {"a": 1, "b": 2, "c": 1}
    matched = stop_after(None)
    assert estimate(*clips, "--on-error", "skip") == 3 and len(matched) == 1
    (clips[0] / "2.png").write_bytes(whole)
    assert estimate(*clips, "--overwrite") == 0


def test_a_run_that_gives_no_flow_leaves_the_record_of_the_earlier_one(estimate, folder, output, stop_after):
    stop_after(3)
    assert estimate(folder) == 130
    stop_after(None)
    whole = damage(folder / "frame_1.png")
    assert estimate(folder) == 3
    (folder / "frame_1.png").write_bytes(whole)
    assert estimate(folder) == 0 and len([name for name in names(output) if name.endswith(".flo")]) == 10


def test_flows_of_frames_that_are_gone_go_with_the_first_new_one(estimate, folder, output, capsys, stop_after):
    stop_after(4)
    assert estimate(folder) == 130
    (folder / "frame_2.png").unlink()
    stop_after(None)
    assert estimate(folder) == 0
    assert "frame_2.flo" not in names(output) and "frame_3.flo" in names(output)
    capsys.readouterr()
    assert estimate(folder) == 0 and "holds the 9 flows of this command already" in capsys.readouterr().out


def test_flows_of_a_clip_that_cannot_be_read_any_more_stay_until_there_are_new_ones(
    estimate, clips, output, stop_after
):
    stop_after(3)
    assert estimate(*clips) == 130
    stop_after(None)
    whole = [damage(clips[1] / f"{number}.png") for number in range(3)]
    assert estimate(*clips, "--on-error", "skip") == 3
    assert names(output / "b") == ["0.flo"] and flows_of_clips(output) == {"a": 2, "b": 0, "c": 2}
    for number, content in enumerate(whole):
        (clips[1] / f"{number}.png").write_bytes(content)
    matched = stop_after(None)
    assert estimate(*clips) == 0 and len(matched) == 2
    assert flows_of_clips(output) == {"a": 2, "b": 2, "c": 2}


def test_the_videos_of_clips_that_are_not_reached_are_known_when_the_run_goes_on(estimate, clips, output, stop_after):
    for clip in clips[:2]:
        damage(clip / "2.png")
    words = (*clips, "--video")
    stop_after(3)
    assert estimate(*words, "--on-error", "skip") == 130 and (output / "b/flow.mp4").is_file()
    stop_after(None)
    assert estimate(*words) == 3
    assert estimate(*words, "--on-error", "skip") == 3 and (output / "c/flow.mp4").is_file()


def test_a_clip_that_begins_anew_and_is_not_reached_is_not_forgotten(estimate, clips, output, stop_after):
    damage(clips[0] / "2.png")
    stop_after(2)
    assert estimate(*clips, "--on-error", "skip") == 130 and names(output / "b") == ["0.flo"]
    write_image(clips[1] / "1.png", noisy_frames(1, *SIZE)[0], overwrite=True)
    stop_after(None)
    assert estimate(*clips) == 3 and names(output / "b") == ["0.flo"]
    assert estimate(*clips, "--on-error", "skip") == 3
    assert flows_of_clips(output) == {"a": 1, "b": 2, "c": 2}


def test_a_run_that_names_all_files_is_not_said_to_go_on(estimate, clips, output, capsys):
    damage(clips[1] / "0.png")
    for _ in range(3):
        assert estimate(*clips, "--on-error", "skip") == 3
        assert "goes on after them" not in capsys.readouterr().err and not (output / "estimate.jsonl").exists()
