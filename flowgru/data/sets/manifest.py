"""Pairs of one's own, listed in a CSV file.

    first,second,flow,valid,set,name
    clip/0001.png,clip/0002.png,clip/0001.flo,,clip,start

Paths are relative to the file. `valid` (a picture, black where the flow is not known), `set` (what a report groups the
pair under) and `name` may be left out, as columns or as cells.
"""

import csv
import io
from pathlib import Path

from flowgru.data.sets.layouts.pairing import Listing, PairFiles
from flowgru.errors import InputFileError, did_you_mean
from flowgru.files.bounded import read_bytes

REQUIRED = ("first", "second", "flow")
COLUMNS = (*REQUIRED, "valid", "set", "name")


def list_manifest(path: Path) -> Listing:
    """The pairs of a manifest, in its order; the files that are not there are named with their row.

    InputFileError where the text is no such table. The header is row 1.
    """
    pairs, missing, rows = [], [], {}
    for row, cells in _rows(path):
        for column in REQUIRED:
            if not cells[column]:
                raise InputFileError(f"{path} row {row} has no {column}: expected {', '.join(REQUIRED)} in every row")
        name = cells["name"] or str(Path(cells["flow"]).with_suffix(""))
        if name in rows:
            raise InputFileError(f"{path} rows {rows[name]} and {row} are both called {name!r}: give each its own name")
        rows[name] = row
        files = {column: path.parent / cells[column] for column in (*REQUIRED, "valid") if cells[column]}
        absent = [f"{cells[column]} (row {row})" for column, file in files.items() if not file.is_file()]
        missing += absent
        if not absent:
            first, second, flow = (files[column] for column in REQUIRED)
            pairs.append(PairFiles(name, first, second, flow, valid=files.get("valid"), set=cells["set"]))
    return Listing(pairs, missing, lone=[])


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The number and the cells of every row but the header, with an empty cell for a column that is left out."""
    try:
        table = list(csv.reader(io.StringIO(read_bytes(path).decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputFileError(f"{path} is no CSV in UTF-8 ({error}): export it as comma-separated UTF-8 text") from error
    header = [cell.strip() for cell in table[0]] if table else []
    for column in header:
        if column not in COLUMNS:
            hint = did_you_mean(column, COLUMNS)
            raise InputFileError(f"{path} row 1 has the column {column!r}: {hint}known are {','.join(COLUMNS)}")
    if lacking := [column for column in REQUIRED if column not in header]:
        raise InputFileError(f"{path} row 1 has no column {lacking[0]!r}: expected a header like {','.join(COLUMNS)}")
    if len(set(header)) < len(header):
        raise InputFileError(f"{path} row 1 has a column twice: {','.join(header)}")
    rows = []
    for number, cells in enumerate(table[1:], start=2):
        if not any(cells):  # an empty line
            continue
        if len(cells) != len(header):
            raise InputFileError(f"{path} row {number} has {len(cells)} cells and the header {len(header)}")
        rows.append((number, dict.fromkeys(COLUMNS, "") | dict(zip(header, map(str.strip, cells), strict=True))))
    return rows
