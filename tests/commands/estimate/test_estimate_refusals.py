"""What `flowgru estimate` refuses, in one line and before any work; nothing of the user's is replaced."""

import pytest
from estimates import SIZE, names, only_error
from media import moving_frames, write_clip

from flowgru.config.estimation import EstimateSettings
from flowgru.data.formats.images import read_image, write_image
from flowgru.data.video.frames import open_frames
from flowgru.data.video.sampling import sampled
from flowgru.estimation import opening
from flowgru.estimation.outputs import expected_flows


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--iterations", "0"], "--iterations is 0"),
        (["--stride", "0"], "--stride is 0"),
        (["--start", "0"], "--start is 0"),
        (["--start", "4", "--end", "4"], "--end is 4"),
        (["--max-flow", "0"], "--max-flow is 0"),
        (["--max-flow", "3"], "--max-flow has no effect without --video or --arrows; leave it out"),
        (["--stop-below", "0"], "--stop-below is 0"),
        (["--stop-below", "-1"], "--stop-below is -1"),
        (["--output", ""], "--output is empty"),
        (["--resize", "big"], "--resize is 'big'"),
        (["--resize", "0x5"], "--resize is '0x5'"),
        (["--resize", "0"], "--resize is '0'"),
        (["--format", "gif"], "expected one of flo, png16, npz, flo5"),
        (["--precision", "64"], "expected one of 32, bf16, 16"),
        (["--on-error", "ignore"], "expected one of fail, skip"),
        (["--device", "gpu"], "--device is 'gpu': expected auto, cpu, cuda, cuda:0 or the like"),
        (["--model", "nowhere.pth"], "nowhere.pth"),
        (["--itertions", "3"], "did you mean --iterations?"),
    ],
)
def test_settings_out_of_range_are_one_line_and_exit_2(estimate, pair, output, capsys, options, said):
    assert estimate(*pair, *options) == 2
    assert said in only_error(capsys)
    assert not output.exists()


def test_nothing_is_overwritten_unasked(estimate, pair, output, capsys, monkeypatch):
    output.mkdir()
    (output / "old.flo").write_bytes(b"precious")
    monkeypatch.setattr(opening, "load_model", lambda *_: pytest.fail("work was begun"))
    assert estimate(*pair) == 2
    assert "already holds old.flo: give --overwrite" in only_error(capsys)
    assert names(output) == ["old.flo"] and (output / "old.flo").read_bytes() == b"precious"


def test_overwrite_replaces_a_link_and_never_writes_through_it(estimate, pair, output, tmp_path):
    output.mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (output / "a.flo").symlink_to(victim)
    (output / "summary.json").symlink_to(victim)
    assert estimate(*pair) == 2
    assert estimate(*pair, "--overwrite") == 0
    assert victim.read_bytes() == b"precious" and not (output / "a.flo").is_symlink()


def test_a_link_does_not_lead_the_results_elsewhere(estimate, folder, tmp_path, output, capsys):
    video = write_clip(tmp_path / "clip.mp4", moving_frames(3, *SIZE))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    output.mkdir()
    (output / "clip").symlink_to(elsewhere)
    assert estimate(video, folder) == 2
    assert "outside --output" in only_error(capsys)
    assert names(elsewhere) == []


@pytest.mark.parametrize("options", [["--format", "png16"], ["--backward"], ["--confidence"]])
def test_results_do_not_join_the_frames(estimate, folder, capsys, options):
    before = names(folder)
    assert estimate(folder, "--output", folder, "--overwrite", *options) == 2
    assert "could replace the input" in only_error(capsys)
    assert names(folder) == before


def test_results_do_not_join_frames_that_a_pattern_found(estimate, folder, capsys):
    (frame,) = folder.glob("frame_1.png")
    before = frame.read_bytes()
    pattern = folder.parent / "w*" / "*.png"
    assert estimate(pattern, "--output", folder, "--overwrite", "--format", "png16") == 2
    assert "could replace the input pictures" in only_error(capsys)
    assert frame.read_bytes() == before


def test_a_video_is_not_replaced_by_its_own_results(estimate, tmp_path, capsys):
    video = write_clip(tmp_path / "flow.mp4", moving_frames(3, *SIZE))
    before = video.read_bytes()
    assert estimate(video, "--output", tmp_path, "--overwrite", "--video") == 2
    assert "could replace the input" in only_error(capsys)
    assert video.read_bytes() == before


def test_an_output_that_cannot_be_a_folder(estimate, pair, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert estimate(*pair, "--output", tmp_path / "file") == 2
    assert "is a file" in only_error(capsys)
    assert estimate(*pair, "--output", tmp_path / "file" / "out") == 2
    assert f"out is to lie in {tmp_path / 'file'}, which is a file: name a folder" in only_error(capsys)
    assert estimate(*pair, "--output", "/proc/flowgru") == 4
    assert "cannot write into /proc/flowgru" in only_error(capsys)


def test_pictures_whose_results_would_have_one_name_are_refused(estimate, tmp_path, output, capsys):
    names = ["f.png", "f_backward.png", "g.png"]
    for name, frame in zip(names, moving_frames(3, 40, 48), strict=True):
        write_image(tmp_path / name, frame)
    assert estimate(*(tmp_path / name for name in names), "--backward") == 2
    assert "f.png and f_backward.png would have one name" in only_error(capsys)
    assert estimate(*(tmp_path / name for name in names)) == 0
    assert estimate(*(tmp_path / name for name in names[:2]), "--backward", "--overwrite") == 0  # the last has no flow


@pytest.mark.parametrize(
    "options",
    [("--video", "flow.gif"), ("--video", "flow.WEBP", "--stride", "2"), ("--video", "flow.gif", "--fps", "1")],
)
def test_an_animated_picture_of_one_flow_is_refused_before_any_work(estimate, tmp_path, output, capsys, options):
    num_frames = {"--stride": 3, "--fps": 20}.get(options[-2], 2)
    clip = write_clip(tmp_path / "clip.mp4", moving_frames(num_frames, *SIZE))
    assert estimate(clip, *options) == 2
    assert f"{options[1]}: clip gives one flow, and an animated picture shows two at least" in only_error(capsys)
    assert not output.exists()


@pytest.mark.parametrize("num_frames", [11, 14, 20, 21, 24, 25, 31])
def test_the_flows_of_a_rate_are_counted_as_they_come(tmp_path, num_frames):
    (source,) = open_frames([str(write_clip(tmp_path / "clip.mp4", moving_frames(num_frames, *SIZE)))])
    num_used = len(list(sampled(source, "clip", fps=1.0)))
    assert expected_flows(source, EstimateSettings(output="out", fps=1.0)) == num_used - 1


def test_beside_a_longer_clip_one_of_one_flow_has_a_picture_of_one_frame(estimate, pair, folder, output):
    assert estimate(folder, *pair, "--video", "flow.gif") == 0
    assert read_image(output / "a/flow.gif").shape == (SIZE[0], 2 * SIZE[1], 3)
