"""The points that are followed: from a CSV file, from a caller, or on a grid."""

import csv
import io
import math
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.config.estimation import LARGEST_GRID
from flowgru.config.require import require
from flowgru.errors import InputFileError, RequestError, counted, one_line, size_text
from flowgru.files.bounded import read_bytes
from flowgru.grid import in_picture
from flowgru.kinds import described, numbers_of, whole_number

MAX_POINTS = 1_000_000
"""Of one file."""


class NamedPoints(NamedTuple):
    """Points of the first frame of a clip."""

    names: list[str]
    places: list[str]
    """Where each was given, for errors: the file and its line."""
    positions: Float[Tensor, "P 2"]
    """x to the right and y down, in pixels; (0, 0) is the centre of the top left pixel."""

    def require_inside(self, height: int, width: int) -> None:
        """InputFileError that names the first point outside a picture of this size."""
        number, text = _first_outside(self.positions, height, width)
        if number is not None:
            raise InputFileError(f"{self.places[number]}: the point {text}")


def read_points(path: str | Path) -> NamedPoints:
    """The points of a CSV file with the columns x and y, and point for their names if these are not 1, 2, 3 and so on.

    InputFileError that names the line where a column is missing or a value is no number, and where there is no point.
    """
    path = Path(path)
    try:
        text = read_bytes(path).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = [(name or "").strip() for name in reader.fieldnames or []]
        if missing := [name for name in ("x", "y") if name not in columns]:
            raise InputFileError(
                f"{path} has no column {missing[0]!r}: its first line must name x and y, and may name point; it is "
                f"{','.join(columns)[:100]!r}"
            )
        reader.fieldnames = columns
        names, places, positions = [], [], []
        for number, row in enumerate(reader, start=1):
            places.append(f"{path}, line {reader.line_num}")
            if any(row.get(None) or ()):
                raise InputFileError(
                    f"{places[-1]} has more than {counted(len(columns), 'value')}: write decimals with a point, and put "
                    "quotes around a name that holds a comma"
                )
            names.append(" ".join((row.get("point") or str(number)).split()))
            positions.append([_number(places[-1], axis, row[axis]) for axis in ("x", "y")])
            if number > MAX_POINTS:
                raise InputFileError(f"{path} has more than {MAX_POINTS} points: give fewer")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputFileError(f"{path} is no CSV file in UTF-8: {one_line(error)}") from None
    if not names:
        raise InputFileError(f"{path} has no point: expected a line with x and y for each")
    if len({*names}) < len(names):
        ((twice, _),) = Counter(names).most_common(1)
        raise InputFileError(f"{path} has the point {twice!r} twice: give each a name of its own")
    return NamedPoints(names, places, torch.tensor(positions))


def given_points(points: Any, height: int, width: int) -> Float[Tensor, "P 2"]:
    """The points that a caller gives for a first frame of this size: an array or tensor [P, 2] of x and y, or N for a grid.

    RequestError for anything else, and for a point outside the frame.
    """
    if isinstance(points, int):
        count = whole_number("points", points, 1)
        require(count <= LARGEST_GRID, "points", count, f"{LARGEST_GRID} or less, for as many rows of as many points")
        return grid_points(count, height, width)
    if isinstance(points, list | tuple):
        try:
            points = torch.tensor(points, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise RequestError("points is a list of something else than x and y: expected [[x, y], ...]") from None
    values, _ = numbers_of(points, "points", "an array or tensor [P, 2], a list of x and y, or a number for a grid")
    if values.dim() != 2 or values.shape[1] != 2 or not len(values) or values.dtype == torch.bool:
        raise RequestError(f"points is {described(points)}: expected [P, 2] with x and y of each point, one at least")
    positions = values.detach().cpu().float()
    number, text = _first_outside(positions, height, width)
    if number is not None:
        raise RequestError(f"points[{number}], {text}")
    return positions


def grid_points(count: int, height: int, width: int) -> Float[Tensor, "P 2"]:
    """`count` rows of as many points, evenly spaced over a picture, each in the middle of its cell; row by row."""
    x, y = ((torch.arange(count, dtype=torch.float32) + 0.5) * size / count - 0.5 for size in (width, height))
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    return torch.stack([x.repeat(count), y.repeat_interleave(count)], dim=1)


def _first_outside(positions: Float[Tensor, "P 2"], height: int, width: int) -> tuple[int | None, str]:
    """The number of the first point that is outside a picture, and what is wrong with it; None where all are inside."""
    outside = (~in_picture(positions[:, 0], positions[:, 1], height, width)).nonzero()
    if not len(outside):
        return None, ""
    number = int(outside[0])
    x, y = positions[number].tolist()
    return number, (
        f"({x:g}, {y:g}) is outside the first frame of {size_text((height, width))}: expected x from -0.5 to "
        f"{width - 0.5:g} and y from -0.5 to {height - 0.5:g}"
    )


def _number(place: str, axis: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputFileError(f"{place}: {axis} is {(text or '')[:40]!r}: expected a number, in pixels")
    return value
