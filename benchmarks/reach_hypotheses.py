"""What a comparison of configs/reach_study.yaml says of the hypotheses in results/operators_at_reach.md, by the rules there.

python benchmarks/reach_hypotheses.py runs/reach_study [--encoders FOLDER ...]
python benchmarks/reach_hypotheses.py --ideas runs/scan_ideas

Each line is a difference that a rule asks for: the mean over the seeds and half its 95 % interval, in pixels and as a share
of the mean error of the row that is subtracted. A hypothesis that no rule decides is undecided. --encoders: the folder of a
comparison that began with other encoders, held against the study. --ideas: that of benchmarks/scan_ideas.py, whose ideas are
held against its rows with and without the plain scan, over the seeds of the row without; what three seeds say of an idea
that did not choose it stands below, by itself.
"""

import math
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from flowgru.comparison.equal_time import equal_time
from flowgru.comparison.errors import WHOLE
from flowgru.comparison.results import Results, read_results
from flowgru.comparison.statistics import mean_interval
from flowgru.errors import counted

REGIME = "equal_parameters"
ROWS = ("conv_gru", "seq_conv_gru", "conv_min_gru_no_scan", "conv_min_gru", "min_gru", "conv_lstm")
ZERO, DIS = "synthetic", "synthetic from dis"
INSIDE, FAST = "epe_untextured_128", "epe_s40_plus"
SCAN = "conv_min_gru", "conv_min_gru_no_scan"


