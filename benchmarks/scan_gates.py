"""What the gates of a conv_min_gru that a comparison has trained let through, and what its flow loses where the scan is cut.

python benchmarks/scan_gates.py runs/reach_study [--row conv_min_gru] [--seed 0] [--pairs 24]

The first table has the mean of A, what a coarse pixel lets through, in the 1st, 2nd, 4th and 12th refinement from zero flow,
and the weight in the scan of all that comes from 1, 4 and 16 coarse pixels away or more: the product of as many A, which is
exact. Both are means over channels and directions and then over pairs, 64 px inside areas without texture and where there is
texture. In the second table nothing is carried beyond blocks of 16, 4 and 1 coarse pixels: the error of the same weights, in
pixels.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from reporting import arguments, begin, circumstances, looks_of, parsed
from torch import Tensor

from flowgru.benchmarking.timing import Table
from flowgru.comparison.errors import WHOLE, measure_errors
from flowgru.comparison.record import ABOUT, read_record
from flowgru.config import SyntheticSettings
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.data.synthetic.untextured import untextured_depth
from flowgru.model.weight_files.loading import load_model
from flowgru.operators import conv_min_gru
from flowgru.operators.conv_min_gru import ConvMinGRU
from flowgru.training.checkpoints.store import WEIGHTS

REGIME, DEEP = "equal_parameters", 64
REFINEMENTS, DISTANCES, BLOCKS = (1, 2, 4, 12), (1, 4, 16), (None, 16, 4, 1)
MEASURES = [(measure, count) for measure in (WHOLE, "epe_s40_plus", "epe_untextured_128") for count in (2, 12)]

Routes = tuple[tuple[tuple[int, bool], ...], ...]


@contextmanager
def scans(change: Callable[[Tensor, Routes], Tensor]) -> Iterator[None]:
    """Every scan over space with what `change` makes of its A."""
    plain = conv_min_gru.scan_over_space
    conv_min_gru.scan_over_space = lambda decay, value, routes: plain(change(decay, routes), value, routes)
    try:
        yield
    finally:
        conv_min_gru.scan_over_space = plain


def in_blocks(decay: Tensor, routes: Routes, block: int) -> Tensor:
    """A with which nothing is carried into the next block of so many pixels along a route."""
    decay, size = decay.clone(), decay.shape[1] // len(routes)
    for group, ((axis, reverse),) in enumerate(routes):
        part = decay.narrow(1, group * size, size)
        starts = torch.arange(0, part.shape[axis], block, device=decay.device)
        part.index_fill_(axis, part.shape[axis] - 1 - starts if reverse else starts, 0.0)
    return decay


def weight_beyond(decay: Tensor, routes: Routes, distance: int) -> Tensor:
    """The weight of all that comes from `distance` pixels away or more, [C, h, w]; NaN before a scan is so far."""
    found, size = torch.full_like(decay[0], torch.nan), decay.shape[1] // len(routes)
    for group, ((axis, reverse),) in enumerate(routes):
        axis -= 1  # there is no batch
        part, into = (each.narrow(0, group * size, size) for each in (decay[0], found))
        products = part.unfold(axis, distance, 1).prod(dim=-1)  # of the pixels that a window holds
        count = part.shape[axis] - distance
        products = products.narrow(axis, 0 if reverse else 1, count)
        into.narrow(axis, 0 if reverse else distance, count).copy_(products)
    return found


def gate_rows(network, pairs: SyntheticPairs) -> Iterator[tuple]:
    """The rows of the first table."""
    sums: dict[tuple, list[float]] = defaultdict(list)
    for index in range(len(pairs)):
        pair = pairs[index]
        depth = untextured_depth(pairs, index)[4::8, 4::8]
        places = {f"{DEEP} px inside areas without texture": depth >= DEEP, "with texture": depth == 0}
        seen: list[tuple[Tensor, Routes]] = []
        with torch.inference_mode(), scans(lambda decay, routes, seen=seen: seen.append((decay, routes)) or decay):
            frames = (each[None].to(network.device) for each in pair[:2])
            network(*frames, iterations=REFINEMENTS[-1], final_only=True)
        for count in REFINEMENTS:
            decay, routes = seen[count - 1]
            maps = [decay[0].cpu(), *(weight_beyond(decay.cpu(), routes, distance) for distance in DISTANCES)]
            for name, place in places.items():
                if place.any():
                    sums[name, count].append([each[:, place].nanmean().item() for each in maps])  # pyright: ignore
    for (name, count), values in sorted(sums.items()):
        yield name, count, *torch.tensor(values).nanmean(dim=0).tolist()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("folder", type=Path, help="of a comparison")
    parser.add_argument("--row", default="conv_min_gru")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=24)
    given = parsed(parser)
    device = begin(given)
    record = read_record(given.folder / ABOUT)
    network = load_model(given.folder / record.rows[REGIME][given.row].folder / f"seed{given.seed}" / WEIGHTS, device)
    operator = network.operator
    if not isinstance(operator, ConvMinGRU) or not operator.scan or operator.form == "chain":
        parser.error(f"{given.row} has no scan along rows and columns: choose a conv_min_gru that has one")
    test = {name: record.config["test"][name] for name in ("seed", "height", "width")}
    settings = SyntheticSettings(**(looks_of(record) | test))
    pairs = SyntheticPairs(settings, length=given.pairs)
    said = circumstances(device, row=given.row, seed=given.seed, pairs=given.pairs)
    columns = ["where", "in refinement", "mean A", *(f"from {distance} away or more" for distance in DISTANCES)]
    gates = Table("What the gates let through", said, columns, lines=given.json)
    for row in gate_rows(network, pairs):
        gates.add(*row)
    columns = ["carried within blocks of", *(f"{measure}, {count} refinements" for measure, count in MEASURES)]
    cut = Table("The error where the scan is cut", said, columns, lines=given.json)
    counts = tuple(sorted({count for _, count in MEASURES}))
    for block in BLOCKS:
        with scans(lambda decay, routes, block=block: in_blocks(decay, routes, block) if block else decay):
            errors = measure_errors(network, pairs, counts, "sintel")
        cut.add("any size" if block is None else str(block), *(errors.get(each) for each in MEASURES))


if __name__ == "__main__":
    main()
