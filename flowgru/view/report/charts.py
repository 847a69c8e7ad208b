"""Charts as SVG text: curves in panels of their own, lines in one panel, and points with a front."""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator, StrMethodFormatter

INK = "#222222"
COLOURS = ("#0060a8", "#d1495b", "#1b7f4d", "#8a4fbf", "#c77700", "#00909e", "#5b4636")
"""Dark enough on white; dashes and markers tell apart what an eye does not by colour."""
DASHES = ((), (5, 2), (1.5, 1.5), (7, 2, 1.5, 2))
MARKERS = "osD^vPX"
TEXT: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same chart on every machine
    "font.size": 9.0,
    "text.parse_math": False,  # a name may hold dollars
    "axes.titlesize": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": "#e3e3e3",
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "flowgru",  # the same chart has the same bytes
}
CLEAR = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
"""A background on which a name can be read before lines."""
FEW_POINTS = 2
"""A curve of no more points is drawn with a mark at each."""
LOG_SPAN = 8
"""An axis is logarithmic where its values differ by more than this factor."""


class Line(NamedTuple):
    """What a chart shows of one row; NaN is a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    """Lower edge of the band around `y`."""
    high: Sequence[float]

    @property
    def is_seen(self) -> bool:
        """Whether there is anything of it to draw."""
        return any(map(math.isfinite, self.y))


def styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A look for each name that no other one has, up to 28: colours first, then dashes; markers too."""
    return {
        name: {
            "color": COLOURS[index % len(COLOURS)],
            "dashes": DASHES[index // len(COLOURS) % len(DASHES)],
            "marker": MARKERS[(index + index // len(COLOURS)) % len(MARKERS)],
        }
        for index, name in enumerate(names)
    }


def curve_panels(lines: Sequence[Line], looks: dict[str, dict[str, Any]], x_label: str, y_label: str) -> str:
    """One panel a line, with its band, before all the others in grey."""

    def draw() -> Figure:
        columns = min(5, len(lines))
        rows = math.ceil(len(lines) / columns)
        height = 0.8 + 1.75 * rows
        figure = Figure(figsize=(11.4, height))
        figure.subplots_adjust(0.055, 0.5 / height, 0.995, 1 - 0.3 / height, wspace=0.1, hspace=0.3)
        panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
        for panel, line in zip(panels, lines, strict=False):
            others = [list(zip(other.x, other.y, strict=True)) for other in lines]
            panel.add_collection(LineCollection(others, colors="#cccccc", linewidths=0.7))
            panel.fill_between(line.x, line.low, line.high, color=looks[line.name]["color"], alpha=0.25, linewidth=0)
            # Of a curve of one point nothing would be seen.
            marker = "o" if sum(map(math.isfinite, line.y)) <= FEW_POINTS else ""
            panel.plot(line.x, line.y, color=looks[line.name]["color"], linewidth=1.5, marker=marker, markersize=4)
            panel.set_title(line.name, loc="left", color=looks[line.name]["color"], fontweight="bold")
        for panel in panels[len(lines) :]:
            panel.remove()
        for panel in panels[max(0, len(lines) - columns) : len(lines)]:  # the lowest of each column
            panel.tick_params(labelbottom=True)
        scale_upright(figure.axes[0], [value for line in lines for value in (*line.low, *line.high)])
        figure.supxlabel(x_label, fontsize=9, y=0.05 / height)
        figure.supylabel(y_label, fontsize=9, x=0.003)
        return figure

    return svg_of(draw)


def legend_label(name: str) -> str:
    """A name for a legend, from which matplotlib leaves out what begins with an underscore."""
    return f" {name}" if name.startswith("_") else name


def iteration_lines(
    lines: Sequence[Line], looks: dict[str, dict[str, Any]], trained: int | None, x_label: str, y_label: str
) -> str:
    """All lines in one panel over numbers of refinements, with the trained number marked; the legend has their order at
    the right edge."""

    def draw() -> Figure:
        figure = Figure(figsize=(11.4, 4.6), layout="constrained")
        axes = figure.subplots()
        for line in sorted(lines, key=_last, reverse=True):
            look = looks[line.name]
            axes.plot(line.x, line.y, label=legend_label(line.name), linewidth=1.6, markersize=4.5, **look)
            errors = [[y - low for y, low in zip(line.y, line.low, strict=True)]]
            errors.append([high - y for y, high in zip(line.y, line.high, strict=True)])
            axes.errorbar(
                line.x, line.y, errors, fmt="none", ecolor=look["color"], elinewidth=0.8, capsize=2, alpha=0.6
            )
        numbers = sorted({x for line in lines for x in line.x})
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(numbers))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
        scale_upright(axes, [value for line in lines for value in line.y])
        if trained is not None:
            axes.axvline(trained, color=INK, linewidth=1, dashes=(2, 2))
            axes.annotate(
                f"trained with {trained}", (trained, 1), (4, -2), xycoords=("data", "axes fraction"),
                textcoords="offset points", va="top",
            )  # fmt: skip
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=4, labelspacing=0.6)
        return figure

    return svg_of(draw)


def front_chart(
    points: Sequence[Line], looks: dict[str, dict[str, Any]], front: Sequence[str], x_label: str, y_label: str
) -> str:
    """One point a row, its band as a vertical bar, and the front as a staircase whose rows are named at their points."""

    def draw() -> Figure:
        figure = Figure(figsize=(11.4, 4.6), layout="constrained")
        axes = figure.subplots()
        places = {}
        for name, (x,), (y,), (low,), (high,) in points:
            look = looks[name]
            face = look["color"] if name in front else "white"
            axes.errorbar(x, y, [[y - low], [high - y]], fmt="none", ecolor=look["color"], elinewidth=1, capsize=3)
            axes.plot(
                [x], [y], look["marker"], label=legend_label(name), color=look["color"], markerfacecolor=face, markersize=8,
                markeredgewidth=1.5, linestyle="",
            )  # fmt: skip
            places[name] = (x, y)
        corners = [places[name] for name in front]
        axes.step(*zip(*corners, strict=True), where="post", color=INK, linewidth=1, zorder=0)
        scale_upright(axes, [y for _, y in places.values()])
        for name in front:
            axes.annotate(
                name, places[name], (7, 7), textcoords="offset points", fontweight="bold", bbox=CLEAR, zorder=1
            )
        axes.margins(x=0.1, y=0.12)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), labelspacing=0.6)
        return figure

    return svg_of(draw)


def _last(line: Line) -> float:
    """Where a line ends; one that diverged ends above all others."""
    return line.y[-1] if math.isfinite(line.y[-1]) else math.inf


def scale_upright(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic upright axis where a linear one would press most values to its foot."""
    positive = [value for value in values if math.isfinite(value) and value > 0]
    if positive and max(positive) > LOG_SPAN * min(positive):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def svg_of(draw: Callable[[], Figure]) -> str:
    """The drawing as an SVG element, without a prologue that names a document type elsewhere."""
    buffer = io.StringIO()
    with matplotlib.rc_context(TEXT):
        draw().savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    return text[text.index("<svg") :]
