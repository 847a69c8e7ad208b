"""What half precision changes: the error of each pair in 32 bits and under autocast, and how far the flows are apart.

python benchmarks/precision.py [--models default raft_large] [--sets middlebury sintel kitti2012 chairs]
    [--root datasets] [--iterations 12] [--precisions bf16] [--device cpu]

Real pairs, as they are found under --root. EPE in px over the pixels whose flow is known. Under autocast the encoders,
the gates and the heads compute in sixteen bits, the correlation is summed and the flow added up in 32.
"""

import statistics

import numpy as np
import torch
from reporting import add_sets, arguments, begin, circumstances, opened, parsed

from flowgru.benchmarking.timing import Cell, Table
from flowgru.data.sample import FlowSample
from flowgru.data.sets.layouts import padding_mode
from flowgru.evaluation.metrics import endpoint_error
from flowgru.files.names import shortest_names
from flowgru.grid import PaddingMode
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.loading import load_model
from flowgru.types import Flow

TYPES = {"bf16": torch.bfloat16, "16": torch.float16}
COLUMNS = (
    "model",
    "set",
    "pairs",
    "precision",
    "EPE per image in 32 bits",
    "EPE per image",
    "difference",
    "worst pair",
    "flows apart, mean",
    "flows apart, 99 %",
)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--models", nargs="+", default=["default"])
    add_sets(parser)
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--precisions", nargs="+", default=["bf16"], choices=TYPES)
    given = parsed(parser)
    device = begin(given)
    said = circumstances(device, refinements=given.iterations, unit="px, means over pairs")
    table = Table("Half precision", said, COLUMNS, lines=given.json)
    for label, model in zip(shortest_names(given.models), given.models, strict=True):
        network = load_model(model, device)
        for name, dataset in opened(given.sets, given.root):
            pairs = [dataset[index] for index in range(len(dataset))]
            for precision in given.precisions:
                found = compare(network, pairs, precision, given.iterations, padding_mode(name))
                table.add(label, name, len(pairs), precision, *found)


@torch.inference_mode()
def compare(
    network: FlowNetwork, pairs: list[FlowSample], precision: str, iterations: int, padding: PaddingMode
) -> list[Cell]:
    """The rest of a row."""
    full, half, gaps = [], [], []
    for pair in pairs:
        flows = [estimate(network, pair, each, iterations, padding) for each in ("32", precision)]
        errors = [endpoint_error(flow, pair.flow[None], pair.valid[None]).item() for flow in flows]
        full.append(errors[0])
        half.append(errors[1])
        gap = (flows[1] - flows[0]).norm(dim=1).flatten().numpy()
        gaps.append((float(gap.mean()), float(np.quantile(gap, 0.99))))
    worst = max((b - a for a, b in zip(full, half, strict=True)), key=abs)
    means = [statistics.fmean(values) for values in (full, half, *zip(*gaps, strict=True))]
    return [*means[:2], means[1] - means[0], worst, *means[2:]]


def estimate(network: FlowNetwork, pair: FlowSample, precision: str, iterations: int, padding: PaddingMode) -> Flow:
    device = network.device
    with torch.autocast(device.type, dtype=TYPES.get(precision), enabled=precision != "32"):
        frames = pair.first[None].to(device), pair.second[None].to(device)
        return network(*frames, iterations=iterations, final_only=True, padding=padding).flows[-1].float().cpu()


if __name__ == "__main__":
    main()
