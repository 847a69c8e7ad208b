"""How right the occlusion mask of `flowgru estimate --backward` is: precision and recall on generated pairs.

python benchmarks/occlusion.py [--model default] [--pairs 8] [--height 440] [--width 1024]

The pairs have a seed that neither training nor its validation used, and say of each pixel whether it is hidden in the
other picture. Precision: of the pixels that the mask names, the share that is hidden; recall: of those that are hidden,
the share that the mask names; both over the pixels of all pairs. The rows: the model's own way, the network alone from
zero, and DIS.
"""

from collections.abc import Callable

import torch
from reporting import HELD_OUT_SEED, arguments, begin, circumstances, parsed
from torch import Tensor

from flowgru.benchmarking.timing import Table
from flowgru.config import SyntheticSettings
from flowgru.config.way import Way, resolve_way
from flowgru.data.classical import dis_flow
from flowgru.data.formats.images import to_levels
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.estimation.geometry import occlusion_mask
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.estimation.stream import StreamFrame, pair_flows
from flowgru.model.weight_files.loading import load_model

FlowsOfPair = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From both pictures [3, H, W] to the flows [2, H, W] forward and backward."""


def network_flows(network, way: Way) -> FlowsOfPair:
    def both(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        frames = [StreamFrame(picture[None], number) for number, picture in enumerate((first, second))]
        (found,) = pair_flows(frames, network, MatchSettings(way, backward=True))
        assert found.backward is not None
        return found.forward.cpu(), found.backward.cpu()

    return both


def dis_flows(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    pictures = to_levels(first), to_levels(second)
    forward, backward = dis_flow(*pictures), dis_flow(*pictures[::-1])
    return torch.from_numpy(forward).permute(2, 0, 1), torch.from_numpy(backward).permute(2, 0, 1)


def precision_and_recall(flows: FlowsOfPair, pairs: SyntheticPairs) -> tuple[float, float]:
    named = hidden = both = 0
    for pair in pairs:
        assert pair.occlusion is not None
        mask = occlusion_mask(*flows(pair.first, pair.second))
        named += int(mask.sum())
        hidden += int(pair.occlusion.sum())
        both += int((mask & pair.occlusion).sum())
    return both / max(named, 1), both / max(hidden, 1)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--height", type=int, default=440)
    parser.add_argument("--width", type=int, default=1024)
    given = parsed(parser)
    device = begin(given)
    network = load_model(given.model, device)
    settings = SyntheticSettings(height=given.height, width=given.width, seed=HELD_OUT_SEED, photos="skimage")
    pairs = SyntheticPairs(settings, length=given.pairs)
    rows = {
        "the model's way": network_flows(network, resolve_way(network.card)),
        "network alone, 24 refinements from zero": network_flows(network, Way(24)),
        "DIS": dis_flows,
    }
    said = circumstances(device, model=given.model, pairs=given.pairs, size=f"{given.height}x{given.width} px")
    table = Table("Occlusion masks", said, ["flow", "precision", "recall"], lines=given.json)
    for name, flows in rows.items():
        table.add(name, *precision_and_recall(flows, pairs))


if __name__ == "__main__":
    main()
