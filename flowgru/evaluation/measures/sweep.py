"""What a long sweep has measured so far, in a file, so that the same command goes on after an interruption.

    {"request": {...}}                                                  the first line: what was asked for
    {"data": "kitti2015", "index": 3, "kind": "fog", "row": {...}}      a pair under a corruption
    {"data": "generated scene", "index": 0, "kind": "the scene of 576x1024 at 288x512", "row": {...}}

A number that is not finite stands there as Python writes it, NaN or Infinity. The file is gone once the results are written.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from flowgru.console import warn
from flowgru.errors import RequestError, counted
from flowgru.files.json_text import parse_json
from flowgru.files.line_journal import LineJournal

JOURNAL = "sweep.jsonl"
LOCK = "sweep.lock"
MAX_BYTES = 2**30
"""A journal of a million measurements has less."""


class Sweep:
    """The measurements of one sweep; with a folder they are kept there while it runs."""

    def __init__(
        self,
        folder: Path | None = None,
        request: dict[str, Any] | None = None,
        kinds: Collection[str] = (),
        *,
        overwrite: bool = False,
    ) -> None:
        """`kinds` are those of the measurements that are asked for.

        RequestError where an earlier sweep in the folder was asked for something else, or has measured other kinds, which
        would be gone at the end, unless it may be overwritten. MachineError where another process writes there, or the disk
        refuses.
        """
        self._rows: dict[tuple[str, int, str], dict[str, Any]] = {}
        self._lines: LineJournal | None = None
        if folder is None:
            return
        self._request = parse_json(json.dumps(request))
        self._lines = LineJournal(folder / JOURNAL, folder / LOCK, max_bytes=MAX_BYTES)
        try:
            self._lines.take()
            self._read(self._lines, {*kinds}, overwrite)
            self._lines.begin([{"request": self._request}, *map(_line, self._rows, self._rows.values())])
        except BaseException:
            self._lines.close(keep=True)
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
        if self._lines is not None:
            self._lines.add(_line(key, row))

    def close(self, *, keep: bool) -> None:
        """Gives the folder back. `keep` the file for the next run of the same command, or take it away."""
        if self._lines is None:
            return
        if keep and self._rows:
            kept = counted(len(self._rows), "measurement")
            warn(f"{self._lines.path} keeps {kept}: the same command goes on with them")
        self._lines.close(keep=keep and bool(self._rows))

    def _read(self, journal: LineJournal, kinds: set[str], overwrite: bool) -> None:
        """Takes what an earlier run of the same request has left."""
        lines = journal.read()
        old = lines[0].get("request") if lines else None
        if not isinstance(old, dict):
            if not overwrite:
                _refuse_foreign(journal.path)
            return
        names = [name for name in {**old, **self._request} if old.get(name) != self._request.get(name)]
        if old.get("weights") is None:  # it was not noted of every model
            names = [name for name in names if name != "weights"]
        if names:
            if overwrite:
                return
            raise RequestError(
                f"{journal.path} is of an interrupted sweep whose {' and '.join(names)} were others: give the same "
                "command again to go on with it, or --overwrite, or another --output"
            )
        for line in lines[1:]:
            row, index = line.get("row"), line.get("index")
            if isinstance(row, dict) and isinstance(index, int):
                self._rows[str(line.get("data")), index, str(line.get("kind"))] = row
        others = dict.fromkeys(kind for *_, kind in self._rows if kind not in kinds)
        if others and not overwrite:
            raise RequestError(
                f"{journal.path} is of an interrupted sweep that has measured {', '.join(others)} too: give the same "
                "command again to go on with it, or --overwrite, or another --output"
            )


def _refuse_foreign(path: Path) -> None:
    """RequestError where there is something in a journal's place that no sweep has left."""
    if path.is_symlink() or path.is_dir() or (path.exists() and path.stat().st_size):
        raise RequestError(f"{path} is no journal of an interrupted sweep: give --overwrite or another --output")


def _line(key: tuple[str, int, str], row: dict[str, Any]) -> dict[str, Any]:
    data, index, kind = key
    return {"data": data, "index": index, "kind": kind, "row": row}
