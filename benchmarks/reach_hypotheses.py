"""What a comparison of configs/reach_study.yaml says of the hypotheses in results/operators_at_reach.md, by the rules there.

python benchmarks/reach_hypotheses.py runs/reach_study [--encoders runs/reach_from_conv_gru ...]

Each line is an interval that a rule asks for: the mean over the seeds and half its 95 % interval, as a share of the mean
error of the row that is subtracted. A rule that is neither met nor broken leaves its hypothesis undecided. --encoders: the
folder of a comparison that began with other encoders, held against the study.
"""

import math
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from flowgru.comparison.equal_time import equal_time
from flowgru.comparison.errors import WHOLE
from flowgru.comparison.results import Results, read_results
from flowgru.comparison.statistics import Estimate, mean_interval

REGIME = "equal_parameters"
ZERO, DIS = "synthetic", "synthetic from dis"
INSIDE, FAST = "epe_untextured_128", "epe_s40_plus"
SCAN = "conv_min_gru", "conv_min_gru_no_scan"


class Gain(NamedTuple):
    """One row's error less another's, by seed, as a share of the other's mean error."""

    text: str
    by_seed: dict[int, float]

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval; without bounds where there is no interval."""
        mean, half, *_ = self.estimate
        return (-math.inf, math.inf) if half is None else (mean - half, mean + half)

    @property
    def estimate(self) -> Estimate:
        """The mean over the seeds."""
        return mean_interval([*self.by_seed.values()])

    def __str__(self) -> str:
        mean, half, *_ = self.estimate
        return f"{self.text}: {mean:+.1%}" + ("" if half is None else f" ± {half:.1%}")

    def less(self, other: "Gain", text: str) -> "Gain":
        """This one less the other, by seed."""
        return Gain(text, {seed: value - other.by_seed[seed] for seed, value in self.by_seed.items()})


def gain(results: Results, rows: tuple[str, str], measure: str, data_set: str, count: int) -> Gain:
    """The first row's error less the second's after `count` refinements."""
    one, other = (results.by_seed(REGIME, row, data_set, count, measure) for row in rows)
    shared = sorted(one.keys() & other.keys())
    mean = sum(other[seed] for seed in shared) / len(shared)
    text = f"{rows[0]} - {rows[1]}, {measure}, {data_set}, {count} refinements"
    return Gain(text, {seed: (one[seed] - other[seed]) / mean for seed in shared})


class Verdict(NamedTuple):
    """What the study says of one hypothesis."""

    number: str
    gains: tuple[Gain, ...]
    supported: bool
    refuted: bool

    def __str__(self) -> str:
        said = {(True, False): "supported", (False, True): "refuted", (False, False): "undecided"}
        word = said.get((self.supported, self.refuted), "supported, and refuted by the other rule")
        return "\n".join([f"{self.number}: {word}", *(f"    {each}" for each in self.gains)])


def verdicts(results: Results) -> Iterator[Verdict]:
    """The hypotheses in their order."""
    inside = {count: gain(results, SCAN, INSIDE, ZERO, count) for count in (2, 32)}
    low, high = inside[2].interval
    filled = high < 0
    yield Verdict("1, the scan fills from afar", (inside[2],), filled, low > -0.05)
    fast = gain(results, SCAN, FAST, ZERO, 2)
    difference = inside[2].less(fast, "the difference of both")
    low, high = difference.interval
    yield Verdict("2, and nowhere else", (inside[2], fast, difference), high < 0, low > 0)
    near = gain(results, SCAN, WHOLE, DIS, 4)
    low, high = near.interval
    yield Verdict("3, from DIS it is worth nothing", (near,), low >= -0.02 and high <= 0.02, low > 0 or high < 0)
    if filled:
        difference = inside[2].less(inside[32], "the difference of both")
        low, high = difference.interval
        kept = inside[32].interval[1] < -0.05
        yield Verdict("4, more refinements give it too", (*inside.values(), difference), high < 0, low > 0 or kept)
    cheap = [gain(results, ("min_gru", "conv_gru"), WHOLE, start, 12) for start in (ZERO, DIS)]
    enough, worse = (each.interval[1] < 0.03 for each in cheap), (each.interval[0] > 0 for each in cheap)
    yield Verdict("5, cheap gates are enough", (*cheap,), all(enough), any(worse))
    separable = gain(results, ("seq_conv_gru", "conv_gru"), WHOLE, ZERO, 12)
    low, high = separable.interval
    yield Verdict("6, separable kernels are better", (separable,), high < 0, low > -0.02)
    yield at_equal_time(results)


def at_equal_time(results: Results) -> Verdict:
    """Hypothesis 7: at equal time, the cheapest operator has the lowest error on the validation pairs."""
    read = equal_time(results, REGIME)
    assert read is not None, "the comparison has no learning curves or no times yet"
    errors = {row: read.errors(results, REGIME, row, ZERO, 12) for row in results.rows(REGIME)}
    means = {row: mean_interval([*each.values()]).mean for row, each in errors.items()}
    first, second = sorted(means, key=means.__getitem__)[:2]
    other = second if first == "min_gru" else first
    cheapest = Gain(
        f"min_gru - {other}, {WHOLE} on the validation pairs, 12 refinements, at equal time",
        {seed: (value - errors[other][seed]) / means[other] for seed, value in errors["min_gru"].items()},
    )
    low, high = cheapest.interval
    is_first = first == "min_gru"
    return Verdict(
        "7, at equal time the cheapest is best", (cheapest,), is_first and high < 0, not is_first and low > 0
    )


def there_is_something_to_fill(results: Results) -> str:
    """The ground under hypotheses 1, 2 and 4."""
    after = [results.by_seed(REGIME, SCAN[1], ZERO, count, INSIDE) for count in (1, 12)]
    holds = all(value > after[1][seed] for seed, value in after[0].items())
    texts = (", ".join(f"{each[seed]:.2f}" for seed in each) for each in after)
    return f"Without the scan, 128 px inside, after 1 and 12 refinements, by seed: {' px and '.join(texts)} px. " + (
        "There is something to fill." if holds else "There is nothing to fill: 1, 2 and 4 are not decided."
    )


def against_encoders(results: Results, other: Results, name: str) -> Iterator[str]:
    """Whether encoders that were trained with another operator change the study's differences."""
    for rows in (("conv_min_gru", "conv_gru"), SCAN):
        ours, theirs = (gain(each, rows, WHOLE, ZERO, 4) for each in (results, other))
        mean, (low, high) = theirs.estimate.mean, ours.interval
        refuted = mean * ours.estimate.mean < 0 and not low <= mean <= high
        yield f"{name}: {theirs}, in the study {str(ours).rpartition(': ')[2]}: {'refuted' if refuted else 'not refuted'}"


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoders", type=Path, action="append", default=[])
    given = parser.parse_args()
    results = read_results(given.folder)
    print(there_is_something_to_fill(results))
    for verdict in verdicts(results):
        print(verdict)
    for folder in given.encoders:
        for line in against_encoders(results, read_results(folder), folder.name):
            print(line)


if __name__ == "__main__":
    main()
