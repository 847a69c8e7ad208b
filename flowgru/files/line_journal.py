"""A journal: a file of JSON lines of what a run has done, by which the same command goes on after an interruption.

Lines are only ever added, so that what was killed while it wrote one lacks this line and no other.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from flowgru.errors import MachineError
from flowgru.files.atomic import open_to_append, write_file
from flowgru.files.json_text import parse_json
from flowgru.files.writer_lock import WriterLock


class LineJournal:
    """The journal at `path`, which one process at a time writes.

    lock: the file of its lock. max_bytes: larger ones are not read. beside: files that are taken away with it.
    """

    def __init__(self, path: Path, lock: Path, *, max_bytes: int, beside: Iterable[Path] = ()) -> None:
        self.path = path
        self._max_bytes, self._beside = max_bytes, tuple(beside)
        self._lock = WriterLock(lock)
        self._file: TextIO | None = None

    def read(self) -> list[dict[str, Any]]:
        """The whole lines that an earlier run has left."""
        lines: list[dict[str, Any]] = []
        for text in own_text(self.path, self._max_bytes).split("\n")[:-1]:
            try:
                line = parse_json(text)
            except ValueError:
                break
            if not isinstance(line, dict):
                break
            lines.append(line)
        return lines

    def take(self) -> None:
        """Takes the folder for this process. MachineError where another process writes there, or the disk refuses."""
        with self._refusals():
            self._lock.acquire()

    def begin(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Writes the first lines, in place of those that are there. MachineError where the disk refuses."""
        with self._refusals():
            write_file(self.path, "".join(map(_text_of, lines)), overwrite=True)
            self._file = open_to_append(self.path)

    def add(self, line: Mapping[str, Any]) -> None:
        """Adds a line. MachineError where the disk refuses."""
        assert self._file is not None
        with self._refusals():
            self._file.write(_text_of(line))
            self._file.flush()

    def close(self, *, keep: bool) -> None:
        """Gives the folder back. `keep` the journal for the next run of the same command, or take it away."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
            if not keep:
                with contextlib.suppress(OSError):
                    for path in (self.path, *self._beside):
                        path.unlink(missing_ok=True)
        if self._lock.held:
            with contextlib.suppress(OSError):
                self._lock.path.unlink(missing_ok=True)
            self._lock.release()

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """An OSError inside is a MachineError outside."""
        try:
            yield
        except OSError as error:
            raise MachineError(f"cannot write {self.path}: {error.strerror or error}") from None


def own_text(path: Path, max_bytes: int) -> str:
    """The text of a file that a run has written; nothing of a link, or of what is too large or unreadable: it is not ours.

    path: of the file. max_bytes: what is larger is too large.
    """
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > max_bytes:
            return ""
        return path.read_text("utf-8")
    except (OSError, ValueError):
        return ""


def _text_of(line: Mapping[str, Any]) -> str:
    return json.dumps(line) + "\n"