class Difference(NamedTuple):
    """Errors less other errors by seed, in pixels; with both from the same seed, what it does to both cancels out."""

    text: str
    by_seed: dict[int, float]
    base: float | None
    """The mean of what is subtracted, of which it is a share; None where a share would say nothing."""

    @property
    def mean(self) -> float:
        """In pixels; NaN where a seed has diverged or none is known."""
        return mean_interval([*self.by_seed.values()]).mean if self.by_seed else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval in pixels; without bounds where there is none."""
        half = mean_interval([*self.by_seed.values()]).half_width if self.by_seed else None
        return (-math.inf, math.inf) if half is None else (self.mean - half, self.mean + half)

    @property
    def shares(self) -> tuple[float, float]:
        """The same as a share of the base."""
        assert self.base is not None
        low, high = self.interval
        return low / self.base, high / self.base

    def __str__(self) -> str:
        low, high = self.interval
        half = "" if math.isinf(high) else f" ± {(high - low) / 2:.3f}"
        share = ""
        if self.base is not None:
            spread = "" if math.isinf(high) else f" ± {(high - low) / 2 / self.base:.1%}"
            share = f" ({self.mean / self.base:+.1%}{spread})"
        return f"{self.text}: {self.mean:+.3f}{half} px{share}, {counted(len(self.by_seed), 'seed')}"


def subtracted(text: str, one: dict[int, float], other: dict[int, float]) -> Difference:
    """The difference of the errors of two rows, over the seeds that both have."""
    shared = sorted(one.keys() & other.keys())
    base = sum(other[seed] for seed in shared) / len(shared) if shared else math.nan
    return Difference(text, {seed: one[seed] - other[seed] for seed in shared}, base)


def difference(
    results: Results,
    rows: tuple[str, str],
    measure: str,
    data_set: str,
    count: int,
    seeds: Callable[[int], bool] = lambda seed: True,
) -> Difference:
    """The first row's error less the second's after `count` refinements, over the seeds for which `seeds` holds."""
    found = (results.by_seed(REGIME, row, data_set, count, measure) for row in rows)
    one, other = ({seed: error for seed, error in errors.items() if seeds(seed)} for errors in found)
    return subtracted(f"{rows[0]} - {rows[1]}, {measure}, {data_set}, {counted(count, 'refinement')}", one, other)


def between(text: str, one: Difference, other: Difference, *, as_shares: bool = False) -> Difference:
    """One difference less another, by seed; as shares of their bases, 1 in place of a pixel, where that is asked for."""
    factors = [1 / each.base if as_shares and each.base else 1.0 for each in (one, other)]
    shared = sorted(one.by_seed.keys() & other.by_seed.keys())
    values = {seed: factors[0] * one.by_seed[seed] - factors[1] * other.by_seed[seed] for seed in shared}
    return Difference(text, values, 1.0 if as_shares else None)


class Verdict(NamedTuple):
    """What the study says of one hypothesis."""

    number: str
    differences: tuple[Difference, ...]
    supported: bool
    refuted: bool
    decided: bool = True
    """The ground under it holds."""

    def __str__(self) -> str:
        said = {(True, False): "supported", (False, True): "refuted", (False, False): "undecided"}
        word = said.get((self.supported, self.refuted), "supported, and refuted by the other rule")
        word = word if self.decided else "not decided, since there is nothing to fill"
        return "\n".join([f"{self.number}: {word}", *(f"    {each}" for each in self.differences)])


def to_fill(results: Results) -> tuple[bool, str]:
    """The ground under hypotheses 1, 2 and 4: whether there is something to fill, and what says so."""
    first, last = (results.by_seed(REGIME, SCAN[1], ZERO, count, INSIDE) for count in (1, 12))
    holds = bool(first) and all(value > last[seed] for seed, value in first.items())
    texts = (", ".join(f"{value:.2f}" for value in each.values()) for each in (first, last))
    return holds, (
        f"Without the scan, 128 px inside, after 1 and after 12 refinements, by seed: {' px; '.join(texts)} px. "
        f"There is {'something' if holds else 'nothing'} to fill."
    )


def verdicts(results: Results, *, something: bool) -> Iterator[Verdict]:
    """The hypotheses in their order. something: there is something to fill."""
    inside = {count: difference(results, SCAN, INSIDE, ZERO, count) for count in (2, 32)}
    filled, excluded = inside[2].interval[1] < 0, inside[2].shares[0] > -0.05
    yield Verdict("1, the scan fills from afar", (inside[2],), filled, excluded, something)
    fast = difference(results, SCAN, FAST, ZERO, 2)
    shares = between("the first share less the second", inside[2], fast, as_shares=True)
    low, high = shares.interval
    yield Verdict("2, and nowhere else", (inside[2], fast, shares), high < 0, low > 0, something)
    near = difference(results, SCAN, WHOLE, DIS, 4)
    low, high = near.shares
    yield Verdict("3, from DIS it is worth nothing", (near,), low >= -0.02 and high <= 0.02, low > 0 or high < 0)
    if filled:
        less = between("the first less the second", inside[2], inside[32])
        low, high = less.interval
        kept = inside[32].shares[1] < -0.05
        yield Verdict("4, more refinements give it too", (*inside.values(), less), high < 0, low > 0 or kept, something)
    cheap = [difference(results, ("min_gru", "conv_gru"), WHOLE, start, 12) for start in (ZERO, DIS)]
    enough, worse = all(each.shares[1] < 0.03 for each in cheap), any(each.interval[0] > 0 for each in cheap)
    yield Verdict("5, cheap gates are enough", (*cheap,), enough, worse)
    separable = difference(results, ("seq_conv_gru", "conv_gru"), WHOLE, ZERO, 12)
    better, excluded = separable.interval[1] < 0, separable.shares[0] > -0.02
    yield Verdict("6, separable kernels are better", (separable,), better, excluded)
    yield at_equal_time(results)


def at_equal_time(results: Results) -> Verdict:
    """Hypothesis 7: at equal time, the cheapest operator has the lowest error on the validation pairs."""
    read = equal_time(results, REGIME, ROWS)
    errors = {} if read is None else {row: read.errors(results, REGIME, row, ZERO, 12) for row in ROWS}
    text = f"{WHOLE} on the validation pairs, 12 refinements, at equal time"
    others = [
        subtracted(f"min_gru - {row}, {text}", errors["min_gru"], each)
        for row, each in errors.items()
        if row != "min_gru"
    ]
    complete = bool(others) and all(math.isfinite(each.mean) for each in others)
    # The nearest other row is the second where min_gru is the first.
    nearest = max(others, key=lambda each: each.mean, default=None) if complete else None
    supported = nearest is not None and nearest.interval[1] < 0
    return Verdict(
        "7, at equal time the cheapest is best", (*others,), supported, any(each.interval[0] > 0 for each in others)
    )


def scan_by_refinements(results: Results) -> Iterator[Difference]:
    """What the scan gives on whole pictures and 128 px inside areas without texture, after every number of refinements."""
    for measure, data_set in ((WHOLE, ZERO), (INSIDE, ZERO), (WHOLE, DIS)):
        for count in results.iterations(measure, data_set):
            yield difference(results, SCAN, measure, data_set, count)


def against_encoders(results: Results, other: Results, name: str) -> Iterator[str]:
    """Whether encoders that were trained with another operator change the study's differences."""
    for rows in (("conv_min_gru", "conv_gru"), SCAN):
        ours, theirs = (difference(each, rows, WHOLE, ZERO, 4) for each in (results, other))
        low, high = ours.interval
        refuted = theirs.mean * ours.mean < 0 and not low <= theirs.mean <= high
        yield f"{name}: {'refuted' if refuted else 'not refuted'}\n    {theirs}\n    in the study: {ours}"


