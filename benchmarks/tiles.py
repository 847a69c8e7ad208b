"""How far the flow of overlapping tiles is from the flow of the whole picture, and both from the true flow.

python benchmarks/tiles.py [--model default] [--tiles 1x2 2x2] [--iterations 12] [--root datasets]

Generated pairs, whose seed no training uses, and those of Sintel's training set that are there.
The network alone refines from zero.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from reporting import HELD_OUT_SEED, add_root, alone, arguments, begin, circumstances, parsed, size_of
from torch import Tensor

from flowgru import estimate_flow, load_model
from flowgru.benchmarking.timing import Table
from flowgru.config import SyntheticSettings
from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.images import read_image, to_tensor
from flowgru.data.synthetic.pairs import SyntheticPairs


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--tiles", nargs="+", default=["1x2", "2x2"])
    parser.add_argument("--iterations", type=int, default=12)
    add_root(parser)
    given = parsed(parser)
    device = begin(given)
    model = load_model(given.model, device)
    way = alone(given.iterations)
    columns = ["pair", "longest true motion", "tiles", "from the whole's flow: mean / 99 %", "EPE whole", "EPE tiles"]
    said = circumstances(device, model=given.model, refinements=given.iterations, unit="px")
    table = Table("Flow of overlapping tiles", said, columns, lines=given.json)
    for name, first, second, truth in pairs(Path(given.root)):
        (whole,) = (flow.cpu() for flow in estimate_flow([first, second], model, **way))
        for tiles in given.tiles:
            (found,) = (flow.cpu() for flow in estimate_flow([first, second], model, **way, tiles=size_of(tiles)))
            gap = (found - whole).norm(dim=0).flatten()
            errors = [(flow - truth).norm(dim=0).mean().item() for flow in (whole, found)]
            apart = (gap.mean().item(), gap.quantile(0.99).item())
            table.add(name, truth.norm(dim=0).max().item(), tiles, apart, *errors)


def pairs(root: Path) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """Name, both pictures [3, H, W] and the true flow [2, H, W]."""
    generated = SyntheticPairs(SyntheticSettings(height=512, width=768, seed=HELD_OUT_SEED))
    for index in range(3):
        sample = generated[index]
        yield f"generated 512x768 #{index}", sample.first, sample.second, sample.flow
    for flow in sorted((root / "Sintel/training/flow").glob("*/*.flo")):
        first = root / "Sintel/training/final" / flow.parent.name / f"{flow.stem}.png"
        second = first.with_name(f"frame_{int(flow.stem[-4:]) + 1:04d}.png")
        truth = torch.from_numpy(read_flow(flow).flow).permute(2, 0, 1)
        yield f"Sintel final {flow.parent.name}", to_tensor(read_image(first)), to_tensor(read_image(second)), truth


if __name__ == "__main__":
    main()
