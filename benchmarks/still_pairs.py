"""The flow where nothing moves, or where nothing can be seen to move: its mean length should be under 0.02 px.

python benchmarks/still_pairs.py [--model default]

Pairs: frames of one colour, a fade between two such frames, a white slide with black lines, a textured frame, and that
frame with independent noise of 2/255. Columns: the model on the way that its card says, the network alone after 12
refinements from zero, and DIS.
"""

from collections.abc import Iterator

import torch
from reporting import HELD_OUT_SEED, alone, arguments, begin, circumstances, parsed
from torch import Tensor

from flowgru import estimate_flow
from flowgru.benchmarking.timing import Table
from flowgru.config import SyntheticSettings
from flowgru.data.classical import dis_flow
from flowgru.data.formats.images import to_levels
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.model.weight_files.loading import load_model


def pairs() -> Iterator[tuple[str, Tensor, Tensor]]:
    """Names and both frames [3, H, W]."""
    for height, width in ((240, 320), (440, 1024), (64, 96)):
        for name, level in (("black", 0.0), ("grey", 0.5), ("white", 1.0)):
            frame = torch.full((3, height, width), level)
            yield f"{name}, {height}x{width}", frame, frame
    colours = torch.tensor([(0.2, 0.25, 0.3), (0.7, 0.6, 0.5)])
    dark, light = colours[..., None, None].expand(2, 3, 240, 320)
    yield "a fade between two colours", dark, light
    slide = torch.ones(3, 240, 320)
    slide[:, 40:200:20, 30:260] = 0
    slide[:, 30:210, 40:42] = 0
    yield "a white slide with black lines", slide, slide
    textured = SyntheticPairs(SyntheticSettings(height=240, width=320, seed=HELD_OUT_SEED))[0].first
    noise = 2 / 255 * torch.randn(textured.shape, generator=torch.Generator().manual_seed(0))
    yield "a textured frame", textured, textured
    yield "a textured frame, and with noise", textured, (textured + noise).clamp(0, 1)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="default")
    given = parsed(parser)
    device = begin(given)
    network = load_model(given.model, device)
    said = circumstances(device, model=given.model, unit="px, mean over the picture")
    table = Table("Flow where nothing moves", said, ["pair", "default way", "network alone", "DIS"], lines=given.json)
    for name, first, second in pairs():
        flows = [*estimate_flow([first, second], network), *estimate_flow([first, second], network, **alone(12))]
        flows.append(torch.from_numpy(dis_flow(to_levels(first), to_levels(second))).permute(2, 0, 1))
        table.add(name, *(flow.norm(dim=0).mean().item() for flow in flows))


if __name__ == "__main__":
    main()
