"""Tar files for webdataset: parts of one clip each, shards that are made of parts, and their reader.

A sample is one flow: ID/000001.npz, as the kind half writes it, and ID/000001.json, which says the clip, the name and the
time of the first frame, and whether damaged data went in. webdataset takes ID/000001 for its key.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float
from numpy import ndarray

from flowgru.corpus.staging import PART
from flowgru.corpus.tables import ShardRow
from flowgru.data.formats.flow_arrays import read_npz_arrays
from flowgru.data.formats.flow_files import half_flow_bytes
from flowgru.data.formats.flow_formats import FlowFile, cleaned, known_where
from flowgru.data.video.reader import Frame
from flowgru.errors import InputFileError, RequestError, one_line
from flowgru.files.bounded import MAX_FILE_BYTES
from flowgru.files.json_text import parse_json

SUFFIX = ".tar"

END = bytes(1024)
"""Two empty blocks end a tar file; a part has none, so that parts one after the other are a tar file."""

MAX_JSON_BYTES = 2**16


def shard_name(number: int) -> str:
    """The name of a shard's file."""
    return f"shard-{number:06d}{SUFFIX}"


def shard_number(name: str) -> int | None:
    """The number in such a name; None where it is none."""
    found = re.fullmatch(rf"shard-(\d{{6,18}}){re.escape(SUFFIX)}", name)
    return None if found is None else int(found[1])


class ShardPart:
    """Writes the samples of one clip into the file part.tar of a folder."""

    def __init__(self, folder: Path, clip: str) -> None:
        self.path, self.clip = folder / PART, clip
        self._tar = tarfile.open(self.path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 (closed by close)

    def add(self, number: int, first: Frame, flow: Float[ndarray, "H W 2"], /) -> None:
        facts = {"clip": self.clip, "frame": first.name, "time": first.time, "damaged": first.damaged}
        self._add(f"{number:06d}.npz", half_flow_bytes(flow))
        self._add(f"{number:06d}.json", json.dumps(facts).encode())

    def close(self) -> None:
        """Ends the part, without a tar file's own end."""
        end = self._tar.offset
        self._tar.close()
        with self.path.open("r+b") as file:
            file.truncate(end)

    def _add(self, name: str, data: bytes) -> None:
        entry = tarfile.TarInfo(f"{self.clip}/{name}")
        entry.size = len(data)
        self._tar.addfile(entry, io.BytesIO(data))
        _forget_members(self._tar)


def _forget_members(tar: tarfile.TarFile) -> None:
    """Frees the headers of what has been read or written, which tarfile keeps: a clip may be of any length."""
    kept: list[tarfile.TarInfo] = vars(tar)["members"]
    kept.clear()


def join_parts(parts: Sequence[tuple[str, Path]], shard: str, path: Path) -> list[ShardRow]:
    """Writes the parts of clips, by their ids, one after the other, as the tar file `path`; gives their rows."""
    rows = []
    with path.open("xb") as joined:
        for clip, part in parts:
            began = joined.tell()
            with part.open("rb") as file:
                while data := file.read(2**20):
                    joined.write(data)
            rows.append(ShardRow(clip, shard, began, joined.tell() - began))
        joined.write(END)
    return rows


class ShardFlow(NamedTuple):
    """One flow of a shard."""

    clip: str
    number: int
    """Of the pair in its clip, from 1."""
    frame: str
    """Name of the pair's first frame."""
    time: float | None
    """Seconds; None for pictures."""
    damaged: bool
    flow: FlowFile
    """As read_flow gives it."""


def read_shard(path: str | Path) -> Iterator[ShardFlow]:
    """The flows of a shard in order, in constant memory. InputFileError where it is missing or damaged."""
    path = Path(path)
    try:
        with tarfile.open(path, "r|") as tar:
            entries = iter(tar)
            for entry in entries:
                stored = _content(tar, entry, ".npz", path)
                facts = _content(tar, next(entries, None), ".json", path)
                _forget_members(tar)
                yield _shard_flow(entry.name, stored, parse_json(facts))
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputFileError):
            raise
        raise InputFileError(f"{path} is no shard of flowgru corpus, or damaged: {one_line(error)}") from error


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo | None, suffix: str, path: Path) -> bytes:
    if entry is None or not entry.isreg() or not entry.name.endswith(suffix):
        found = "its end" if entry is None else repr(entry.name)
        raise InputFileError(
            f"{path} has {found} where a flow's {suffix} was expected: it is no shard of flowgru corpus"
        )
    most = MAX_JSON_BYTES if suffix == ".json" else MAX_FILE_BYTES
    if entry.size > most or entry.issparse():  # a sparse file unfolds to any size
        kind = "a sparse file" if entry.issparse() else f"{entry.size} bytes"
        raise InputFileError(f"{path}: {entry.name} claims to be {kind}, expected a plain file of at most {most} bytes")
    file = tar.extractfile(entry)
    assert file is not None
    return file.read()


def _shard_flow(name: str, stored: bytes, facts: dict) -> ShardFlow:
    number = re.fullmatch(r".*/(\d+)\.npz", name)
    if number is None:
        raise InputFileError(f"{name!r} is no name of a flow: expected one such as clip/000001.npz")
    flow, valid = read_npz_arrays(Path(name), stored)
    known = cleaned(flow) if valid is None else known_where(cleaned(flow), valid)
    return ShardFlow(facts["clip"], int(number[1]), facts["frame"], facts["time"], facts["damaged"], known)


def shard_row(line: Sequence[str], path: Path) -> ShardRow:
    """A line of the index at `path`. RequestError where it names no shard, or no place in it."""
    clip, shard, at, size = line
    with suppress(ValueError):
        if shard_number(shard) is not None:
            return ShardRow(clip, shard, int(at), int(size))
    raise RequestError(f"{path}: the row of {clip!r} names no shard, or no place in it: repair it")
