"""What a long sweep has measured so far, in a file, so that the same command goes on after an interruption.

    {"request": {...}}                                                  the first line: what was asked for
    {"data": "kitti2015", "index": 3, "kind": "fog", "row": {...}}      one measurement

Lines are only ever added, so that what was killed while it wrote one lacks this line and no other. The file is gone once the
results are written.
"""

import contextlib
import json
import math
from pathlib import Path
from typing import Any, TextIO

from flowgru.errors import MachineError, RequestError
from flowgru.files.atomic import open_to_append, write_file
from flowgru.files.json_text import parse_json
from flowgru.files.writer_lock import WriterLock

JOURNAL = "corruptions.jsonl"
LOCK = "corruptions.lock"
MAX_BYTES = 2**30
"""A journal of a million measurements has less."""


class Sweep:
    """The measurements of one sweep; with a folder they are kept there while it runs."""

    def __init__(
        self, folder: Path | None = None, request: dict[str, Any] | None = None, *, overwrite: bool = False
    ) -> None:
        """RequestError where an earlier sweep in the folder was asked for something else, unless it may be overwritten.

        MachineError where another process writes there, or the disk refuses.
        """
        self._rows: dict[tuple[str, int, str], dict[str, Any]] = {}
        self._file: TextIO | None = None
        self._lock: WriterLock | None = None
        if folder is None:
            return
        self._path = folder / JOURNAL
        self._request = parse_json(json.dumps(request))
        self._lock = WriterLock(folder / LOCK)
        try:
            self._lock.acquire()
            self._read(overwrite)
            lines = [{"request": self._request}, *map(_line, self._rows, self._rows.values())]
            write_file(self._path, "".join(json.dumps(line) + "\n" for line in lines), overwrite=True)
            self._file = open_to_append(self._path)
        except OSError as error:
            self.close(keep=True)
            raise MachineError(f"cannot write {self._path}: {error.strerror or error}") from None
        except BaseException:
            self.close(keep=True)
            raise
        self.num_known = len(self._rows)

    num_known = 0
    """How many measurements an earlier run has left."""

    def find(self, data: str, index: int, kind: str) -> dict[str, Any] | None:
        """A measurement, if it is made."""
        return self._rows.get((data, index, kind))

    def add(self, data: str, index: int, kind: str, row: dict[str, Any]) -> None:
        """Keeps a measurement."""
        key = data, index, kind
        self._rows[key] = row
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(_line(key, row)) + "\n")
            self._file.flush()
        except OSError as error:
            raise MachineError(f"cannot write {self._path}: {error.strerror or error}") from None

    def close(self, *, keep: bool) -> None:
        """Gives the folder back. `keep` the file for the next run of the same command, or take it away."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
            if not keep:
                with contextlib.suppress(OSError):
                    self._path.unlink(missing_ok=True)
        if self._lock is not None and self._lock.held:
            with contextlib.suppress(OSError):
                self._lock.path.unlink(missing_ok=True)
            self._lock.release()

    def _read(self, overwrite: bool) -> None:
        """Takes what an earlier run of the same request has left."""
        lines = _lines(self._path)
        old = lines[0].get("request") if lines else None
        if not isinstance(old, dict):
            return
        names = [name for name in {**old, **self._request} if old.get(name) != self._request.get(name)]
        if names:
            if overwrite:
                return
            raise RequestError(
                f"{self._path} is of an interrupted sweep with another {' and another '.join(names)}: give the same command "
                "again to go on with it, or --overwrite, or another --output"
            )
        for line in lines[1:]:
            row, index = line.get("row"), line.get("index")
            if isinstance(row, dict) and isinstance(index, int):
                known = {name: _number(value) for name, value in row.items()}
                self._rows[str(line.get("data")), index, str(line.get("kind"))] = known


def _line(key: tuple[str, int, str], row: dict[str, Any]) -> dict[str, Any]:
    data, index, kind = key
    kept = {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
    return {"data": data, "index": index, "kind": kind, "row": kept}


def _number(value: Any) -> Any:
    return float(value) if value in ("nan", "inf", "-inf") else value


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of the file; none where it is a link or cannot be read, for then it is not ours."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:
            return []
        texts = path.read_text("utf-8").split("\n")[:-1]
    except (OSError, ValueError):
        return []
    lines: list[dict[str, Any]] = []
    for text in texts:
        try:
            line = parse_json(text)
        except ValueError:
            break
        if not isinstance(line, dict):
            break
        lines.append(line)
    return lines
