"""Parameters, multiply-adds and milliseconds of one inference step of every update operator and of each of its options,
interleaved in one process; an operator that breaks the contract of update operators is named, and nothing is timed.

python benchmarks/operators.py [--preset large] [--size 440x1024] [--operators all] [--device cpu] [--threads 2]
    [--rounds 15]

`flowgru benchmark --operators all` is the same.
"""

import sys

from reporting import arguments, begin, parsed, size_of

from flowgru.benchmarking.operator_table import operator_table
from flowgru.config import PRESETS
from flowgru.errors import RequestError


def main() -> None:
    parser = arguments(__doc__, rounds=15)
    parser.add_argument("--preset", default="large", choices=PRESETS)
    parser.add_argument("--size", default="440x1024", help="HEIGHTxWIDTH in pixels")
    parser.add_argument("--operators", nargs="+", default=["all"])
    given = parsed(parser)
    device, size = begin(given), size_of(given.size)
    try:
        operator_table(
            given.operators,
            preset=given.preset,
            height=size[0],
            width=size[1],
            rounds=given.rounds,
            device=device,
            clock=given.clock,
            lines=given.json,
        )
    except RequestError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
