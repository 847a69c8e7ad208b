"""`flowgru corpus`, with the work done in this process: what is written, and what is said."""

import json
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from estimates import expected_flow, names, only_error
from media import moving_frames, write_clip
from tables import csv_rows

import flowgru.corpus
from flowgru.corpus.parquet import write_parquet
from flowgru.corpus.tables import SCORE_COLUMNS, write_table
from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.images import write_image
from flowgru.errors import InputFileError, RequestError

WEBDATASET_NAME = r"((?:.*/|)[^.]+)[.]([^/]*)"
"""How webdataset tells a sample's key from what the member of a tar file holds of it."""


def table(path: Path) -> dict[str, dict[str, str]]:
    return {row["id"]: row for row in csv_rows(path)}


@pytest.fixture
def frames(tmp_path) -> Path:
    """A folder of pictures, one clip."""
    folder = tmp_path / "pictures" / "walk"
    folder.mkdir(parents=True)
    for number, frame in enumerate(moving_frames(3, 48, 64), start=1):
        write_image(folder / f"f.{number}.png", frame)
    return folder


def test_every_kind_holds_the_flow_that_the_network_gives(corpus, frames, network, tmp_path):
    output = tmp_path / "out"
    assert corpus(frames.parent, "--write", "half,png16,jpeg,shards,score", "--bound", 4) == 0
    truth = [expected_flow(network, frames / f"f.{n}.png", frames / f"f.{n + 1}.png") for n in (1, 2)]
    assert names(output / "half/walk") == ["f.1.npz", "f.2.npz"]
    assert names(output / "png16/walk") == ["f.1.png", "f.2.png"]
    assert names(output / "jpeg/walk") == [f"flow_{axis}_0000{number}.jpg" for axis in "xy" for number in (1, 2)]
    shards = list(flowgru.corpus.read_shard(output / "shards/shard-000000.tar"))
    assert [(flow.clip, flow.number, flow.frame, flow.time) for flow in shards] == [
        ("walk", 1, "f.1", None),
        ("walk", 2, "f.2", None),
    ]
    with tarfile.open(output / "shards/shard-000000.tar") as tar:
        keys = [re.fullmatch(WEBDATASET_NAME, name) for name in tar.getnames()]
    assert [key and key.groups() for key in keys] == [
        (f"walk/00000{number}", kind) for number in (1, 2) for kind in ("npz", "json")
    ]
    for number, flow in enumerate(truth, start=1):
        largest = np.abs(flow).max()
        half = read_flow(output / f"half/walk/f.{number}.npz")
        assert half.valid.all() and np.abs(half.flow - flow).max() <= largest / 2048 + 1e-4
        assert np.array_equal(shards[number - 1].flow.flow, half.flow)
        assert np.abs(read_flow(output / f"png16/walk/f.{number}.png").flow - flow).max() <= 1 / 128 + 1e-4
        eight = flowgru.corpus.read_jpeg_flow(output / f"jpeg/walk/flow_y_0000{number}.jpg").flow
        assert np.abs(eight - flow.clip(-4, 4)).mean() < 4 / 255
    row = table(output / "manifest.csv")["walk"]
    assert row["status"] == "done" and row["frames"] == "3" and row["flows"] == "2" and row["files"] == "8"
    files = [path for kind in ("half", "png16", "jpeg") for path in (output / kind / "walk").iterdir()]
    assert int(row["bytes"]) == sum(path.stat().st_size for path in files)
    tables = ["corpus.json", "corpus.lock", "manifest.csv", "scores.csv", "scores.parquet", "shards.csv"]
    assert names(output) == sorted([*tables, "half", "jpeg", "png16", "shards"])


