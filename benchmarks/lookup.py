"""Milliseconds of the correlation alone, made and looked up, by its two methods; interleaved, and equal before timed.

python benchmarks/lookup.py [--sizes 440x1024 1088x1920] [--channels 256] [--device cpu] [--threads 2] [--rounds 9]
    [--limit-gib 8]

Random features, 4 levels of radius 4, RAFT-large's. How things move matters to the method on demand: windows of neighbours
overlap where the flow is smooth. all_pairs is left out where its pyramid would take more than the limit.
"""

import argparse
import math
import statistics

import torch
from reporting import arguments, begin, furthest, parsed, refuse, size_of
from torch import Tensor

from flowgru.benchmarking.timing import Table, conditions, interleaved_seconds, speed_ratio
from flowgru.grid import pixel_grid
from flowgru.layers.arithmetic import convolutions
from flowgru.model.correlation.all_pairs import pyramid_bytes
from flowgru.model.correlation.choice import Correlation, correlate

LEVELS, RADIUS = 4, 4
TOLERANCE = 1e-4
"""Largest difference between the methods; features are normal, and so are their correlations."""


def flows(height: int, width: int, device: torch.device) -> dict[str, Tensor]:
    """Kinds of motion [1, 2, h, w] in coarse pixels."""
    rows = torch.linspace(0, math.pi, height, device=device)[:, None]
    columns = torch.linspace(0, math.pi, width, device=device)
    smooth = torch.stack([2 * torch.sin(rows + columns), 2 * torch.cos(rows - columns)])[None]
    bending = torch.stack([4 * torch.sin(6 * rows + 9 * columns), 4 * torch.cos(7 * rows - 8 * columns)])[None]
    noise = 2.5 * torch.randn(1, 2, height, width, device=device)  # 20 px
    return {"zero": torch.zeros_like(smooth), "smooth": smooth, "bending": bending, "noise of 20 px": noise}


@torch.inference_mode()
def main() -> None:
    parser = arguments(__doc__, rounds=9)
    parser.add_argument("--sizes", nargs="+", default=["440x1024", "1088x1920"], help="HEIGHTxWIDTH in pixels")
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--limit-gib", type=float, default=8.0, help="what the pyramid of all pairs may take")
    given = parsed(parser)
    device = begin(given)
    said = conditions(
        device,
        size="by row",
        dtype="float32",
        iterations="one look-up",
        correlation="by row",
        rounds=given.rounds,
        warm_up="the check, and one round",
        clock=given.clock,
        channels=given.channels,
        check=f"on_demand gives what all_pairs gives to {TOLERANCE}, in features of unit variance",
    )
    columns = ["size", "flow", "all_pairs, ms", "on_demand, ms", "on_demand is times as fast (range)", "difference"]
    table = Table("The correlation", said, columns, lines=given.json)
    refuse([problem for size in given.sizes for problem in compare(size, given, device, table)])


def compare(size: str, given: argparse.Namespace, device: torch.device, table: Table) -> list[str]:
    """The rows of one size. Returns what was wrong and not timed."""
    height, width = (-(-extent // 8) for extent in size_of(size))
    if pyramid_bytes(1, height, width, LEVELS) > given.limit_gib * 2**30:
        table.add(size, "all", "not run: over the limit", "not run: nothing to check it with", None, None)
        return []
    features = torch.randn(2, 1, given.channels, height, width, device=device)
    grid, problems = pixel_grid(height, width, like=features), []
    centres = {kind: grid + flow for kind, flow in flows(height, width, device).items()}
    with convolutions(tf32=False):
        made = {method: make(features, method) for method in ("all_pairs", "on_demand")}
        differences = {kind: furthest(*(one.lookup(at) for one in made.values())) for kind, at in centres.items()}
    making = {method: lambda method=method: make(features, method) for method in made}
    row(table, size, "(making it)", interleaved_seconds(making, given.rounds, device, clock=given.clock), None)
    for kind, at in centres.items():
        if differences[kind] > TOLERANCE:
            problems.append(f"{size}, {kind}: the methods differ by {differences[kind]:.1e}")
            continue
        looking = {method: lambda one=one, at=at: one.lookup(at) for method, one in made.items()}
        row(table, size, kind, interleaved_seconds(looking, given.rounds, device, clock=given.clock), differences[kind])
    return problems


def make(features: Tensor, method: str) -> Correlation:
    return correlate(*features, levels=LEVELS, radius=RADIUS, method=method)  # pyright: ignore[reportArgumentType]


def row(table: Table, size: str, kind: str, times: dict[str, list[float]], difference: float | None) -> None:
    medians = [1000 * statistics.median(times[method]) for method in ("all_pairs", "on_demand")]
    table.add(size, kind, *medians, speed_ratio(times["all_pairs"], times["on_demand"]), difference)


if __name__ == "__main__":
    main()
