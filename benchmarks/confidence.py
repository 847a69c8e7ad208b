"""How well a model knows where its flow is wrong: AUSE and calibration on held-out generated pairs.

python benchmarks/confidence.py [--model default] [--pairs 16] [--height 440] [--width 1024]

The pairs have a seed that neither training nor its validation used; their photographs may be those of the training. The
rows: the model on the way that its card says, the same without polish, and the network alone after 12 refinements from
zero. AUSE is 0 for a perfect order and about 0.5 for a random one. Calibration reads the confidence as the probability of an
error of at most 1 px, and compares it in ten bins with how often the error is so small, as `flowgru evaluate --trust` does.
"""

from dataclasses import replace

import torch
from reporting import HELD_OUT_SEED, arguments, begin, circumstances, parsed

from flowgru.benchmarking.timing import Table
from flowgru.config import SyntheticSettings
from flowgru.config.way import Way, resolve_way
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.evaluation.trust import calibration, sparsification_error
from flowgru.grid import lengths
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
    settings = SyntheticSettings(height=given.height, width=given.width, seed=HELD_OUT_SEED, photos="skimage")
    pairs = SyntheticPairs(settings, length=given.pairs)
    said = circumstances(device, model=given.model, pairs=given.pairs, size=f"{given.height}x{given.width} px")
    columns = ["way", "EPE, px", "AUSE", "calibration error", "confidence", "within 1 px", "share of the pixels"]
    table = Table("What a model knows of its error", said, columns, lines=given.json)
    way = resolve_way(network.card)
    for each in dict.fromkeys((way, replace(way, polish=False), Way(12))):
        matcher = PairMatcher(network, MatchSettings(each, confidence=True))
        errors, sure = [], []
        for pair in pairs:
            found = matcher.match(pair.first[None], pair.second[None])
            assert found.confidence is not None
            errors.append(lengths(found.forward.cpu() - pair.flow).flatten())
            sure.append(found.confidence.cpu().flatten())
        error, confidence = torch.cat(errors), torch.cat(sure)
        calibration_error, bins = calibration(confidence, error, stated=True)
        ause = sparsification_error(error, confidence)
        table.add(str(each), error.mean().item(), ause, calibration_error, "all", None, 1.0)
        for one in bins[::-1]:
            table.add(str(each), None, None, None, one.value, one.within, one.share)


if __name__ == "__main__":
    main()
