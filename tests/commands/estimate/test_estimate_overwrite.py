"""`flowgru estimate --overwrite` begins anew: what the earlier run lists goes with the first new flow, and nothing else."""

import json
from pathlib import Path

import pytest
import torch
from estimates import SIZE, names, only_error, write
from media import noisy_frames

from flowgru.data.formats.images import write_image

pytestmark = pytest.mark.usefixtures("without_a_network")


@pytest.fixture
def short(tmp_path) -> Path:
    """A clip of three frames, which are called otherwise than those of `folder`."""
    for number, frame in enumerate(noisy_frames(3, *SIZE)):
        write_image(tmp_path / f"short/{number}.png", frame)
    return tmp_path / "short"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("options", [(), ("--backward", "--video", "flow.gif"), ("--format", "npz", "--arrows")])
@pytest.mark.parametrize("stopped", [False, True])
def test_what_the_earlier_run_lists_does_not_stay_among_the_new_flows(
    estimate, folder, short, output, capsys, stop_after, options, stopped
):
    stop_after(4 if stopped else None)
    assert estimate(folder, *options) == (130 if stopped else 0)
    stop_after(None)
    (output / "frame_1_mine.txt").write_text("mine")
    assert estimate(short, "--overwrite") == 0
    assert names(output) == ["0.flo", "1.flo", "frame_1_mine.txt", "summary.json"]
    capsys.readouterr()
    assert estimate(short) == 0 and "holds the 2 flows of this command already" in capsys.readouterr().out


def test_what_lies_in_the_folders_of_several_clips_goes_too(estimate, folder, short, output, stop_after):
    stop_after(11)
    assert estimate(folder, short, "--warm-start", "--video") == 130 and (output / "walk/flow.mp4").is_file()
    assert (output / "short/estimate.carried.npz").is_file()
    stop_after(None)
    (output / "walk/frame_99.flo").write_bytes(b"mine")
    assert estimate(short, "--overwrite") == 0
    assert {str(Path(path).relative_to(output)) for path in contents(output)} == {
        "0.flo",
        "1.flo",
        "summary.json",
        "walk/frame_99.flo",
    }


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("why", ["stopped", "unreadable"])
def test_where_nothing_new_is_written_all_stays_and_the_earlier_command_goes_on(
    estimate, folder, short, output, stop_after, finished, why
):
    stop_after(10 if finished else 4)
    assert estimate(folder) == (0 if finished else 130)
    before = contents(output)
    stop_after(0 if why == "stopped" else 1)
    if why == "unreadable":
        (short / "0.png").write_bytes(b"no picture")
    assert estimate(short, "--overwrite") == (130 if why == "stopped" else 3)
    assert contents(output) == before
    stop_after(None)
    assert estimate(folder) == 0 and len(names(output)) == 11


def test_the_run_that_is_stopped_has_only_its_own_flows(estimate, folder, output, stop_after):
    assert estimate(folder) == 0
    stop_after(2)
    assert estimate(folder, "--overwrite", "--iterations", 2) == 130
    assert names(output) == ["estimate.jsonl", "frame_1.flo", "frame_2.flo"]
    stop_after(None)
    assert estimate(folder, "--iterations", 2) == 0 and len(names(output)) == 11


@pytest.mark.parametrize("clips", [["walk"], ["../walk", "other"], ["link", "other"]])
@pytest.mark.parametrize("name", ["../mine", "mine/../../mine", "mine"])
def test_a_record_that_leads_elsewhere_takes_nothing_away(estimate, short, output, tmp_path, clips, name):
    for place in (tmp_path, tmp_path / "walk", tmp_path / "elsewhere"):
        write(place / "mine.flo", torch.zeros(1, 2, 4, 4))
    output.mkdir()
    (output / "link").symlink_to(tmp_path / "elsewhere")
    flows = [{"name": name, "seconds": 1}]
    summary = {
        "request": {"inputs": clips, "format": "flo"},
        "clips": [{"clip": clips[0], "flows": flows, "problems": [], "seconds": 1, "colour_scale": 0, "arrows": None}],
    }
    (output / "summary.json").write_text(json.dumps(summary))
    assert estimate(short, "--overwrite") == 0
    assert all((tmp_path / f"{place}mine.flo").is_file() for place in ("", "walk/", "elsewhere/"))


def test_what_would_go_is_no_input(estimate, folder, short, output, capsys):
    assert estimate(folder, short, "--backward") == 0
    before, masks = contents(output), sorted((output / "walk").glob("*_occlusion.png"))
    capsys.readouterr()
    assert estimate(*masks[:2], "--overwrite") == 2
    assert f"--overwrite takes {masks[1]} away, which is an input: name another --output" in only_error(capsys)
    assert contents(output) == before


def test_a_video_beside_the_earlier_runs_own_stays(estimate, folder, short, output):
    """A name like that of a clip's second size is none of the record's."""
    assert estimate(folder, "--video", "flow.gif") == 0
    (output / "flow_2.gif").write_bytes(b"a copy")
    assert estimate(short, "--overwrite") == 0
    assert names(output) == ["0.flo", "1.flo", "flow_2.gif", "summary.json"]
