"""What a report shows of one regime: its tables and charts."""

import math
from collections.abc import Iterator
from statistics import fmean
from typing import Any

from flowgru.comparison.record import RowRecord
from flowgru.comparison.report.numbers import RegimeNumbers
from flowgru.comparison.report.parts import equal_time_section, part_sections
from flowgru.comparison.report.text import NONE, count_text, estimate_text, joined, number_text
from flowgru.comparison.results import Results
from flowgru.comparison.statistics import Estimate, pareto_front
from flowgru.view.report.charts import Line, curve_panels, front_chart, iteration_lines
from flowgru.view.report.html import Cell, details, element, figure, table

SETS_A_TABLE = 7
"""Data sets side by side in one table, so that it fits the page."""


class RegimeReport(RegimeNumbers):
    """A regime's part of the page; `looks` are the rows' styles in its charts."""

    def __init__(self, results: Results, regime: str, looks: dict[str, dict[str, Any]]) -> None:
        super().__init__(results, regime)
        self.looks = looks

    def section(self) -> Iterator[str]:
        """All that the page says of this regime."""
        yield element("h2", self.title[:1].upper() + self.title[1:])
        yield table(*self.main_table())
        yield self._sizes()
        if curves := self._training_curves():
            yield element("h3", "Training")
            yield curves
        yield from equal_time_section(self)
        for data_set in self.results.sets:
            parts = list(self._set_parts(data_set))
            yield from parts if data_set == self.main_set else [details(f"{data_set}: refinements, differences", parts)]
            if data_set == self.main_set:
                yield from self._time()
                yield from self._other_sets()

    def _sizes(self) -> str:
        noted = self.results.record.rows.get(self.regime, {})
        rows: list[list[Cell]] = []
        for row in self.rows:
            entry = noted.get(row, RowRecord())
            options = ", ".join(f"{name}={value}" for name, value in entry.options.items())
            operator, width = entry.operator or NONE, str(entry.hidden_size or NONE)
            steps = entry.steps or max((s for curve in self._curves(row).values() for s in curve), default=None)
            size = count_text(self._value(row, "operator_parameters"))
            rows.append(
                [row, (operator, "text"), (options, "text"), width, size, NONE if steps is None else f"{steps:,}"]
            )
        header = ["row", "operator", "options", "hidden size", "operator's parameters", "steps trained"]
        return details("What the rows are", [table("Operator, options and size of each row.", header, rows)])

    def _curves(self, row: str) -> dict[int, dict[int, float]]:
        return self.results.curve(self.regime, row, "training_epe_per_image")

    def _training_curves(self) -> str:
        lines = []
        for row in self.rows:
            curves = self._curves(row)
            steps = sorted({step for curve in curves.values() for step in curve})
            diverged = self.results.diverged(self.regime, row)
            values = [
                [
                    curves.get(seed, {}).get(step, math.nan)
                    for seed in sorted(curves.keys() | diverged)
                    if step in curves.get(seed, {}) or seed in diverged
                ]
                for step in steps
            ]
            values = [some if all(map(math.isfinite, some)) else [math.nan] for some in values]
            means, low, high = ([of(some) for some in values] for of in (fmean, min, max))
            if steps:
                lines.append(Line(row, list(map(float, steps)), means, low, high))
        if not any(line.is_seen for line in lines):
            return element(
                "p", "There is no training curve: no training has come to a line of its log with a finite error."
            )
        svg = curve_panels(lines, self.looks, "training step", "EPE per image on training pairs [px]")
        caption = "EPE per image on the training pairs, in front of that of the other rows in grey"
        if len(self.results.seeds) > 1:
            caption += ": mean over the seeds, and a band from the lowest to the highest seed"
        return figure(svg, f"Training curves of {len(lines)} rows", f"{caption}.")

    def _set_parts(self, data_set: str) -> Iterator[str]:
        """How the error changes with the refinements on a set, and how rows differ there."""
        numbers, trained = self.results.iterations(data_set=data_set), self.results.trained_iterations
        lines, rows = [], []
        for row in self.rows:
            estimates = [self.epe(row, data_set, number) for number in numbers]
            cells: list[Cell] = [(text.lines, "bad" if text.diverged else "") for text in map(estimate_text, estimates)]
            verdict = self.verdict(row, data_set)
            rows.append([row, *cells, (str(verdict), "bad" if verdict.is_bad else "")])
            if any(estimate is not None for estimate in estimates):
                lines.append(_line(row, list(map(float, numbers)), estimates))
        yield element("h3", f"More or fewer refinements: EPE per image on {data_set}")
        caption = "Bars: 95 % intervals. " if len(self.results.seeds) > 1 else ""
        caption += "A line ends where a seed diverged. The legend has the order of the lines' right ends."
        if any(line.is_seen for line in lines):
            svg = iteration_lines(lines, self.looks, trained, "refinements", f"EPE per image on {data_set} [px]")
            yield figure(svg, f"EPE per image on {data_set} after different numbers of refinements", caption)
        else:
            yield element("p", f"No row has a finite error on {data_set} yet.")
        marked = [f"{number} (trained)" if number == trained else str(number) for number in numbers]
        yield table(
            f"EPE per image on {data_set} [px] after so many refinements.", ["row", *marked, "beyond trained"], rows
        )
        yield element("h3", f"Differences between rows: EPE per image on {data_set}")
        differences = self._differences(data_set)
        yield element("p", differences.in_words())
        if differences.found:
            yield differences.matrix()
        yield from part_sections(self, data_set)

    def _time(self) -> Iterator[str]:
        yield element("h3", "Error and time")
        points = {row: point for row, point in self._points(self.headline).items() if math.isfinite(point[1])}
        if not points:
            yield element("p", "No row has both an error and a time for a pair yet.")
            return
        lines = [_line(row, [x], [self.epe(row, self.main_set, self.headline)]) for row, (x, _) in points.items()]
        axis = f"ms for a pair, {self.headline} refinements"
        svg = front_chart(lines, self.looks, self._front(), axis, f"EPE per image on {self.main_set} [px]")
        caption = (
            f"Filled and named: the Pareto front, {joined(self._front())}. It beats every other row that is shown."
        )
        if left_out := [row for row in self.rows if row not in points]:
            caption += f" Left out, because they diverged or are not measured: {joined(left_out)}."
        yield figure(svg, "EPE per image against time for a pair", caption)
        every = {
            (row, number): point
            for number in self.results.iterations("ms_per_pair")
            for row, point in self._points(number).items()
        }
        front = [list(every)[index] for index in pareto_front(list(every.values()))]
        rows: list[list[Cell]] = [
            [row, str(number), number_text(every[row, number][0]), str(self._epe_text(row, self.main_set, number))]
            for row, number in front
        ]
        title = f"The front over all numbers of refinements: the lowest EPE per image on {self.main_set} for the time."
        yield table(title, ["row", "refinements", "ms / pair", "EPE per image [px]"], rows)

    def _other_sets(self) -> Iterator[str]:
        """The error on every set side by side."""
        sets = self.results.sets
        if len(sets) < 2:
            return
        yield element("h3", "Every data set")
        for start in range(0, len(sets), SETS_A_TABLE):
            part = sets[start : start + SETS_A_TABLE]
            numbers = {data_set: self.results.headline_iterations(data_set) for data_set in part}
            best = {data_set: self._best(data_set) for data_set in part}
            rows: list[list[Cell]] = []
            for row in self.rows:
                texts = {data_set: self._epe_text(row, data_set) for data_set in part}
                marks = {d: "bad" if texts[d].diverged else "best" if row == best[d] else "" for d in part}
                rows.append([row, *((str(texts[data_set]), marks[data_set]) for data_set in part)])
            rows.append(["zero flow", *(number_text(self.results.zero_error(data_set)) for data_set in part)])
            header = [f"{data_set}, {numbers[data_set]} refinements" for data_set in part]
            yield table("EPE per image [px]; the lowest mean is bold, zero flow has the error of guessing no motion.",
                        ["row", *header], rows)  # fmt: skip


def _line(row: str, x: list[float], estimates: list[Estimate | None]) -> Line:
    """Means and intervals as a chart wants them; what is missing or diverged is a gap."""
    means = [math.nan if estimate is None else estimate.mean for estimate in estimates]
    halves = [0.0 if estimate is None else estimate.half_width or 0.0 for estimate in estimates]
    low = [mean - half for mean, half in zip(means, halves, strict=True)]
    high = [mean + half for mean, half in zip(means, halves, strict=True)]
    return Line(row, x, means, low, high)