def test_damaged_clips_are_rows_with_reasons_and_the_others_are_done(corpus, videos, tmp_path, capsys):
    assert corpus(videos) == 3
    rows = table(tmp_path / "out/manifest.csv")
    assert {name: row["status"] for name, row in rows.items()} == {
        "a.mp4": "done",
        "broken.mp4": "failed",
        "text.avi": "failed",
        "walk/b.mp4": "done",
        "walk/c.mkv": "done",
    }
    assert rows["a.mp4"]["digest"] != rows["walk/b.mp4"]["digest"]  # of equal content, and yet two clips
    assert "cannot be read as a video" in rows["text.avi"]["reason"] and rows["broken.mp4"]["flows"] == "0"
    scores = table(tmp_path / "out/scores.csv")
    assert sorted(scores) == ["a.mp4", "walk/b.mp4", "walk/c.mkv"]
    assert scores["a.mp4"]["frames"] == "4" and scores["a.mp4"]["seconds"] == "0.3"
    assert scores["walk/c.mkv"]["width"] == "80" and scores["a.mp4"]["length_p90"] == scores["walk/b.mp4"]["length_p90"]
    captured = capsys.readouterr()
    assert "5 clips: 0 are done, 5 are to do" in captured.out and re.search(r"5/5 clips.* 2 not whole", captured.err)
    assert re.search(
        r"error: 2 of 5 clips could not be read whole, and .*manifest.csv says why; the first is", captured.err
    )
    assert corpus(videos) == 3
    assert "5 clips: 3 are done, 2 are to do" in capsys.readouterr().out


