"""What the tests of `flowgru corpus` share. Nothing of flowgru is imported above: the type checks begin after this file."""

import os
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class InlineEngine:
    """Does each job in this process, in order; `ended` gives what became of a job instead, where it is set."""

    num_threads, description = 1, "this process"

    def __init__(self) -> None:
        self.again: deque[Any] = deque()
        self.instead: Callable[[Any], Any] | None = None

    def run(self, jobs: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        for job in jobs:
            yield job, self._result(job)
            while self.again:
                job = self.again.popleft()
                yield job, self._result(job)

    def submit(self, job: Any) -> None:
        self.again.append(job)

    def _result(self, job: Any) -> Any:
        result = None if self.instead is None else self.instead(job)
        return job.function(job.argument) if result is None else result


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> InlineEngine:
    """The driver does all work in this process, without dask."""
    engine = InlineEngine()

    @contextmanager
    def opened(_settings: object) -> Iterator[InlineEngine]:
        yield engine

    monkeypatch.setattr("flowgru.corpus.driver.opened_engine", opened)
    return engine


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder of three whole clips, two of equal content, and two that are none."""
    from media import moving_frames, write_clip

    folder = tmp_path / "videos"
    (folder / "walk").mkdir(parents=True)
    for name in ("a", "walk/b"):
        write_clip(folder / f"{name}.mp4", moving_frames(4, 48, 64))
    write_clip(folder / "walk/c.mkv", moving_frames(3, 48, 80))
    (folder / "broken.mp4").write_bytes((folder / "a.mp4").read_bytes()[:600])
    (folder / "text.avi").write_text("no video")
    return folder


@pytest.fixture
def corpus(inline: InlineEngine, model: str, tmp_path: Path) -> Callable[..., int]:
    """Runs the command in this process with a small model, and returns its exit code."""
    from flowgru.cli import main

    def run(*words: object) -> int:
        given = [str(word) for word in words]
        options = {"--output": str(tmp_path / "out"), "--model": model, "--iterations": "1", "--device": "cpu"}
        missing = [part for option in options.items() if option[0] not in given for part in option]
        return main(["corpus", *given, *missing])

    return run


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of five clips that give their flows without a network: each its number everywhere; one cannot be read."""
    lines = ["id,path"]
    for number in range(5):
        path = tmp_path / "clips" / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("broken" if number == 3 else str(number))
        lines.append(f"c{number % 2}/{number},{path}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    deciding = "flowgru.corpus.driver.deciding_settings"
    monkeypatch.setattr(deciding, lambda settings: {"write": sorted(settings.write), "seed": 1})
    monkeypatch.setattr("flowgru.corpus.work._matched_and_written", _quick)
    return tmp_path / "list.csv"


def _quick(task: Any, staged: Any) -> Any:
    """As the real work, with one flow for each clip, as half and as a part of a shard."""
    import hashlib

    import numpy as np

    from flowgru.corpus.kinds import open_writer
    from flowgru.corpus.staging import add_files, final_place, measured
    from flowgru.corpus.tables import SCORE_COLUMNS
    from flowgru.corpus.tasks import Outcome
    from flowgru.data.video.reader import Frame
    from flowgru.errors import InputFileError

    text = Path(task.clip.path).read_text()
    if text == "broken":
        raise InputFileError(f"{task.clip.path} is broken")
    digest = hashlib.sha256()
    for kind in ("half", "shards"):
        writer = open_writer(kind, staged.begin(kind), task.clip.id, task.settings)
        frame = Frame(np.zeros((2, 3, 3), np.uint8), "frame_000001", 0.0, 0, False)
        writer.add(1, frame, np.full((2, 3, 2), float(text), np.float32))
        writer.close()
        add_files(digest, staged.folder / kind)
    size, part = (measured(staged.folder / kind).bytes for kind in ("half", "shards"))
    for kind in ("half", "shards"):
        staged.move(kind, final_place(staged.root, kind, task.clip.id))
    score = {**dict.fromkeys(SCORE_COLUMNS, text), "id": task.clip.id}
    return Outcome("done", digest=digest.hexdigest(), flows=1, files=1, bytes=size, score=score, part_bytes=part)


@pytest.fixture
def killed() -> Callable[[Callable[[], object], int], bool]:
    """Runs a function in a process that ends, as by kill -9, at its n-th touch of the disk; False where it ends before."""

    def run(function: Callable[[], object], number: int) -> bool:
        child = os.fork()
        if child:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert code in (0, 9)
            return code == 9
        code = 1  # a failure of its own
        try:
            _die_at(number)
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    return run


def _die_at(number: int) -> None:
    """Lets this process end at its n-th rename, removal, new folder, or write to a table, which is half done."""
    import shutil

    from flowgru.corpus import tables

    count = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def touch(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count >= number:
                os._exit(9)
            return real(*arguments, **options)

        return touch

    for module, name in ((os, "replace"), (os, "unlink"), (os, "rmdir"), (os, "mkdir"), (shutil, "rmtree")):
        setattr(module, name, counted(getattr(module, name)))
    whole = tables._lines

    def half(rows: Any) -> bytes:
        nonlocal count
        count += 1
        data = whole(rows)
        return data[: len(data) // 2] if count == number else data

    tables._lines = half  # the next touch is the end
