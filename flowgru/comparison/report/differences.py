"""How the rows of a comparison differ from each other, and which of it is more than the seeds' spread."""

from collections.abc import Mapping
from itertools import combinations

from flowgru.comparison.report.text import estimate_text
from flowgru.comparison.statistics import Difference, holm, paired_difference
from flowgru.view.report.html import Cell, table

LEVEL = 0.05


class Differences:
    """Each row's error minus that of each row before it, paired by seed."""

    def __init__(self, errors: Mapping[str, Mapping[int, float]], what: str) -> None:
        """`errors` maps a row to its errors by seed; `what` names them."""
        self.rows, self.what = list(errors), what
        self.found: dict[tuple[str, str], Difference] = {}
        for other, row in combinations(self.rows, 2):
            if (difference := paired_difference(errors[row], errors[other])) is not None:
                self.found[row, other] = difference
        tested = {pair: difference.p_value for pair, difference in self.found.items() if difference.p_value is not None}
        self.corrected = dict(zip(tested, holm(list(tested.values())), strict=True))

    def in_words(self) -> str:
        """How many differences there are, and of how many the seeds leave no doubt."""
        if not self.found:
            return "No two rows have a seed in common yet, so there are no differences."
        num_diverged = sum(difference.num_diverged > 0 for difference in self.found.values())
        bad = (
            f" Without a difference, because a seed of one of the two diverged: {num_diverged}." if num_diverged else ""
        )
        if not self.corrected:
            number = len(self.found) - num_diverged
            return f"Differences in {self.what}: {number}, without interval, which takes two seeds or more.{bad}"
        large = sum(difference.excludes_zero for difference in self.found.values())
        sure = sum(p < LEVEL for p in self.corrected.values())
        return (
            f"Differences in {self.what} between two rows: {len(self.corrected)} compared; larger than the seeds' spread "
            f"(the 95 % interval excludes 0): {large}, where chance alone would give about "
            f"{LEVEL * len(self.corrected):.1f}; below p = {LEVEL} after Holm's correction for being so many: {sure}.{bad}"
        )

    def matrix(self) -> str:
        """Differences below the diagonal, p-values above it."""
        caption = f"Below the diagonal: {self.what} [px] of the row minus that of the column, paired by seed"
        if self.corrected:
            caption += (
                ": mean ± half the 95 % interval. Green: the row is better, red: worse, and the interval excludes 0; "
                f"framed: also after Holm's correction. Above the diagonal: the corrected p-values, bold below {LEVEL}"
            )
        rows = [[row, *(self._cell(row, other) for other in self.rows)] for row in self.rows]
        return table(f"{caption}.", ["row − column", *self.rows], rows, "matrix")

    def _cell(self, row: str, other: str) -> Cell:
        if row == other:
            return "", "same"
        if (p := self.corrected.get((other, row))) is not None:
            text = "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
            return text, "best" if p < LEVEL else "quiet"
        if (difference := self.found.get((row, other))) is None:
            return ""
        text = estimate_text(difference, "+")
        if text.diverged:
            return text.lines, "bad"
        colour = ("less" if difference.mean < 0 else "more") if difference.excludes_zero else ""
        sure = "sure" if self.corrected.get((row, other), 1.0) < LEVEL else ""
        return text.lines, f"{colour} {sure}".strip()