def test_what_can_be_read_of_a_damaged_clip_is_written_and_said(corpus, tmp_path):
    (tmp_path / "in").mkdir()
    data = write_clip(tmp_path / "in/whole.mkv", moving_frames(12, 48, 64), codec_options={"g": "1"}).read_bytes()
    (tmp_path / "in/cut.mkv").write_bytes(data[: len(data) * 2 // 3])
    assert corpus(tmp_path / "in", "--write", "score,half") == 3
    rows = table(tmp_path / "out/manifest.csv")
    assert rows["whole.mkv"]["status"] == "done" and rows["cut.mkv"]["status"] == "damaged"
    assert "the file ends early" in rows["cut.mkv"]["reason"]
    assert 0 < len(names(tmp_path / "out/half/cut.mkv")) == int(rows["cut.mkv"]["flows"]) < 11
    before = (tmp_path / "out/manifest.csv").read_bytes()
    assert corpus(tmp_path / "in", "--write", "score,half") == 3  # it is not done again
    assert (tmp_path / "out/manifest.csv").read_bytes() == before


def test_a_list_says_ids_and_frames_and_fps_and_stride_choose_among_them(corpus, videos, tmp_path):
    write_clip(videos / "long.mp4", moving_frames(9, 48, 64))
    lines = [{"id": "x/1", "path": "videos/long.mp4", "start": 3}, {"id": "x/2", "path": "videos/long.mp4", "end": 5}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert corpus(tmp_path / "list.jsonl", "--write", "half", "--fps", 5) == 0
    assert names(tmp_path / "out/half/x/1") == [f"frame_{number:06d}.npz" for number in (3, 5, 7)]
    assert names(tmp_path / "out/half/x/2") == [f"frame_{number:06d}.npz" for number in (1, 3)]
    assert corpus(tmp_path / "list.jsonl", "--output", tmp_path / "o", "--write", "half", "--stride", 4) == 0
    assert names(tmp_path / "o/half/x/1") == ["frame_000003.npz"]


def test_the_flow_is_that_of_estimate_with_the_same_options(corpus, estimate, videos, tmp_path):
    options = ["--initial-flow", "dis", "--hold", 1, "--polish", "--resize", "0.5", "--warm-start"]
    assert corpus(videos / "a.mp4", "--write", "half", *options) == 0
    assert estimate(videos / "a.mp4", "--output", tmp_path / "e", *options) == 0
    for number in (1, 2, 3):
        one = read_flow(tmp_path / f"e/frame_00000{number}.flo").flow
        other = read_flow(tmp_path / f"out/half/a.mp4/frame_00000{number}.npz").flow
        assert np.array_equal(other, one.astype(np.float16).astype(np.float32))


def test_initial_flows_from_files_lie_in_a_folder_for_each_clip(corpus, videos, tmp_path):
    assert corpus(videos / "a.mp4", "--write", "half") == 0
    assert corpus(videos / "a.mp4", "--initial-flow", tmp_path / "out/half", "--output", tmp_path / "o") == 0
    assert corpus(videos / "walk", "--initial-flow", tmp_path / "out/half", "--output", tmp_path / "p") == 3
    assert "there is no folder" in table(tmp_path / "p/manifest.csv")["b.mp4"]["reason"]


def test_initial_flows_that_have_changed_since_are_said(corpus, videos, tmp_path, capsys):
    assert corpus(videos / "a.mp4", "--write", "half") == 0
    words = (videos / "a.mp4", "--initial-flow", tmp_path / "out/half", "--output", tmp_path / "o")
    assert corpus(*words) == 0 and corpus(*words) == 0
    assert "have changed since" not in capsys.readouterr().err
    os.utime(tmp_path / "out/half/a.mp4/frame_000001.npz", (1, 1))
    assert corpus(*words) == 0
    assert (
        "the initial flows of 1 clip that are done have changed since (the first is a.mp4)" in capsys.readouterr().err
    )
    manifest = tmp_path / "o/manifest.csv"
    told = manifest.read_text()
    manifest.write_text(re.sub(r"([0-9a-f]{16})\.[0-9a-f]{16}\.[0-9a-f-]+", r"\1", told))  # as an earlier version
    assert corpus(*words) == 0 and "have changed since" not in capsys.readouterr().err


def test_a_clip_that_has_changed_since_is_said(corpus, videos, capsys):
    assert corpus(videos / "a.mp4", videos / "walk") == corpus(videos / "a.mp4", videos / "walk")
    assert "changed since" not in capsys.readouterr().err
    for clip in ("a.mp4", "walk/c.mkv"):
        os.utime(videos / clip, (1, 1))
    corpus(videos / "a.mp4", videos / "walk")
    assert "the files of 2 clips that are done have changed since (the first is a.mp4)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "there is no nothing: expected a folder, a pattern, a list"),
        (["empty"], "has no clip: expected videos, or folders of two pictures or more"),
        (["list.csv"], "list.csv has no column 'path': its first line must name id and path"),
        (["videos", "--write", "score,score"], "--write is 'score,score': name one or more kinds, each once"),
        (["videos", "--workers", 0], "--workers is 0: it must be 1 or more"),
        (["videos", "--max-failures", -1], "--max-failures is -1: it must be 0 or more"),
        (["videos", "--bound", 0], "--bound is 0.0: it must be above 0"),
        (["videos", "--bound", 4], "--bound has no effect where --write has no jpeg; leave it out"),
        (["videos", "--shard-size", 9], "--shard-size has no effect where --write has no shards; leave it out"),
        (
            ["videos", "--scheduler", "tcp://x:1", "--workers", 2],
            "--scheduler has workers of its own: leave --workers out",
        ),
        (["videos", "--slurm", "partition"], "--slurm is 'partition': expected sbatch's long options"),
        (["videos", "--output", "videos"], "--output videos is the folder of the clips: name another folder"),
        (["videos", "--model", "none.safetensors"], "none.safetensors"),
        (["videos", "--device", "cuda:1"], "--device is cuda:1: name cuda"),
        (["nothing", "--device", "gpu"], "--device is 'gpu': expected auto, cpu, cuda"),
        (["videos", "--fps", -1], "--fps is -1.0: it must be above 0"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_folder_is_made(
    corpus, videos, tmp_path, monkeypatch, capsys, words, said
):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("list.csv").write_text("id,file\na,b\n")
    assert corpus(*words) == 2
    assert said in only_error(capsys) and not (tmp_path / "out").exists()


def test_a_device_that_is_not_to_be_had_stops_the_run(corpus, videos, tmp_path, capsys):
    assert corpus(videos, "--device", "cuda") == 4
    assert "cuda" in capsys.readouterr().err.splitlines()[-1] and not (tmp_path / "out/.unfinished").exists()


def test_python_gives_the_rows(corpus, videos, model, tmp_path):
    rows = flowgru.corpus.run(videos, tmp_path / "out", model=model, iterations=1, write=("score", "half"))
    assert [row.status for row in rows] == ["done", "failed", "failed", "done", "done"]
    assert [row.flows for row in rows] == [3, 0, 0, 3, 2] and rows[0].seconds > 0


def test_python_takes_one_kind_alone_and_refuses_an_unknown_one(corpus, videos, model, tmp_path):
    rows = flowgru.corpus.run(videos / "a.mp4", tmp_path / "out", model=model, iterations=1, write="half")
    assert rows[0].files == 3 and names(tmp_path / "out/half/a.mp4")[0] == "frame_000001.npz"
    with pytest.raises(RequestError, match="write has 'haf': expected one or more of score, jpeg"):
        flowgru.corpus.run(videos, tmp_path / "other", write=("score", "haf"))


def test_parquet_holds_a_name_that_is_no_utf_8_with_escapes(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_table(tmp_path / "scores.csv", SCORE_COLUMNS, [["caf\udce9", *["1"] * (len(SCORE_COLUMNS) - 1)]])
    assert write_parquet(tmp_path) == tmp_path / "scores.parquet"
    assert parquet.read_table(tmp_path / "scores.parquet").to_pylist()[0]["id"] == "caf\\udce9"


def test_parquet_holds_what_the_csv_does(corpus, videos, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    corpus(videos)
    rows = parquet.read_table(tmp_path / "out/scores.parquet").to_pylist()
    stored = table(tmp_path / "out/scores.csv")
    assert [row["id"] for row in rows] == [*stored]
    assert all(str(row["length_mean"]) == stored[row["id"]]["length_mean"] and row["frames"] >= 3 for row in rows)


def test_warnings_about_a_clip_are_notes(corpus, tmp_path):
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in/deep.mkv", moving_frames(3, 48, 64), pixel_format="yuv420p10le")
    assert corpus(tmp_path / "in") == 0
    assert "has 10 bits a channel: read as 8" in table(tmp_path / "out/manifest.csv")["deep.mkv"]["notes"]


def test_a_full_disk_is_one_line_and_exit_4(corpus, videos, tmp_path, monkeypatch, capsys):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    assert corpus(videos, "--write", "half") == 4
    said = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device; what is done is kept, and the same command goes on from here" in said
    assert not (tmp_path / "out/.unfinished").exists()
    monkeypatch.undo()


@pytest.mark.parametrize("data", [b"", b"no tar" * 200, "cut"])
def test_a_damaged_shard_is_one_line(corpus, frames, tmp_path, data):
    assert corpus(frames.parent, "--write", "shards") == 0
    shard = tmp_path / "out/shards/shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:3000] if data == "cut" else data)
    with pytest.raises(InputFileError, match=r"shard-000000.tar"):
        list(flowgru.corpus.read_shard(shard))


def test_a_sparse_file_in_a_shard_is_refused_before_it_unfolds(tmp_path):
    """Of 3 KB, as GNU tar writes it, it would fill any memory."""
    entry = tarfile.TarInfo("clip/000001.npz")
    entry.type, entry.size = tarfile.GNUTYPE_SPARSE, 512
    block = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    block[386:410], block[483:495] = b"00000000000\0" + b"00000001000\0", b"400000000000"[:11] + b"\0"
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    path = tmp_path / "s.tar"
    path.write_bytes(bytes(block) + bytes(512) + bytes(1024))
    with pytest.raises(InputFileError, match=r"clip/000001\.npz claims to be a sparse file, expected a plain file"):
        list(flowgru.corpus.read_shard(path))


def test_a_picture_that_is_no_flow_is_refused(tmp_path):
    write_image(tmp_path / "flow_x_00001.jpg", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputFileError, match="expected a grey JPEG"):
        flowgru.corpus.read_jpeg_flow(tmp_path / "flow_x_00001.jpg")
    with pytest.raises(InputFileError, match="is no picture of a flow"):
        flowgru.corpus.read_jpeg_flow(tmp_path / "a.jpg")
