"""What a report shows of the parts of pictures, of every number of refinements, and of equal time."""

from collections.abc import Iterator
from itertools import combinations

from flowgru.comparison.equal_time import EQUAL_TIME, equal_time
from flowgru.comparison.errors import PARTS, WHOLE
from flowgru.comparison.report.numbers import RegimeNumbers
from flowgru.comparison.report.text import NONE, estimate_text, number_text, seeds_estimate
from flowgru.comparison.statistics import paired_difference
from flowgru.view.report.html import Cell, details, element, table


def part_sections(numbers: RegimeNumbers, data_set: str) -> Iterator[str]:
    """Where in the pictures the error is, and how rows differ there, after every number of refinements."""
    results = numbers.results
    known = [part for part in PARTS if results.iterations(part, data_set)]
    if not known:
        return
    count = results.headline_iterations(data_set)
    rows = [[row, *(_error(numbers, row, data_set, count, part) for part in known)] for row in numbers.rows]
    yield element("h3", f"Where the error is: EPE on {data_set}")
    caption = f"EPE [px] after {count} refinements, pooled over the pixels of all pairs that are of each kind."
    yield table(caption, ["row", *(PARTS[part] for part in known)], rows)
    for measure in (WHOLE, *known):
        what = "EPE per image" if measure == WHOLE else f"EPE, {PARTS[measure]}"
        counts = results.iterations(measure, data_set)
        parts = [_differences(numbers, data_set, measure, what, counts)]
        if measure != WHOLE:
            rows = [[row, *(_error(numbers, row, data_set, n, measure) for n in counts)] for row in numbers.rows]
            parts.insert(0, table(f"{what} [px] after so many refinements.", ["row", *map(str, counts)], rows))
        yield details(f"{what} on {data_set}: after every number of refinements", parts)


def equal_time_section(numbers: RegimeNumbers) -> Iterator[str]:
    """The held-out learning curves of all rows, read at one time."""
    results, regime = numbers.results, numbers.regime
    read = equal_time(results, regime)
    if read is None:
        return
    rows: list[list[Cell]] = []
    for row in numbers.rows:
        step = read.steps[row]
        cells = [NONE if step is None else f"{step:,.0f}"]
        for data_set, count in results.validated:
            cells.append(str(estimate_text(seeds_estimate(read.errors(results, regime, row, data_set, count)))))
        rows.append([row, number_text(results.value(regime, row, "ms_per_training_step")), *cells])
    yield element("h3", "At equal time")
    passes = "passes at full size" if results.setting("training", "coarse_first") else "passes"
    caption = (
        f"The error on the validation pairs at the time at which the slowest row has done {EQUAL_TIME:.0%} of its steps "
        f"({read.milliseconds / 1000:,.0f} s of forward and backward {passes}), between two validations by a straight "
        "line; a row that ends before is read at its end. Under a schedule that falls with the steps, a row that is further "
        "has a lower rate too."
    )
    header = [f"EPE per image on {data_set}, {count} refinements [px]" for data_set, count in results.validated]
    yield table(caption, ["row", "ms / training step", "steps", *header], rows)


def _error(numbers: RegimeNumbers, row: str, data_set: str, count: int | None, measure: str) -> Cell:
    text = estimate_text(numbers.epe(row, data_set, count, measure))
    return str(text), "bad" if text.diverged else ""


def _differences(numbers: RegimeNumbers, data_set: str, measure: str, what: str, counts: list[int]) -> str:
    """Each row's error minus that of each row before it, after each number of refinements."""
    rows: list[list[Cell]] = []
    for other, row in combinations(numbers.rows, 2):
        cells: list[Cell] = []
        for count in counts:
            errors = (numbers.results.by_seed(numbers.regime, each, data_set, count, measure) for each in (row, other))
            difference = paired_difference(*errors)
            text = estimate_text(difference, "+")
            sure = difference is not None and difference.excludes_zero
            colour = ("less" if difference.mean < 0 else "more") if difference is not None and sure else ""
            cells.append((text.lines, "bad" if text.diverged else colour))
        rows.append([f"{row} − {other}", *cells])
    caption = (
        f"Differences in {what} [px], paired by seed: mean ± half the 95 % interval, not corrected for being so many. "
        "Green: the first row is better, red: worse, and the interval excludes 0."
    )
    return table(caption, ["rows", *map(str, counts)], rows)
