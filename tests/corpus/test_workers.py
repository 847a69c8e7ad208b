"""`flowgru corpus` with dask's own processes, and what happens when one of them is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
from estimates import names
from interpreter import is_alive, killed_at_the_end, run_alone, spawned
from paths import ROOT
from tables import csv_rows

from flowgru.cli import main
from flowgru.config.corpus import CorpusSettings
from flowgru.corpus.tasks import Lost
from flowgru.errors import MachineError

distributed = pytest.importorskip("distributed", reason="needs the extra corpus")
from flowgru.corpus.workers import engine, opening  # noqa: E402

pytestmark = pytest.mark.timeout(600)

BUSY = """
import hashlib, os, signal, sys, time
from pathlib import Path
from flowgru.config.corpus import CorpusSettings
from flowgru.corpus import driver, work
from flowgru.corpus.staging import add_files, final_place, measured

def quick(task, staged):
    path = staged.begin("half") / "a.npz"
    path.write_text(task.clip.id)
    time.sleep(float(Path(task.clip.path).read_text()))
    if task.clip.id == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    if task.clip.id == "hungry":
        hoard = [bytes(range(256)) * 2**22 for _ in range(4)]  # 1 GiB each
        time.sleep(60)
    digest, found = hashlib.sha256(), measured(staged.folder / "half")
    add_files(digest, staged.folder / "half")
    staged.move("half", final_place(staged.root, "half", task.clip.id))
    return work.Outcome("done", digest=digest.hexdigest(), flows=1, files=found.files, bytes=found.bytes)

def do(task):
    work._matched_and_written = quick
    return work.estimate_clip(task)

if __name__ == "__main__":
    from flowgru.cli import main
    from flowgru.corpus.workers import opening
    opening.free_memory = lambda device: 2 * 2**30
    driver.deciding_settings = lambda settings: {"write": ["half"]}
    real = driver.run_corpus
    driver.run_corpus = lambda inputs, settings: real(inputs, settings, work=do)
    sys.exit(main(["corpus", *sys.argv[1:], "--write", "half"]))
