"""What a model's card says of it: held-out generated pairs at several refinements, still pairs, and real pairs.

python benchmarks/default_model.py [--model default] [--root datasets] [--pairs 16]

Generated pairs have a seed that neither training nor its validation used. Still pairs are frames against themselves,
against themselves with independent noise of 2/255, and frames of one colour. Real pairs are scored where they are found
under --root.
"""

import torch
from reporting import add_root, arguments, begin, circumstances, parsed
from torch import Tensor

from flowgru.benchmarking.timing import Table
from flowgru.config import SyntheticSettings
from flowgru.config.way import Way
from flowgru.data.sets.opening import open_dataset
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import FlowgruError
from flowgru.evaluation.evaluate import evaluate, network_estimator
from flowgru.evaluation.metrics import endpoint_error
from flowgru.evaluation.validation import validate
from flowgru.model.weight_files.loading import load_model

ITERATIONS = (6, 12, 24, 32)
HELD_OUT = SyntheticSettings(height=440, width=1024, seed=2_000_003, speed=(0.5, 20.0))
REAL_SETS = ("middlebury", "sintel", "kitti2012", "chairs")


@torch.inference_mode()
def still_pairs(network, pairs: SyntheticPairs) -> dict[str, float]:
    """Mean length of the flow, in pixels, where nothing moves."""
    generator = torch.Generator().manual_seed(0)
    exact, noisy = [], []
    for pair in pairs:
        frame = pair.first[None]
        again = frame + 2 / 255 * torch.randn(frame.shape, generator=generator)
        for other, lengths in ((frame, exact), (again.clamp(0, 1), noisy)):
            lengths.append(mean_flow(network, frame, other))
    lengths = {"identical frames": sum(exact) / len(exact), "noise of 2/255": sum(noisy) / len(noisy)}
    for name, level in (("black", 0.0), ("grey", 0.5), ("white", 1.0)):
        frame = torch.full((1, 3, 240, 320), level)
        lengths[f"frames of one colour, {name}"] = mean_flow(network, frame, frame)
    return lengths


def mean_flow(network, first: Tensor, second: Tensor) -> float:
    """Mean length in pixels after 12 refinements from zero."""
    flow = network(first.to(network.device), second.to(network.device), iterations=12, final_only=True).flows[-1]
    return flow.norm(dim=1).mean().item()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="default")
    add_root(parser)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--skip-real", action="store_true", help="score generated pairs only, as for a candidate")
    given = parsed(parser)
    device = begin(given)
    network = load_model(given.model, device)
    said = circumstances(device, model=given.model, unit="px")
    table = Table("What a model's card says", said, ["measure", "pairs", "refinements", "px"], lines=given.json)
    held_out = SyntheticPairs(HELD_OUT, length=given.pairs)

    zero = [endpoint_error(0 * pair.flow[None], pair.flow[None], pair.valid[None]).item() for pair in held_out]
    table.add("epe_per_image of zero flow", "held-out, 440x1024", None, sum(zero) / len(zero))
    for count, error in validate(network, held_out, ITERATIONS, device).items():
        table.add("epe_per_image", "held-out, 440x1024", count, error)
    for name, length in still_pairs(network, SyntheticPairs(HELD_OUT, length=8)).items():
        table.add("mean flow", name, 12, length)
    for name in () if given.skip_real else REAL_SETS:
        try:
            pairs = open_dataset(name, given.root)
        except FlowgruError as error:
            print(f"{name}: not scored, {error}")
            continue
        error = evaluate(network_estimator(network, Way(24)), pairs).metrics["epe_per_image"]
        table.add("epe_per_image", name, 24, error)


if __name__ == "__main__":
    main()
