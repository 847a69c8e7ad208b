"""A corpus folder loses nothing of the user's, forgets no clip, and is never refused for what a run has left itself."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from tables import csv_rows

from flowgru.config.corpus import CorpusSettings
from flowgru.corpus import driver, staging
from flowgru.corpus.inputs import find_clips
from flowgru.corpus.tables import GrowingTable
from flowgru.corpus.tasks import REFUSED, Outcome
from flowgru.corpus.work import estimate_clip
from flowgru.errors import InputFileError, MachineError, RequestError


def run(clips: Path, output: Path, work=estimate_clip, **settings):
    # A shard of three parts.
    options: dict[str, Any] = {"write": ("score", "half", "shards"), **settings}
    if "shards" in options["write"]:
        options.setdefault("shard_size", 0.01)
    return driver.run_corpus([str(clips)], CorpusSettings(output=str(output), **options), work=work)


def ids(table: Path) -> list[str]:
    return [row["id"] for row in csv_rows(table)]


def part_of(clips: Path, *numbers: int) -> Path:
    """A list of some of the clips."""
    lines = clips.read_text().splitlines()
    path = clips.with_name("part.csv")
    path.write_text("\n".join([lines[0], *(lines[1 + number] for number in numbers)]) + "\n")
    return path


@pytest.mark.parametrize("ends", ["refused by the disk", "unreadable"])
def test_a_clip_that_was_to_be_done_again_does_not_lock_the_folder(inline, clips, tmp_path, ends):
    run(clips, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/half/c0/2")
    if ends == "unreadable":
        (tmp_path / "clips/2.txt").write_text("broken")
        assert {row.id: row.status for row in run(clips, tmp_path / "out")}["c0/2"] == "failed"
        (tmp_path / "clips/2.txt").write_text("2")
    else:
        with pytest.raises(MachineError):
            run(clips, tmp_path / "out", work=lambda task: Outcome(REFUSED, "disk full"))
    run(part_of(clips, 0, 1), tmp_path / "out")  # does not ask for it
    assert {row.id: row.status for row in run(clips, tmp_path / "out")}["c0/2"] == "done"
    assert (tmp_path / "out/half/c0/2").is_dir() and ids(tmp_path / "out/shards.csv").count("c0/2") == 1
    assert ids(tmp_path / "out/manifest.csv").count("c0/2") == 1


def test_a_clip_in_a_shard_without_a_row_is_refused_only_where_it_is_not_done_again(inline, clips, tmp_path):
    run(clips, tmp_path / "out")
    manifest = tmp_path / "out/manifest.csv"
    rows = manifest.read_text()
    manifest.write_text("".join(line for line in rows.splitlines(True) if "c0/2" not in line))
    with pytest.raises(RequestError, match=r"holds the clip 'c0/2', .* give it among the clips, put the row back"):
        run(part_of(clips, 0, 1), tmp_path / "out")
    run(clips, tmp_path / "out")
    assert sorted(ids(manifest)) == sorted(line.split(",")[0] for line in rows.splitlines()[1:])


def test_rows_are_flushed_before_those_of_a_shard_that_holds_their_clips(inline, clips, tmp_path, monkeypatch):
    order: list[str] = []
    added, flushed = GrowingTable.add_all, GrowingTable.flush
    monkeypatch.setattr(
        GrowingTable,
        "add_all",
        lambda self, rows, **how: (order.append(f"add {self.path.name}"), added(self, rows, **how))[1],
    )
    monkeypatch.setattr(GrowingTable, "flush", lambda self: (order.append(f"flush {self.path.name}"), flushed(self))[1])
    run(clips, tmp_path / "out")
    place = order.index("add shards.csv")
    assert order[place - 2 : place] == ["flush scores.csv", "flush manifest.csv"]


def test_a_shard_that_was_changed_is_refused_and_stays(inline, clips, tmp_path):
    run(clips, tmp_path / "out")
    shard = tmp_path / "out/shards/shard-000000.tar"
    changed = shard.read_bytes() + bytes(512)
    shard.write_bytes(changed)
    for _ in range(2):
        with pytest.raises(
            RequestError, match=r"shard-000000.tar has another size than shards.csv says: move it out of"
        ):
            run(clips, tmp_path / "out")
        assert shard.read_bytes() == changed
    shard.rename(tmp_path / "kept.tar")
    assert {row.status for row in run(clips, tmp_path / "out")} == {"done", "failed"} and shard.is_file()


@pytest.mark.parametrize("name", ["notes.txt", "mine.npz", ".notes.npz"])
def test_files_of_the_users_own_in_a_clips_folder_stay(inline, clips, tmp_path, name):
    run(clips, tmp_path / "out")
    (tmp_path / "out/half/c0/2/frame_000001.npz").unlink()
    own = tmp_path / "out/half/c0/2" / name
    own.write_text("mine")
    (row,) = [row for row in run(clips, tmp_path / "out") if row.id == "c0/2"]
    assert row.status == "failed"
    assert f"{name} is in the place of a clip's results, and is none of them: move it" in row.reason
    assert own.read_text() == "mine"
    own.unlink()
    (tmp_path / "out/half/c0/2/.DS_Store").write_text("a system's")
    assert [row.status for row in run(clips, tmp_path / "out") if row.id == "c0/2"] == ["done"]


@pytest.mark.parametrize("place", ["half/c1/1", "half/c1"])
def test_a_file_in_the_place_of_a_clips_folder_fails_the_clip_and_not_the_run(inline, clips, tmp_path, place):
    (tmp_path / "out").mkdir()
    run(part_of(clips, 0), tmp_path / "out")
    (tmp_path / "out" / place).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / place).write_text("mine")
    found = {row.id: row for row in run(clips, tmp_path / "out")}
    assert found["c1/1"].status == "failed" and "is a file, and the results of a clip go there" in found["c1/1"].reason
    assert found["c0/4"].status == "done" and (tmp_path / "out" / place).read_text() == "mine"
    run(part_of(clips, 0), tmp_path / "out")
    assert "c1/1" not in ids(tmp_path / "out/shards.csv")


def test_what_is_said_of_clips_that_are_not_asked_for_stays(inline, clips, tmp_path):
    out, kinds = tmp_path / "out", ("score", "half")
    run(part_of(clips, 0, 3), out, write=kinds)
    shutil.move(out / "half", tmp_path / "archive")
    run(part_of(clips, 1, 2), out, write=kinds)
    assert ids(out / "manifest.csv") == ["c0/0", "c1/3", "c1/1", "c0/2"]
    assert ids(out / "scores.csv") == ["c0/0", "c1/1", "c0/2"]
    run(part_of(clips, 0), out, write=kinds)
    assert sorted(ids(out / "manifest.csv")) == ["c0/0", "c0/2", "c1/1", "c1/3"]


def test_damaged_clips_of_an_earlier_run_count_as_failures(inline, clips, tmp_path):
    def damaged(task):
        return replace_status(estimate_clip(task))

    def replace_status(outcome):
        return outcome._replace(status="damaged", reason="ends early")

    for _ in range(2):
        with pytest.raises(InputFileError, match="1 clip could not be read whole, and --max-failures is 0"):
            run(clips, tmp_path / "out", work=damaged, max_failures=0)
    assert len(ids(tmp_path / "out/manifest.csv")) == 1


def test_the_output_of_another_corpus_gives_no_clips(tmp_path, monkeypatch):
    (tmp_path / "videos/flows/jpeg/a.mp4").mkdir(parents=True)
    for number in range(2):
        (tmp_path / f"videos/flows/jpeg/a.mp4/flow_x_0000{number}.jpg").write_bytes(b"x")
    (tmp_path / "videos/flows/corpus.json").write_text('{"flowgru": "0.1", "settings": {}}')
    (tmp_path / "videos/set").mkdir()
    (tmp_path / "videos/set/corpus.json").write_text('{"name": "somebody else\'s"}')
    for name in ("a.mp4", "set/b.mp4"):
        (tmp_path / "videos" / name).write_bytes(b"x")
    for given in ("videos", "videos/*", "videos/**"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = find_clips([str(tmp_path / given)], tmp_path / "videos/half")
        assert sorted(clip.id for clip in found) == ["a.mp4", "set/b.mp4"], given
    monkeypatch.chdir(tmp_path / "videos/flows")
    assert [clip.id for clip in find_clips(["../*.mp4"], Path("."))] == ["a.mp4"]
    assert [clip.id for clip in find_clips(["../*.mp4"], Path("../new"))] == ["a.mp4"]


def test_an_older_parquet_file_goes_with_the_first_new_score(inline, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "write_parquet", lambda root: None)  # as without pyarrow
    run(part_of(clips, 0), tmp_path / "out")
    parquet = tmp_path / "out/scores.parquet"
    parquet.write_bytes(b"older")
    run(part_of(clips, 0), tmp_path / "out")
    assert parquet.exists()
    run(clips, tmp_path / "out")
    assert not parquet.exists()
    parquet.write_bytes(b"older")
    shutil.rmtree(tmp_path / "out/half/c0/2")
    with pytest.raises(MachineError):
        run(clips, tmp_path / "out", work=lambda task: Outcome(REFUSED, "disk full"))
    assert not parquet.exists() and "c0/2" not in ids(tmp_path / "out/scores.csv")


def test_what_a_worker_still_writes_is_out_of_its_reach_before_it_is_taken_away(tmp_path, monkeypatch):
    staged = staging.StagedClip(tmp_path, staging.begin_run(tmp_path), 0)
    (staged.begin("half") / "frame.npz").write_bytes(b"x")
    remove = shutil.rmtree

    def moved_meanwhile(folder, **how):
        with pytest.raises(MachineError):
            staged.move("half", tmp_path / "half/c0")
        remove(folder, **how)

    monkeypatch.setattr(staging.shutil, "rmtree", moved_meanwhile)
    staging.end_run(tmp_path)
    assert not (tmp_path / "half/c0").exists() and not (tmp_path / staging.UNFINISHED).exists()
