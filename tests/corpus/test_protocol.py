"""Exactly once: whatever ends a run, and wherever, the next one leaves what an uninterrupted run does."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tables import csv_rows
from test_keeps import run

from flowgru.config.corpus import CorpusSettings
from flowgru.corpus import driver
from flowgru.corpus.shards import read_shard
from flowgru.corpus.tasks import REFUSED, Died, Lost, Outcome, PackTask
from flowgru.corpus.work import estimate_clip
from flowgru.errors import InputFileError, MachineError
from flowgru.files.atomic import atomic_write

KINDS = ("score", "half", "shards")


def content(output: Path) -> dict:
    """All that is in an output folder, but for the order of rows, times, and which shard a clip is in."""
    rows = {row["id"]: {**row, "seconds": ""} for row in csv_rows(output / "manifest.csv")}
    assert len(rows) == len(csv_rows(output / "manifest.csv"))
    flows = [flow for path in sorted((output / "shards").glob("*.tar")) for flow in read_shard(path)]
    files = {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*.npz")}
    assert sorted(flow.clip for flow in flows) == sorted(row["id"] for row in csv_rows(output / "shards.csv"))
    hidden = [path.name for path in output.iterdir() if path.name.startswith(".")]
    scores = sorted(tuple(row.values()) for row in csv_rows(output / "scores.csv"))
    return {
        "rows": rows,
        "scores": scores,
        "files": files,
        "hidden": hidden,
        "flows": sorted((flow.clip, float(flow.flow.flow.mean()), flow.frame, flow.time) for flow in flows),
    }


@pytest.mark.parametrize(
    "every", [pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(1200)], id="each touch of the disk"), 17]
)
def test_a_run_that_is_killed_anywhere_goes_on_to_what_an_uninterrupted_one_leaves(
    inline, clips, tmp_path, killed, every
):
    run(clips, tmp_path / "whole")
    expected = content(tmp_path / "whole")
    assert len(expected["flows"]) == len(expected["files"]) == len(expected["scores"]) == 4
    assert expected["rows"]["c1/3"]["status"] == "failed" and "3.txt is broken" in expected["rows"]["c1/3"]["reason"]
    assert expected["hidden"] == []
    number, deaths = every, 0
    while killed(lambda: run(clips, tmp_path / "out"), number):
        deaths += 1
        killed(lambda: run(clips, tmp_path / "out"), 3 + number % 17)  # and the next one soon after
        run(clips, tmp_path / "out")
        assert content(tmp_path / "out") == expected, number
        shutil.rmtree(tmp_path / "out")
        number += every
    assert deaths > 60 / every


def test_what_is_whole_is_not_done_again_and_what_is_gone_is(inline, clips, tmp_path):
    output, done = tmp_path / "out", []
    run(clips, output)
    expected = content(output)

    def work(task):
        done.append(task.clip.id)
        return estimate_clip(task)

    def again():
        done.clear()
        driver.run_corpus([str(clips)], CorpusSettings(output=str(output), write=KINDS), work=work)
        assert content(output) == expected
        return sorted(done)

    assert again() == ["c1/3"]  # what failed is tried again
    shutil.rmtree(output / "half/c0/2")
    assert again() == ["c0/2", "c1/3"]
    (output / "half/c0/0/frame_000001.npz").write_bytes(b"short")
    assert again() == ["c0/0", "c1/3"]
    rows = (output / "scores.csv").read_text().splitlines(keepends=True)
    (output / "scores.csv").write_text("".join(rows[:-1]) + rows[-1][:4])  # half a line
    assert again() == [rows[-1].partition(",")[0], "c1/3"]
    shard = sorted((output / "shards").glob("*.tar"))[0]
    in_it = sorted({flow.clip for flow in read_shard(shard)})
    shard.unlink()
    assert again() == sorted([*in_it, "c1/3"])
    (tmp_path / "clips/3.txt").write_text("3")
    done.clear()
    assert [row.status for row in run(clips, output)] == ["done"] * 5


def test_a_clip_that_fails_is_a_row_and_more_than_max_failures_stop_the_run(inline, clips, tmp_path):
    rows = run(clips, tmp_path / "out", max_failures=1)
    assert [row.status for row in rows] == ["done", "done", "done", "failed", "done"]
    with pytest.raises(InputFileError, match=r"1 clip could not be read whole, and --max-failures is 0: .* c1/3"):
        run(clips, tmp_path / "other", max_failures=0)
    assert len(csv_rows(tmp_path / "other/manifest.csv")) == 4


def test_two_drivers_on_one_output(inline, clips, tmp_path):
    def work(task):
        with pytest.raises(MachineError, match="out is being written by process"):
            run(clips, tmp_path / "out")
        return estimate_clip(task)

    settings = CorpusSettings(output=str(tmp_path / "out"), write=KINDS)
    assert len(driver.run_corpus([str(clips)], settings, work=work)) == 5


def test_a_worker_that_outlived_its_driver_moves_nothing(inline, clips, tmp_path):
    """The second driver takes over while a worker of the first is at a clip."""
    from flowgru.corpus import staging

    run(clips, tmp_path / "out")
    staging.begin_run(tmp_path / "out")
    first = staging.begin_run(tmp_path / "out")
    late = staging.StagedClip(tmp_path / "out", first, 0)
    (late.begin("half") / "a.npz").touch()
    staging.begin_run(tmp_path / "out")
    with pytest.raises(staging.DiskRefused):
        late.move("half", tmp_path / "out/half/late")
    assert not (tmp_path / "out/half/late").exists()


def test_what_an_encoder_refuses_is_not_refused_by_the_disk(tmp_path):
    from flowgru.corpus import staging

    def write(error):
        with staging.refusing(tmp_path), atomic_write(tmp_path / "a.jpg", overwrite=False):
            raise error

    with pytest.raises(MachineError, match="broken data stream") as met:
        write(OSError("broken data stream when writing image file"))
    assert not isinstance(met.value, staging.DiskRefused)
    with pytest.raises(staging.DiskRefused, match="No space"):
        write(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def test_a_full_disk_stops_the_run_and_the_next_one_goes_on(inline, clips, tmp_path):
    def work(task):
        if task.number == 2:
            return Outcome(REFUSED, f"cannot write into {task.root}: No space left on device")
        return estimate_clip(task)

    settings = CorpusSettings(output=str(tmp_path / "out"), write=KINDS)
    with pytest.raises(
        MachineError, match="No space left on device; what is done is kept, and the same command goes on"
    ):
        driver.run_corpus([str(clips)], settings, work=work)
    assert len(csv_rows(tmp_path / "out/manifest.csv")) == 2 and not (tmp_path / "out/.unfinished").exists()
    run(clips, tmp_path / "out")
    run(clips, tmp_path / "whole")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_table_on_a_full_disk_ends_with_its_last_whole_row(inline, clips, tmp_path, monkeypatch):
    from flowgru.corpus.tables import GrowingTable

    table: Any = GrowingTable(tmp_path / "t.csv", ("a", "b"))
    table.add({"a": 1, "b": 2})

    class Full:
        def __getattr__(self, name):
            return getattr(real, name)

        def write(self, data):
            if len(data) < 4:
                raise OSError(28, "No space left on device")
            return real.write(data[:-2])

    real, table._file = table._file, Full()
    with pytest.raises(MachineError, match=r"cannot write .*t.csv: No space left on device"):
        table.add({"a": 3, "b": 4})
    assert (tmp_path / "t.csv").read_text() == "a,b\n1,2\n"


def test_a_clip_whose_process_dies_is_tried_twice_more_and_then_recorded(inline, clips, tmp_path):
    """It leaves its folder, as a process that is killed does; a clip that merely waited leaves none."""
    attempts = {1: 0, 2: 0, 4: 0}

    def instead(job):
        number = job.argument.number
        if isinstance(job.argument, PackTask) or number not in attempts:
            return None
        attempts[number] += 1
        if number == 4:  # it waited twice for a worker that died at another clip
            return Died() if attempts[number] <= 5 else None
        if number == 1 and attempts[number] == 3:
            return None
        (tmp_path / "out/.unfinished" / job.argument.run / f"{number}-{attempts[number]:08x}").mkdir()
        return Died()

    inline.instead = instead
    rows = run(clips, tmp_path / "out")
    assert [row.status for row in rows] == ["done", "done", "failed", "failed", "done"]
    assert attempts == {1: 3, 2: 3, 4: 6} and "died 3 times: killed, or out of memory" in rows[2].reason


def test_a_shard_whose_maker_dies_is_made_again_and_what_nobody_expected_is_said(inline, clips, tmp_path):
    tries = []

    def instead(job):
        if isinstance(job.argument, PackTask):
            tries.append(job.argument.shard)
            return Died() if len(tries) < 3 else None
        return Lost("KeyError: 'x'") if job.argument.number == 0 else None

    inline.instead = instead
    rows = run(clips, tmp_path / "out")
    assert rows[0].status == "failed" and rows[0].reason == "a bug: KeyError: 'x'"
    assert len({*tries}) < len(tries) and len(content(tmp_path / "out")["flows"]) == 3
    inline.instead = lambda job: Died() if isinstance(job.argument, PackTask) else None
    with pytest.raises(MachineError, match=r"3 processes died while they made shard-\d{6}.tar: its parts are kept"):
        run(clips, tmp_path / "out")
    inline.instead = None
    run(clips, tmp_path / "out")
    run(clips, tmp_path / "whole")
    assert content(tmp_path / "out") == content(tmp_path / "whole")
