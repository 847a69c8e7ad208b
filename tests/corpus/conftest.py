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
def inline(monkeypatch: pytest.MonkeyPatch, no_power_cut: None) -> InlineEngine:
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
