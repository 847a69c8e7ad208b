"""One picture of several flows of generated pairs, a column for each pair, all in the colours of one scale.

    python benchmarks/pictures.py --output results/default_way.png [--before OLD.safetensors] [--indices 1 4 9]

From above: the first frame; the exact flow; DIS; the network of --before alone, 24 refinements from zero; the model on
the way that its card says. The pairs have a seed that neither training nor its validation used.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from flowgru import estimate_flow
from flowgru.config import SyntheticSettings
from flowgru.data.classical import dis_flow
from flowgru.data.formats.images import to_levels, write_image
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.model.weight_files.loading import load_model
from flowgru.view.colour_wheel import suggest_max_flow
from flowgru.view.panels import flow_sheet


def as_array(flow: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(flow.permute(1, 2, 0).numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="default")
    parser.add_argument("--before", default="default", help="a file of weights, or default")
    parser.add_argument("--indices", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--width", type=int, default=320)
    given = parser.parse_args()
    model, before = load_model(given.model, "cpu"), load_model(given.before, "cpu")
    settings = SyntheticSettings(height=given.height, width=given.width, seed=2_000_003, speed=(4.0, 16.0))
    columns = []
    for pair in (SyntheticPairs(settings)[index] for index in given.indices):
        frames, pictures = [pair.first, pair.second], (to_levels(pair.first), to_levels(pair.second))
        (alone,) = estimate_flow(frames, before, iterations=24, initial_flow="zero", hold=0, polish=False)
        (found,) = estimate_flow(frames, model)
        truth = as_array(pair.flow)
        flows = {"DIS": dis_flow(*pictures), "before": as_array(alone), "model": as_array(found)}
        errors = {name: np.linalg.norm(flow - truth, axis=2).mean() for name, flow in flows.items()}
        print(pair.name, *(f"{name} {error:.2f} px" for name, error in errors.items()), sep="   ")
        scale = suggest_max_flow([truth])
        columns.append(flow_sheet(pictures[0], [truth, *flows.values()], max_flow=scale, columns=1))
    write_image(given.output, np.concatenate(columns, axis=1), overwrite=True)


if __name__ == "__main__":
    main()
