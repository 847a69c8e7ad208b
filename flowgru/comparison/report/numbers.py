"""What the numbers of one regime say: the main table, the verdicts, and the findings in words."""

import math
from collections.abc import Iterator

from flowgru.comparison.report.differences import Differences
from flowgru.comparison.report.text import (
    EstimateText,
    Verdict,
    beyond_training,
    count_text,
    estimate_text,
    joined,
    number_text,
    seeds_estimate,
)
from flowgru.comparison.results import Results
from flowgru.comparison.statistics import Estimate, pareto_front
from flowgru.view.report.html import Cell

TITLES = {"equal_width": "equal width", "equal_parameters": "equal parameters"}


class RegimeNumbers:
    """The rows of one regime: all networks as wide, or as large, as each other."""

    def __init__(self, results: Results, regime: str) -> None:
        self.results, self.regime = results, regime
        self.rows = results.rows(regime)
        self.title = TITLES.get(regime, regime)
        self.main_set = next(iter(results.sets), "")
        self.headline = results.headline_iterations(self.main_set)

    def epe(self, row: str, data_set: str, iterations: int | None, measure: str = "epe_per_image") -> Estimate | None:
        return seeds_estimate(self.results.by_seed(self.regime, row, data_set, iterations, measure))

    def main_table(self) -> tuple[str, list[str], list[list[Cell]]]:
        """Caption, header and rows of the table of costs and errors."""
        results = self.results
        caption = (
            f"{self.title[:1].upper() + self.title[1:]}: cost and error of each row. Parameters are those of the whole "
            "network; multiply-adds (1 is 2 FLOPs) and time of a step are those of one refinement by the operator alone; "
            f"errors, and the time for a pair, are those after {self.headline} refinements. Bold: the lowest mean."
        )
        header = ["row", "parameters", "multiply-adds [G] / step", "ms / step", "ms / pair", "peak memory [MiB]"]
        header += [f"EPE per image on {data_set} [px]" for data_set in results.sets[:2]]
        header += [f"more refinements, {self.main_set}"] if results.trained_iterations and results.sets else []
        best = [self._best(data_set) for data_set in results.sets[:2]]
        rows = []
        for row in self.rows:
            adds = self._value(row, "multiply_adds")
            cells: list[Cell] = [
                row,
                count_text(self._value(row, "parameters")),
                number_text(None if adds is None else adds / 1e9),
                number_text(self._value(row, "ms_per_step")),
                number_text(results.value(self.regime, row, "ms_per_pair", self.headline)),
                number_text(self._value(row, "peak_mib")),
            ]
            for data_set, winner in zip(results.sets[:2], best, strict=True):
                text = self._epe_text(row, data_set)
                cells.append((str(text), "bad" if text.diverged else "best" if row == winner else ""))
            if len(cells) < len(header):
                verdict = self.verdict(row, self.main_set)
                cells.append((str(verdict), "bad" if verdict.is_bad else ""))
            rows.append(cells)
        return caption, header, rows

    def verdict(self, row: str, data_set: str) -> Verdict:
        """Whether more refinements than trained help."""
        errors = {
            number: estimate
            for number in self.results.iterations(data_set=data_set)
            if (estimate := self.epe(row, data_set, number)) is not None
        }
        return beyond_training(errors, self.results.trained_iterations)

    def findings(self) -> Iterator[str]:
        """What the numbers say, in sentences."""
        if (best := self._best(self.main_set)) is None:
            yield "There is no error yet." if not self.results.sets else "Every row has diverged, or has no error yet."
            return
        error = self._epe_text(best, self.main_set)
        zero = number_text(self.results.zero_error(self.main_set))
        yield (
            f"The lowest EPE per image on {self.main_set} after {self.headline} refinements is {error} px, of {best}; that "
            f"of zero flow, which guesses no motion, is {zero} px."
        )
        yield self._differences(self.main_set).in_words()
        if front := self._front():
            said = "The Pareto front of EPE per image and time for a pair, which no other row beats in both"
            yield f"{said}: {joined(front)}."
        verdicts = {row: self.verdict(row, self.main_set) for row in self.rows}
        trained = self.results.trained_iterations
        for kind, said in (("helps", "Better"), ("flat", "About the same"), ("diverges", "Worse (they diverge)")):
            if named := [row for row in self.rows if verdicts[row].kind == kind]:
                yield f"{said} with more refinements than the {trained} trained with: {joined(named)}."

    def _epe_text(self, row: str, data_set: str, iterations: int | None = None) -> EstimateText:
        """A row's error after these refinements, or the usual ones; it says so where seeds are missing."""
        estimate = self.epe(row, data_set, iterations or self.results.headline_iterations(data_set))
        text = estimate_text(estimate)
        if estimate is None or estimate.num_diverged or estimate.num_seeds == len(self.results.seeds):
            return text
        return text._replace(interval=f"{text.interval} (n = {estimate.num_seeds})".strip())

    def _value(self, row: str, measure: str) -> float | None:
        return self.results.value(self.regime, row, measure)

    def _best(self, data_set: str) -> str | None:
        """The row with the lowest mean error on a set."""
        number = self.results.headline_iterations(data_set)
        means = {row: e.mean for row in self.rows if (e := self.epe(row, data_set, number)) is not None}
        finite = {row: mean for row, mean in means.items() if math.isfinite(mean)}
        return min(finite, key=finite.__getitem__, default=None)

    def _differences(self, data_set: str) -> Differences:
        number = self.results.headline_iterations(data_set)
        errors = {row: self.results.by_seed(self.regime, row, data_set, number) for row in self.rows}
        return Differences(errors, f"EPE per image on {data_set} after {number} refinements")

    def _points(self, iterations: int | None) -> dict[str, tuple[float, float]]:
        """Time for a pair and error of each row that has both."""
        points = {}
        for row in self.rows:
            time = self.results.value(self.regime, row, "ms_per_pair", iterations)
            error = self.epe(row, self.main_set, iterations)
            if time is not None and error is not None:
                points[row] = (time, error.mean)
        return points

    def _front(self) -> list[str]:
        """The rows that no other one beats in both time and error."""
        points = self._points(self.headline)
        return [list(points)[index] for index in pareto_front(list(points.values()))]
