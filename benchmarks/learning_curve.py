"""How the error on held-out pairs falls with the pairs that a training has seen, and what ten times as many would give.

python benchmarks/learning_curve.py runs/default [--seen 41600] [--until N]

For each set and number of refinements that the run validates: the error at the first and at the last validation, the
exponent b of the power law error = a * pairs**-b that fits all of them best (least squares of the logarithms), and where the
law's line is at ten times as many pairs, each with its 95 % interval (Student's t). Both intervals take the validations for
independent, and they are not: they share their pairs, and weights change slowly. So they are too narrow. The law has no
floor either, which every real curve has: more pairs give at most so much. --seen: pairs that the weights had seen before the
run. --until: leave later steps out, such as those of a falling learning rate.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from reporting import arguments, parsed
from scipy import stats

from flowgru.benchmarking.timing import Table
from flowgru.config_file import read_value
from flowgru.training.run_log import read_log

TIMES = 10
"""How many times as many pairs the law is asked about."""


class Law(NamedTuple):
    """error = a * pairs**-b, fitted to points of a curve, and what it says of TIMES as many pairs as the last point's."""

    exponent: float
    half_width: float
    """Half the 95 % interval of the exponent."""
    predicted: float
    lowest: float
    highest: float
    """The 95 % interval of the law's error there."""


def fitted(pairs: list[float], errors: list[float]) -> Law:
    """The law of three points or more."""
    x, y = np.log(pairs), np.log(errors)
    line: Any = stats.linregress(x, y)
    quantile = float(stats.t.ppf(0.975, len(x) - 2))
    there = math.log(TIMES * pairs[-1])
    spread = math.sqrt(float(((y - line.intercept - line.slope * x) ** 2).sum()) / (len(x) - 2))
    away = (there - x.mean()) ** 2 / float(((x - x.mean()) ** 2).sum())
    half = quantile * spread * math.sqrt(1 / len(x) + away)
    middle = line.intercept + line.slope * there
    errors_there = (math.exp(middle), math.exp(middle - half), math.exp(middle + half))
    return Law(-line.slope, quantile * line.stderr, *errors_there)


def main() -> None:
    parser = arguments(__doc__, device=False)
    parser.add_argument("run", type=Path, help="the --output folder of flowgru train")
    parser.add_argument("--seen", type=int, default=0)
    parser.add_argument("--until", type=int)
    given = parsed(parser)
    batch_size = read_value((given.run / "config.yaml").read_text(encoding="utf-8"))["batch_size"]
    curves: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for line in read_log(given.run):
        if given.until is not None and line.get("step", 0) > given.until:
            continue
        for name, errors in (line.get("validation_epe_per_image") or {}).items():
            for count, error in errors.items():
                if error is not None:  # it was not finite
                    curves.setdefault((name, count), []).append((given.seen + batch_size * line["step"], error))
    if min((len(points) for points in curves.values()), default=0) < 3:
        parser.error(f"{given.run} has been validated less than 3 times: a law needs 3 points")
    columns = ["pairs", "refinements", "validations", "first", "last", "exponent", f"with {TIMES} times as many pairs"]
    said = {"run": str(given.run), "seen": str(given.seen)}
    table = Table("The learning curve", said, columns, lines=given.json)
    for (name, count), points in curves.items():
        pairs, errors = ([float(value) for value in each] for each in zip(*points, strict=True))
        law = fitted(pairs, errors)
        table.add(
            name,
            int(count),
            len(points),
            f"{errors[0]:.3f} px at {pairs[0]:,.0f}",
            f"{errors[-1]:.3f} px at {pairs[-1]:,.0f}",
            f"{law.exponent:.3f} ± {law.half_width:.3f}",
            f"{law.predicted:.2f} px ({law.lowest:.2f} to {law.highest:.2f})",
        )


if __name__ == "__main__":
    main()
