"""A chart of several lines over numbers or over names, as SVG text."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, StrMethodFormatter

from flowgru.console import printable
from flowgru.view.report.charts import LOG_SPAN, legend_label, scale_upright, styles, svg_of

MARKED = 15
"""A line of no more points has a mark at each."""


class NamedLine(NamedTuple):
    """A line; NaN is a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def line_chart(lines: Sequence[NamedLine], x_label: str, y_label: str, ticks: Sequence[str] = ()) -> str:
    """All lines in one panel; with `ticks` these names stand at 0, 1, 2, ..., and the points are not joined.

    An axis whose numbers differ by more than LOG_SPAN is logarithmic, unless the upright one has shares, of which 0 is one.
    The legend stands beside the panel where there are several lines.
    """

    def draw() -> Figure:
        figure = Figure(figsize=(11.4, 3.8), layout="constrained")
        axes = figure.subplots()
        looks = styles([line.name for line in lines])
        for number, line in enumerate(lines):
            look = dict(looks[line.name])
            if ticks:
                shift = 0.5 * ((number + 0.5) / len(lines) - 0.5)
                marks = {"marker": look["marker"], "linestyle": "", "color": look["color"]}
                axes.plot(
                    [x + shift for x in line.x], line.y, label=legend_label(printable(line.name)), markersize=6, **marks
                )
                continue
            known = sum(map(math.isfinite, line.y))
            if known > MARKED:
                look["marker"] = ""
            axes.plot(line.x, line.y, label=legend_label(printable(line.name)), linewidth=1.6, markersize=4.5, **look)
        if not y_label.endswith("[%]"):
            scale_upright(axes, [value for line in lines for value in line.y])
        _scale_along(axes, lines, ticks)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if len(lines) > 1:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=3, labelspacing=0.6)
        return figure

    return svg_of(draw)


def _scale_along(axes: Axes, lines: Sequence[NamedLine], ticks: Sequence[str]) -> None:
    """Names, or a logarithmic axis where a linear one would press most numbers to its left."""
    if ticks:
        axes.xaxis.set_major_locator(FixedLocator(list(range(len(ticks)))))
        long = len("".join(ticks)) > 60
        axes.set_xticklabels([*map(printable, ticks)], rotation=30 if long else 0, ha="right" if long else "center")
        axes.set_xlim(-0.6, len(ticks) - 0.4)
        return
    positive = [x for line in lines for x in line.x if x > 0]
    if positive and max(positive) > LOG_SPAN**2 * min(positive):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
