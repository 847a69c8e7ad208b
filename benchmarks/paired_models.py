"""Compares weights pair by pair on generated pairs: mean error, and the geometric mean of its ratio to the first model's.

python benchmarks/paired_models.py MODEL MODEL ... [--pairs 16] [--height 440] [--width 1024]

A mean over few pairs is decided by those whose motion is largest; the ratio counts every pair alike. The pairs have a seed
that neither training nor its validation used. Each row is the network without gate and refinement of the flow: from DIS
after 3 held refinements, or alone from zero.
"""

import math
import statistics

import torch
from reporting import arguments, begin, circumstances, parsed

from flowgru.benchmarking.timing import Table
from flowgru.config import SyntheticSettings
from flowgru.data.sample import FlowSample
from flowgru.data.starts import dis_start
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.evaluation.metrics import endpoint_error
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.loading import load_model

WAYS = {"DIS, 3 held, 4": (4, 3), "DIS, 3 held, 6": (6, 3), "zero, 12": (12, None)}
"""Number of refinements and of held ones; None begins at zero."""


@torch.inference_mode()
def errors(network: FlowNetwork, pairs: list[FlowSample], iterations: int, hold: int | None) -> list[float]:
    """epe_per_image of each pair, in pixels."""
    found = []
    for pair in pairs:
        start = None if hold is None else pair.initial_flow
        prediction = network(
            pair.first[None],
            pair.second[None],
            iterations=iterations,
            hold=hold or 0,
            initial_flow=None if start is None else start[None],
            final_only=True,
        )
        found.append(endpoint_error(prediction.flows[-1], pair.flow[None], pair.valid[None]).item())
    return found


def with_dis(pair: FlowSample) -> FlowSample:
    return pair._replace(initial_flow=dis_start(pair.first, pair.second))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--height", type=int, default=440)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--varied", action="store_true", help="with fog, motion blur, plain areas, wires and patterns")
    given = parsed(parser)
    device = begin(given)
    settings = SyntheticSettings(height=given.height, width=given.width, seed=2_000_003, photos="skimage")
    if given.varied:
        settings = SyntheticSettings(
            **{**vars(settings), "motion_blur": 0.1, "fog": 0.1, "plain": 0.08, "thin": 0.1, "patterns": 0.25}
        )
    pairs = [with_dis(pair) for pair in SyntheticPairs(settings, length=given.pairs)]
    said = circumstances(device, pairs=given.pairs, size=f"{given.height}x{given.width} px", varied=given.varied)
    columns = ["model", "from", "mean, px", "median, px", "ratio", "better pairs"]
    table = Table("Weights, pair by pair", said, columns, lines=given.json)
    firsts: dict[str, list[float]] = {}
    for model in given.models:
        network = load_model(model, device)
        for way, (iterations, hold) in WAYS.items():
            found = errors(network, pairs, iterations, hold)
            first = firsts.setdefault(way, found)
            ratio = math.exp(
                statistics.fmean(math.log(ours / theirs) for ours, theirs in zip(found, first, strict=True))
            )
            better = sum(ours < theirs for ours, theirs in zip(found, first, strict=True))
            table.add(model, way, statistics.fmean(found), statistics.median(found), ratio, better)


if __name__ == "__main__":
    main()
