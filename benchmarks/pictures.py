"""One picture of several flows of generated pairs, a column for each pair, with a scale of its own for the colours.

python benchmarks/pictures.py --output results/default_way.jpg [--before OLD.safetensors] [--indices 1 4 9]

From above: the first frame; the exact flow; DIS; the network of --before alone, 24 refinements from zero; the model on
the way that its card says. The pairs have a seed that neither training nor its validation used.
"""

from pathlib import Path

import numpy as np
import torch
from reporting import HELD_OUT_SEED, alone, arguments, begin, circumstances, parsed

from flowgru import estimate_flow
from flowgru.benchmarking.timing import Table
from flowgru.config import SyntheticSettings
from flowgru.data.classical import dis_flow
from flowgru.data.formats.images import to_levels, write_image
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.model.weight_files.loading import load_model
from flowgru.view.colour_wheel import suggest_max_flow
from flowgru.view.panels import flow_sheet


def as_array(flow: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(flow.permute(1, 2, 0).cpu().numpy())


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="default")
    parser.add_argument("--before", default="default", help="a file of weights, or default")
    parser.add_argument("--indices", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--width", type=int, default=320)
    given = parsed(parser)
    device = begin(given)
    model, before = load_model(given.model, device), load_model(given.before, device)
    settings = SyntheticSettings(height=given.height, width=given.width, seed=HELD_OUT_SEED, speed=(4.0, 16.0))
    said = circumstances(
        device, model=given.model, before=given.before, unit="px", size=f"{given.height}x{given.width}"
    )
    table = Table("Mean error of the flows", said, ["pair", "DIS", "before", "model"], lines=given.json)
    columns = []
    for pair in (SyntheticPairs(settings)[index] for index in given.indices):
        frames, pictures = [pair.first, pair.second], (to_levels(pair.first), to_levels(pair.second))
        (earlier,) = estimate_flow(frames, before, **alone(24))
        (found,) = estimate_flow(frames, model)
        truth = as_array(pair.flow)
        flows = {"DIS": dis_flow(*pictures), "before": as_array(earlier), "model": as_array(found)}
        table.add(pair.name, *(float(np.linalg.norm(flow - truth, axis=2).mean()) for flow in flows.values()))
        scale = suggest_max_flow([truth])
        columns.append(flow_sheet(pictures[0], [truth, *flows.values()], max_flow=scale, columns=1))
    write_image(given.output, np.concatenate(columns, axis=1), overwrite=True)


if __name__ == "__main__":
    main()
