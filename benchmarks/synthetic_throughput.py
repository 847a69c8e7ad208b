"""Generated pairs per second of one core, or of a GPU.

python benchmarks/synthetic_throughput.py [--device cuda] [--uses 2]

On the CPU it is processor time that counts, of one thread unless --threads says otherwise, so that other work on the machine
matters little.
"""

from reporting import arguments, begin, circumstances, parsed

from flowgru.benchmarking.timing import CLOCKS, Table
from flowgru.config import SyntheticSettings
from flowgru.config.training import MAX_USES
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.data.synthetic.reuse import ReusedPairs

SIZES = ((192, 256, 200), (440, 1024, 30))


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(threads=1)
    parser.add_argument("--uses", type=int, choices=range(1, MAX_USES + 1), default=1, help="of each pair")
    given = parsed(parser)
    device = begin(given)
    clock = "processor" if device.type == "cpu" else "wall"
    table = Table(
        "Generated pairs",
        circumstances(device, clock=clock, uses=given.uses),
        ["size", "pairs", "pairs/s"],
        lines=given.json,
    )
    for height, width, num_pairs in SIZES:
        made = SyntheticPairs(SyntheticSettings(height=height, width=width), length=num_pairs, device=device)
        made[0]  # builds the texture bank
        pairs = ReusedPairs(made, given.uses, seed=0)
        start = CLOCKS[clock]()
        for index in range(num_pairs):
            pairs[index].flow[0, 0, 0].item()  # waits for a GPU to be done
        seconds = CLOCKS[clock]() - start
        table.add(f"{height}x{width}", num_pairs, num_pairs / seconds)


if __name__ == "__main__":
    main()