"""


class Driver:
    """The command in a process of its own, with work that takes as long as the clips' files say."""

    def __init__(self, ends: ExitStack, folder: Path, *words: str) -> None:
        (folder / "busy.py").write_text(BUSY)
        path = os.pathsep.join([str(folder), str(ROOT)])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(folder / "busy.py"), "list.csv", "--output", "out", *words]
        pipe = subprocess.PIPE
        self.output = folder / "out"
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        ends.enter_context(killed_at_the_end(self.process))

    def ended(self) -> tuple[int, list[str]]:
        """Exit code and lines of stderr, without those of progress."""
        errors = self.process.communicate(timeout=300)[1]
        return self.process.returncode, [line for line in errors.splitlines() if "clips/s" not in line]

    def until(self, count: int) -> None:
        """Waits until so many clips have their rows."""
        patience = time.monotonic() + 200
        while len(rows(self.output)) < count:
            assert self.process.poll() is None and time.monotonic() < patience
            time.sleep(0.05)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Starts the command; nothing is left of it after the test."""
    with ExitStack() as ends:
        yield partial(Driver, ends, tmp_path)


def rows(output: Path) -> list[dict[str, str]]:
    manifest = output / "manifest.csv"
    return csv_rows(manifest) if manifest.exists() else []


def write_list(folder: Path, seconds: dict[str, float]) -> None:
    lines = ["id,path"]
    for name, time_it_takes in seconds.items():
        (folder / f"{name}.txt").write_text(str(time_it_takes))
        lines.append(f"{name},{name}.txt")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")


def test_a_worker_of_dask_does_the_clips(videos, model, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(opening, "free_memory", lambda device: 2**36)  # its limit, whatever else runs on the machine
    words = ["corpus", str(videos / "walk"), "--output", str(tmp_path / "out"), "--model", model, "--device", "cpu"]
    assert main([*words, "--workers", "1", "--iterations", "1", "--write", "half,shards"]) == 0
    assert names(tmp_path / "out/half/c.mkv") == ["frame_000001.npz", "frame_000002.npz"]
    assert names(tmp_path / "out/shards") == ["shard-000000.tar"]
    captured = capfd.readouterr()
    assert "1 worker of " in captured.out and "dashboard: http://127.0.0.1:" in captured.out
    assert all("clips/s" in line for line in captured.err.splitlines()), captured.err


def test_a_scheduler_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr(opening, "CONNECT_TIMEOUT_S", 0.5)
    settings = CorpusSettings(output="out", scheduler="tcp://127.0.0.1:9")
    with (
        pytest.raises(
            MachineError, match=r"no scheduler answers at tcp://127.0.0.1:9 .*start one with `dask scheduler`"
        ),
        opening.opened_engine(settings),
    ):
        pass


@pytest.mark.parametrize("cause", [ModuleNotFoundError("No module named 'flowgru'"), AttributeError("no 'WorkTask'")])
def test_a_worker_that_has_another_flowgru_stops_the_run(cause):
    def refused(error: Exception) -> Mock:
        return Mock(spec=distributed.Future, status="error", result=Mock(side_effect=error))

    about_graph = RuntimeError("Error during deserialization of the task graph")  # a scheduler says it this way
    about_graph.__cause__ = cause
    asked = engine.Engine(Mock(spec=distributed.Client), num_threads=1, description="")
    for error in (cause, about_graph):
        with pytest.raises(MachineError, match=r"has another flowgru, or other packages .*(No module|no 'WorkTask')"):
            asked._result(refused(error))
    assert asked._result(refused(RuntimeError("x"))) == Lost("RuntimeError: x")


def test_without_slurm_and_without_the_extra_it_is_one_line(videos, model, tmp_path, monkeypatch, capsys):
    words = ["corpus", str(videos), "--output", str(tmp_path / "out"), "--model", model, "--slurm", "mem=1G,time=1:00"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(words) == 4
    assert "error: there is no sbatch on this machine" in capsys.readouterr().err
    # In a process that has imported neither: modules imported anew here would be other ones than the next tests hold.
    code = "import sys; sys.modules['dask'] = None; from flowgru.cli import main; sys.exit(main(sys.argv[1:]))"
    alone = run_alone(code, *words)
    said = alone.stderr.splitlines()[0]  # PyTorch's compiler may have the last word as a process ends
    assert (alone.returncode, said) == (2, "error: the package dask is missing: pip install 'flowgru[corpus]'")


def test_the_cores_are_shared_among_the_workers(monkeypatch):
    monkeypatch.setattr(opening, "_num_cores", lambda: 16)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for workers, expected in ((None, (8, 2)), (3, (3, 5)), (40, (40, 1))):
        assert opening.num_local_workers(CorpusSettings(output="out", workers=workers)) == expected
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert opening.num_local_workers(CorpusSettings(output="out")) == (4, 4)
    assert opening.num_local_workers(CorpusSettings(output="out", device="cpu")) == (8, 2)


@pytest.mark.parametrize(
    ("said", "workers", "expected"),
    [
        ("1", None, (16, 1)),
        ("4", None, (4, 4)),
        ("3,2", 2, (2, 3)),
        ("64", None, (1, 64)),
        ("x", None, (8, 2)),
        ("0", None, (8, 2)),
    ],
)
def test_each_worker_has_the_threads_that_openmp_is_told_of(monkeypatch, said, workers, expected):
    monkeypatch.setattr(opening, "_num_cores", lambda: 16)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert opening.num_local_workers(CorpusSettings(output="out", workers=workers)) == expected


def test_each_worker_has_a_gpu_of_its_own(monkeypatch):
    from flowgru.corpus.work import own_gpu

    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    settings = CorpusSettings(output="out")
    assert [own_gpu(settings, name).device for name in (0, 5, "tcp", None)] == ["cuda:0", "cuda:1", "auto", "auto"]
    assert own_gpu(CorpusSettings(output="out", device="cpu"), 1).device == "cpu"


@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_no_process_and_is_gone_on_with(tmp_path, start):
    write_list(tmp_path, {f"c{number}": 0.2 for number in range(20)})
    first = start("--workers", "2")
    first.until(5)
    begun = spawned(first.process.pid)
    first.process.kill()
    first.process.wait()
    patience = time.monotonic() + 30
    while any(map(is_alive, begun)):
        assert time.monotonic() < patience
        time.sleep(0.1)
    before = {row["id"]: row for row in rows(tmp_path / "out")}
    assert start("--workers", "2").ended() == (0, [])
    after = {row["id"]: row for row in rows(tmp_path / "out")}
    assert len(after) == len(rows(tmp_path / "out")) == 20 and all(after[name] == row for name, row in before.items())
    assert sorted(names(tmp_path / "out/half")) == sorted(after) and not (tmp_path / "out/.unfinished").exists()


@pytest.mark.slow
@pytest.mark.parametrize("bad", ["poison", "hungry"])
def test_a_worker_that_is_killed_is_replaced_and_a_clip_that_kills_its_workers_is_recorded(tmp_path, start, bad):
    write_list(tmp_path, {bad: 0.1} | {f"c{number}": 0.3 for number in range(12)})
    driver = start("--workers", "1")
    driver.until(4)
    os.kill(spawned(driver.process.pid)[0], signal.SIGKILL)
    code, errors = driver.ended()
    found = {row["id"]: row for row in rows(tmp_path / "out")}
    (said,) = [line for line in errors if " died while " not in line]  # a line each
    assert code == 3 and len(errors) >= 4 and "1 of 13 clips could not be read whole" in said
    assert [name for name, row in found.items() if row["status"] != "done"] == [bad]
    assert found[bad]["reason"] == "the process that worked on it died 3 times: killed, or out of memory"
    assert found[bad]["notes"] == "3 processes died while the clip was with them"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_whole_group_stops_the_run_with_one_line(tmp_path, start, number, code):
    write_list(tmp_path, {f"c{each}": 0.3 for each in range(30)})
    driver = start("--workers", "2")
    driver.until(3)
    os.killpg(driver.process.pid, number)
    assert driver.ended() == (code, [f"stopped by {number.name}; the same command goes on from here"])
    assert 3 <= len(rows(tmp_path / "out")) < 30 and not (tmp_path / "out/.unfinished").exists()


@pytest.mark.slow
def test_a_scheduler_that_is_killed_is_one_line_and_its_successor_goes_on(tmp_path, start):
    write_list(tmp_path, {f"c{each}": 0.3 for each in range(30)})
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    python, environment = [sys.executable, "-m"], {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    address = "tcp://127.0.0.1:8797"

    def begun(*words: str) -> subprocess.Popen:
        return subprocess.Popen(
            [*python, *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def cluster() -> list[subprocess.Popen]:
        scheduler = begun("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "8797", "--no-dashboard")
        scratch = str(tmp_path / f"scratch{scheduler.pid}")
        options = ["--nthreads", "1", "--no-dashboard", "--death-timeout", "60", "--local-directory", scratch]
        return [scheduler, *(begun("distributed.cli.dask_worker", address, *options) for _ in range(2))]

    (tmp_path / "busy.py").write_text(BUSY)
    started = cluster()
    try:
        time.sleep(5)
        driver = start("--scheduler", address)
        driver.until(4)
        started[0].kill()
        code, errors = driver.ended()
        assert code == 4 and len(errors) == 1 and "the scheduler at tcp://127.0.0.1:8797 is gone" in errors[0]
        for process in started:
            process.kill()
            process.wait()
        started = cluster()
        time.sleep(5)
        assert start("--scheduler", address).ended() == (0, [])
        assert len(rows(tmp_path / "out")) == len({row["id"] for row in rows(tmp_path / "out")}) == 30
    finally:
        for process in started:
            process.kill()
