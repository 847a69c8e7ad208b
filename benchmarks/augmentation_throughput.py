"""Augmented pairs per second of one core, from pictures in memory.

python benchmarks/augmentation_throughput.py [--pairs 100]

Processor time of one thread, so that other work on the machine matters little. Reading the files is not counted.
"""

import statistics
import time

import torch
from reporting import arguments, begin, circumstances, parsed

from flowgru.benchmarking.timing import Table
from flowgru.config import STAGES, SyntheticSettings
from flowgru.data.augmentation.mixture import MixedPairs, MixturePart
from flowgru.data.sample import FlowSample
from flowgru.data.synthetic.pairs import SyntheticPairs

SETS = {  # height, width, pairs, share of the pixels whose flow is known
    "chairs_train": (384, 512, 22_232, 1.0),
    "things_clean": (540, 960, 40_302, 1.0),
    "things_final": (540, 960, 40_302, 1.0),
    "sintel_clean": (436, 1024, 1_041, 1.0),
    "sintel_final": (436, 1024, 1_041, 1.0),
    "kitti2015": (375, 1242, 200, 0.2),
    "hd1k": (1080, 2560, 1_047, 0.3),
}


def stored_pairs(height: int, width: int, known: float) -> list[FlowSample]:
    """Two generated pairs of that size."""
    pairs = SyntheticPairs(SyntheticSettings(height=height, width=width, num_textures=16))
    samples = [pairs[index] for index in range(2)]
    return [sample._replace(valid=torch.rand(height, width) < known, occlusion=None) for sample in samples]


def milliseconds_a_pair(pairs: MixedPairs, num_pairs: int) -> float:
    """The median over ten parts of the pairs, fewer of fewer pairs."""
    times, parts = [], min(10, num_pairs)
    for part in range(parts):
        indices = range(part * num_pairs // parts, (part + 1) * num_pairs // parts)
        start = time.process_time()
        for index in indices:
            pairs[index]
        times.append((time.process_time() - start) / len(indices))
    return 1000 * statistics.median(times)


def main() -> None:
    parser = arguments(__doc__, device=False)
    parser.set_defaults(threads=1)
    parser.add_argument("--pairs", type=int, default=100, help="pairs to time for each set of a stage")
    given = parsed(parser)
    device = begin(given)
    stored = {size: stored_pairs(size[0], size[1], size[3]) for size in dict.fromkeys(SETS.values())}
    columns = ["stage", "set", "picture", "crop", "ms a pair", "pairs/s on one core"]
    said = circumstances(device, clock="processor", pairs=given.pairs, time="median of ten parts of the pairs")
    table = Table("Augmentation", said, columns, lines=given.json)
    for stage, parts in STAGES.items():
        total = weights = 0.0
        for part in parts:
            size, settings = SETS[part.name], part.augmentation
            cost = milliseconds_a_pair(MixedPairs([MixturePart(stored[size], settings)]), given.pairs)  # pyright: ignore[reportArgumentType]
            total, weights = total + part.repeats * size[2] * cost, weights + part.repeats * size[2]
            picture, crop = f"{size[0]}x{size[1]}", f"{settings.height}x{settings.width}"
            table.add(stage, part.name, picture, crop, cost, 1000 / cost)
        if len(parts) > 1:
            table.add(stage, "all, as often as they are mixed", None, None, total / weights, 1000 * weights / total)


if __name__ == "__main__":
    main()
