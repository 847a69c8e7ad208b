"""How well a model knows where its flow is wrong: AUSE and calibration on held-out generated pairs.

python benchmarks/confidence.py [--model default] [--pairs 16] [--height 440] [--width 1024]

The pairs have a seed that neither training nor its validation used. The flow is the network's own after the refinements
in its card, from zero and from the flow of DIS. AUSE is 0 for a perfect order and about 0.5 for a random one. Calibration
compares the stated probability that a component of the flow is off by at most 1 px with how often it is, in ten bins.
"""

import torch
from reporting import arguments, begin, circumstances, parsed

from flowgru.benchmarking.timing import Table
from flowgru.config import SyntheticSettings
from flowgru.data.starts import dis_start
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.evaluation.trust import calibration_error, sparsification_error, within
from flowgru.model.weight_files.loading import load_model


@torch.inference_mode()
def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--height", type=int, default=440)
    parser.add_argument("--width", type=int, default=1024)
    given = parsed(parser)
    device = begin(given)
    network = load_model(given.model, device)
    if network.mixture_head is None:
        parser.error(f"the model {given.model} does not say how sure it is")
    iterations, hold = network.card.get("iterations", 12), network.card.get("hold", 3)
    settings = SyntheticSettings(height=given.height, width=given.width, seed=2_000_003, photos="skimage")
    pairs = SyntheticPairs(settings, length=given.pairs)
    said = circumstances(device, model=given.model, refinements=iterations, pairs=given.pairs)
    columns = [
        "from",
        "EPE, px",
        "AUSE",
        "calibration error",
        "stated probability",
        "within 1 px",
        "part of the values",
    ]
    table = Table("What a model knows of its error", said, columns, lines=given.json)
    for start in ("zero", "dis"):
        errors, sure, stated, close = [], [], [], []
        for pair in pairs:
            first = {} if start == "zero" else {"initial_flow": dis_start(pair.first, pair.second)[None], "hold": hold}
            frames = pair.first[None].to(device), pair.second[None].to(device)
            found = network(*frames, iterations=iterations, final_only=True, **first)
            difference = found.flows[-1][0] - pair.flow
            errors.append(difference.norm(dim=0).flatten())
            sure.append(found.confidence[0].flatten())
            stated.append(within(found.mixtures[-1], 1.0)[0].expand_as(difference).flatten())
            close.append((difference.abs() <= 1).flatten())
        ause = sparsification_error(torch.cat(errors), torch.cat(sure))
        error, bins = calibration_error(torch.cat(stated), torch.cat(close))
        table.add(start, torch.cat(errors).mean().item(), ause, error, "all", None, 1.0)
        for probability, share, part in bins:
            table.add(start, None, None, None, probability, share, part)


if __name__ == "__main__":
    main()
