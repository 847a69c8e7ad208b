"""Pairs of one's own, listed in a CSV file.

    first,second,flow,valid,invalid,set,name
    clip/0001.png,clip/0002.png,clip/0001.flo,,,clip,start

Paths are relative to the file. `valid` (a picture, black where the flow is not known), `invalid` (a picture, white where the
flow is not to be judged), `set` (what a report groups the pair under) and `name` may be left out, as columns or as cells.
Other columns are kept as they are, for the report of every pair.
"""

import csv
import io
import os
import warnings
from pathlib import Path

from flowgru.data.sets.layouts.pairing import Listing, PairFiles
from flowgru.errors import InputFileError, did_you_mean, nearest, one_line
from flowgru.files.bounded import read_bytes

REQUIRED = ("first", "second", "flow")
MASKS = ("valid", "invalid")
COLUMNS = (*REQUIRED, *MASKS, "set", "name")


def list_manifest(path: Path) -> Listing:
    """The pairs of a manifest, in its order; the files that are not there are named with their row.

    InputFileError where the text is no such table. The header is row 1.
    """
    pairs, missing, rows, files_of = [], [], {}, dict[int, dict[str, Path]]()
    table = _rows(path)
    for row, cells in table:
        for column in REQUIRED:
            if not cells[column]:
                raise InputFileError(f"{path} row {row} has no {column}: expected {', '.join(REQUIRED)} in every row")
        files_of[row] = {c: _file(path, row, c, cells[c]) for c in (*REQUIRED, *MASKS) if cells[c]}
    folder = _common_folder([cells["flow"] for _, cells in table])
    for row, cells in table:
        name = cells["name"] or Path(os.path.relpath(cells["flow"], folder)).with_suffix("").as_posix()
        if name in rows:
            raise InputFileError(f"{path} rows {rows[name]} and {row} are both called {name!r}: give each its own name")
        rows[name] = row
        files = files_of[row]
        absent = [f"{cells[column]} (row {row})" for column, file in files.items() if not file.is_file()]
        missing += absent
        if not absent:
            first, second, flow = (files[column] for column in REQUIRED)
            invalid, valid = files.get("invalid"), files.get("valid")
            others = tuple((column, cell) for column, cell in cells.items() if column not in COLUMNS)
            pair = PairFiles(name, first, second, flow, invalid, valid=valid, set=cells["set"], others=others)
            pairs.append(pair)
    return Listing(pairs, missing, lone=[])


def _file(path: Path, row: int, column: str, cell: str) -> Path:
    """The file that a cell names. InputFileError, with the row, where it can name none."""
    file = path.parent / cell
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):  # it is named as missing
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise InputFileError(f"{path} row {row}: {column} {cell[:80]!r} can be no file ({reason})") from None
    if not Path(cell).name:
        raise InputFileError(f"{path} row {row}: {column} {cell!r} is a folder: expected a file")
    return file


def _common_folder(flows: list[str]) -> str:
    """Where names of pairs begin: at the manifest, or, where flows lie outside of its folder, at their common folder."""
    if not any(os.path.isabs(flow) or ".." in Path(flow).parts for flow in flows):
        return ""
    try:
        return os.path.commonpath([os.path.dirname(os.path.normpath(flow)) for flow in flows])
    except ValueError:  # some are absolute and some are not
        return ""


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The number and the cells of every row but the header, with an empty cell for a column that is left out."""
    try:
        table = list(csv.reader(io.StringIO(read_bytes(path).decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputFileError(f"{path} is no CSV in UTF-8 ({error}): export it as comma-separated UTF-8 text") from error
    header = [cell.strip() for cell in table[0]] if table else []
    while (
        header and not header[-1] and not any(cell.strip() for cells in table[1:] for cell in cells[len(header) - 1 :])
    ):
        header.pop()  # a spreadsheet writes columns that were used once
    unknown = [column for column in header if column not in COLUMNS]
    if lacking := [column for column in REQUIRED if column not in header]:
        hints = [f"did you mean {lacking[0]!r} by {column!r}? " for column in unknown if nearest(column, lacking)]
        raise InputFileError(
            f"{path} row 1 has no column {lacking[0]!r}: {''.join(hints[:1])}expected a header like {','.join(COLUMNS)}, "
            f"found {','.join(header)[:100] or 'nothing'}"
        )
    if len(set(header)) < len(header):
        raise InputFileError(f"{path} row 1 has a column twice: {','.join(header)}")
    if unknown:
        hints = {column: did_you_mean(column, COLUMNS).strip() for column in unknown}
        shown = ", ".join(column + f" ({hint})" * bool(hint) for column, hint in hints.items())
        warnings.warn(f"{path} has columns that say nothing to flowgru: {shown}", stacklevel=3)
    rows = []
    for number, cells in enumerate(table[1:], start=2):
        if not any(map(str.strip, cells)):  # an empty line
            continue
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if len(cells) != len(header):
            raise InputFileError(f"{path} row {number} has {len(cells)} cells and the header {len(header)}")
        rows.append((number, dict.fromkeys(COLUMNS, "") | dict(zip(header, map(str.strip, cells), strict=True))))
    return rows
