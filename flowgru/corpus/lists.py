"""Lists of clips: CSV with the columns id and path, and start and end if they are wanted, or JSONL with these names."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from flowgru.errors import InputFileError, RequestError, one_line
from flowgru.files.bounded import read_bytes
from flowgru.files.json_text import parse_json

LIST_SUFFIXES = (".csv", ".jsonl")

NEEDED = ("id", "path")


class Entry(NamedTuple):
    """One line of a list."""

    id: str
    path: str
    start: int | None
    end: int | None


def read_list(path: Path) -> list[Entry]:
    """The entries of a list; a relative path begins at the list's own folder.

    RequestError that names the line where a column is missing or a value is none; InputFileError where there is no text.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputFileError(f"{path} is no text in UTF-8: {one_line(error)}") from error
    lines = _of_csv(path, text) if path.suffix.lower() == ".csv" else _of_jsonl(path, text)
    return [_entry(f"{path}, line {number}", path.parent, line) for number, line in lines]


def _of_csv(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [name or "" for name in reader.fieldnames or []]
        if missing := [name for name in NEEDED if name not in columns]:
            raise RequestError(
                f"{path} has no column {missing[0]!r}: its first line must name id and path, and may name start and end; it "
                f"is {repr(','.join(columns)[:100]) if columns else 'empty'}"
            )
        for line in reader:
            if None in line:
                raise RequestError(
                    f"{path}, line {reader.line_num} has {len(columns) + len(line[None])} fields, expected {len(columns)}: "
                    "put quotes around a value that holds a comma"
                )
            yield reader.line_num, line
    except csv.Error as error:
        raise RequestError(f"{path}, line {reader.line_num}: {one_line(error)}") from None


def _of_jsonl(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines would also split inside of strings
        if not line.strip():
            continue
        try:
            found = parse_json(line)
        except ValueError as error:
            raise RequestError(f"{path}, line {number} is no JSON: {one_line(error)}") from None
        if not isinstance(found, dict):
            raise RequestError(f'{path}, line {number}: expected a mapping such as {{"id": "a", "path": "a.mp4"}}')
        yield number, found


def _entry(place: str, folder: Path, line: dict[str, Any]) -> Entry:
    for name in NEEDED:
        if not isinstance(line.get(name), str) or not line[name].strip():
            raise RequestError(f"{place} has no {name!r}: expected an id and the path of a clip")
    start, end = (_frame_number(place, name, line.get(name)) for name in ("start", "end"))
    if end is not None and end <= (start or 1):
        raise RequestError(f"{place}: start is {start or 1} and end {end}: at least 2 frames are needed")
    return Entry(line["id"], str(folder / line["path"]), start, end)


def _frame_number(place: str, name: str, value: object) -> int | None:
    """A frame's number, from 1; None where there is none."""
    if value is None or value == "":
        return None
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdecimal() or len(text) > 9 or not int(text):
        raise RequestError(f"{place}: {name} is {value!r}: expected the number of a frame, from 1")
    return int(text)