IDEA_MEASURES = ((WHOLE, ZERO, 4), (WHOLE, DIS, 4), (INSIDE, ZERO, 2))


def ideas_of(results: Results) -> Iterator[str]:
    """What each idea, and the plain scan, gives against no scan, each idea against the plain scan, and two ideas.

    After them, over the seeds that the row without a scan does not have, and that did not choose an idea: whether it is
    better than the plain scan.
    """
    rows = [row for row in results.rows(REGIME) if row not in SCAN]
    choosing = results.by_seed(REGIME, SCAN[1], ZERO, 4, WHOLE).keys()
    pairs = [(row, SCAN[1]) for row in (SCAN[0], *rows)] + [(row, SCAN[0]) for row in rows]
    for pair in (*pairs, ("of_the_picture", "longer")):
        for measure in IDEA_MEASURES:
            found = difference(results, pair, *measure, seeds=lambda seed: seed in choosing)
            if found.by_seed:
                yield f"{found}"
    for row in rows:
        judged = [
            difference(results, (row, SCAN[0]), *measure, seeds=lambda seed: seed not in choosing)
            for measure in IDEA_MEASURES
        ]
        if num_seeds := len(judged[0].by_seed):
            said = f"{'better' if judged[0].interval[1] < 0 else 'not shown to be better'} than {SCAN[0]}"
            said = said if num_seeds >= 3 else f"not decided yet, {num_seeds} of 3 seeds"
            yield f"{row}, by seeds that did not choose it: {said}"
            yield from (f"    {each}" for each in judged)


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--encoders", type=Path, action="append", default=[])
    parser.add_argument("--ideas", type=Path)
    given = parser.parse_args()
    if (given.folder is None) == (given.ideas is None) or (given.ideas is not None and given.encoders):
        parser.error("give either the study's folder or --ideas FOLDER; --encoders belongs to the study")
    if given.ideas is not None:
        for line in ideas_of(read_results(given.ideas)):
            print(line)
        return
    results = read_results(given.folder)
    something, ground = to_fill(results)
    print(ground)
    for verdict in verdicts(results, something=something):
        print(verdict)
    print("The scan after every number of refinements, which no rule asks for:")
    for each in scan_by_refinements(results):
        print(f"    {each}")
    for folder in given.encoders:
        for line in against_encoders(results, read_results(folder), folder.name):
            print(line)


if __name__ == "__main__":
    main()
