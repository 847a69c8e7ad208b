"""Generated pairs per second of one core, or of a GPU.

python benchmarks/synthetic_throughput.py [--device cuda]

On the CPU it is processor time that counts, of one thread unless --threads says otherwise, so that other work on the machine
matters little.
"""

from reporting import arguments, begin, circumstances, parsed

from flowgru.benchmarking.timing import CLOCKS, Table
from flowgru.config import SyntheticSettings
from flowgru.data.synthetic.pairs import SyntheticPairs

SIZES = ((192, 256, 200), (440, 1024, 30))


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(threads=1)
    given = parsed(parser)
    device = begin(given)
    clock = "processor" if device.type == "cpu" else "wall"
    table = Table("Generated pairs", circumstances(device, clock=clock), ["size", "pairs", "pairs/s"], lines=given.json)
    for height, width, num_pairs in SIZES:
        pairs = SyntheticPairs(SyntheticSettings(height=height, width=width), length=num_pairs, device=device)
        pairs[0]  # builds the texture bank
        start = CLOCKS[clock]()
        for pair in pairs:
            pair.flow[0, 0, 0].item()  # waits for a GPU to be done
        seconds = CLOCKS[clock]() - start
        table.add(f"{height}x{width}", num_pairs, num_pairs / seconds)


if __name__ == "__main__":
    main()
