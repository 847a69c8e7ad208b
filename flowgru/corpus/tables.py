"""The tables of a corpus: what their rows say, appended row by row, and read back whatever has interrupted the writer."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from flowgru.errors import MachineError, RequestError
from flowgru.files.atomic import atomic_write, descriptor_to_append

MANIFEST, SCORES, INDEX = "manifest.csv", "scores.csv", "shards.csv"

WRITTEN = ("done", "damaged")
"""The status of clips of which something is written."""


class ManifestRow(NamedTuple):
    """What became of one clip."""

    id: str
    status: str
    """done; damaged (what could be read of it is written); failed (nothing is written)."""
    reason: str
    """Why it is not done, in one line."""
    settings: str
    """A digest of the run's settings and the numbers of the clip's frames; behind a dot, one of its initial flows from
    files, where they are; behind another, size and time of the clip itself."""
    digest: str
    """SHA-256 over the names and contents of all that is written of the clip."""
    seconds: float
    """What it took to read the clip, compute and write."""
    frames: int
    """Frames that were used."""
    flows: int
    files: int
    bytes: int
    """Number and size of the clip's files; those in shards stand in shards.csv."""
    notes: str
    """Warnings about the clip."""
    path: str
    """Where the clip was read, from the root of the file system on."""


class ShardRow(NamedTuple):
    """Where a clip lies in a shard."""

    id: str
    shard: str
    offset: int
    bytes: int


SCORE_COLUMNS = (
    *("id", "width", "height", "frames", "seconds", "length_mean", "length_p50", "length_p90", "length_p99"),
    *("still", "camera", "object", "cuts", "flicker", "damage"),
)


class GrowingTable:
    """A CSV file that rows are appended to, each one whole line.

    MachineError where the disk refuses; the file then ends with the last row that was whole.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, columns
        if not path.exists():
            write_table(path, columns, [])
        self._file = os.fdopen(descriptor_to_append(path), "ab", buffering=0)

    def add(self, row: Mapping[str, object]) -> None:
        """Appends a row, which the system has, if not the disk, when this returns."""
        self.add_all([row])

    def add_all(self, rows: Sequence[Mapping[str, object]], *, durable: bool = False) -> None:
        """Appends rows; `durable` ones outlive a power cut."""
        data = _lines([[row[name] for name in self.columns] for row in rows])
        before = self._file.seek(0, os.SEEK_END)
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:])
            if durable:
                os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(before)
            raise MachineError(f"cannot write {self.path}: {error.strerror or error}") from error

    def flush(self) -> None:
        """Lets all rows so far outlive a power cut."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise MachineError(f"cannot write {self.path}: {error.strerror or error}") from error

    def close(self) -> None:
        self._file.close()


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a whole table in place of what is there."""
    with atomic_write(path, overwrite=True, durable=True) as temporary:
        temporary.write_bytes(_lines([columns, *rows]))


def read_table(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """The rows of a table; half a last line, which a killed writer has left, is passed over.

    RequestError where it has other columns, or a line that is no row.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1].decode("utf-8", "surrogateescape")
    try:
        lines = list(csv.reader(io.StringIO(whole, newline="")))
    except csv.Error as error:
        raise RequestError(f"{path} is damaged ({error}): repair it, or name another --output") from None
    if not lines:
        return []
    if lines[0] != list(columns):
        raise RequestError(
            f"{path} has the columns {','.join(lines[0])[:200]!r}: this flowgru writes {','.join(columns)!r}; name another "
            "--output"
        )
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(columns):
            raise RequestError(
                f"{path}, row {number} has {len(line)} fields, expected {len(columns)}: repair or remove it"
            )
    return lines[1:]


def manifest_row(line: Sequence[str], path: Path) -> ManifestRow:
    """A line of the manifest at `path` with its numbers. RequestError where they are none."""
    values: dict[str, Any] = dict(zip(ManifestRow._fields, line, strict=True))
    with suppress(ValueError):
        for name in ("frames", "flows", "files", "bytes"):
            values[name] = int(values[name])
        return ManifestRow(**{**values, "seconds": float(values["seconds"])})
    raise RequestError(f"{path}: the row of {line[0]!r} has no numbers where they belong: repair or remove it")


def _lines(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
