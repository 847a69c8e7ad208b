"""What a measure gives: tables and curves under a title, from which the screen, the files and the page are made."""

import math
from collections.abc import Sequence
from typing import NamedTuple

Value = str | int | float | None
"""A cell: None where there is nothing to measure; infinite where an estimate was not finite."""


class Column(NamedTuple):
    """A column of a table."""

    name: str
    unit: str = ""

    @property
    def title(self) -> str:
        """Name and unit, as a reader sees them."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


class MeasuredTable(NamedTuple):
    """Rows of measurements."""

    name: str
    """Of its file, without .csv."""
    says: str
    """What the numbers are, in whole sentences."""
    columns: Sequence[Column]
    rows: Sequence[Sequence[Value]]
    shown: bool = True
    """Whether it is printed and on the page; long lists are for the file alone."""


class Curve(NamedTuple):
    """One line of a chart; NaN is a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


class Chart(NamedTuple):
    """Curves over one axis, or, where `ticks` are given, over places 0, 1, 2, ... with these names."""

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    ticks: Sequence[str] = ()


class Section(NamedTuple):
    """All that one measure says."""

    option: str
    """The option of `flowgru evaluate` that asks for it."""
    title: str
    tables: Sequence[MeasuredTable]
    charts: Sequence[Chart] = ()
    notes: Sequence[str] = ()
    """Whole sentences: what could not be measured and why, and warnings."""


def mean(values: Sequence[float]) -> float | None:
    """The mean of those that are no NaN; None without any. One that is infinite makes it so."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else None


def shown(value: Value) -> str:
    """A cell as a reader sees it: three significant digits; - where there is nothing, NaN where it was not finite."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "NaN"
    if isinstance(value, int):
        return f"{value:,}"
    decimals = 2 - math.floor(math.log10(abs(value))) if value else 2
    return f"{value:,.{min(max(0, decimals), 6)}f}"


def stored(value: Value) -> str | int | float:
    """A cell as a file holds it: empty where there is nothing, the text NaN where it was not finite."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return "NaN" if isinstance(value, float) and not math.isfinite(value) else value
