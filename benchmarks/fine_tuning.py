"""Pairs for a fine-tuning: of a new kind, and of the kind that the default weights of version 0.1.0 were trained on.

python benchmarks/fine_tuning.py --output FOLDER [--pairs 200] [--held-out 32] [--size 256x320]

Writes generated pairs with their exact flow, and three lists of them, into the folder: my_pairs.csv (new, for training),
my_held_out_pairs.csv (new, held out) and old_held_out_pairs.csv (old, held out). The new kind is drawings: a background of
one colour that stands still, with nothing or some cut-outs on it, most of them of one colour too, and wires. The seeds are
those of no training. results/fine_tuning.md has the commands that train on these pairs and measure them, and what they gave.
"""

import argparse
from pathlib import Path

import torch
from reporting import parsed, size_of

from flowgru import write_flow
from flowgru.config import SyntheticSettings
from flowgru.data.formats.images import write_image
from flowgru.data.synthetic.pairs import SyntheticPairs

DRAWINGS = {"plain": 1.0, "thin": 0.2}
"""The settings in which the new kind differs; the training of the default weights of version 0.1.0 had neither."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder that receives pairs and lists")
    parser.add_argument("--pairs", type=int, default=200, help="new pairs for training")
    parser.add_argument("--held-out", type=int, default=32, help="held-out pairs of each kind")
    parser.add_argument("--size", default="256x320", help="of the pictures")
    parser.add_argument("--photos", default="skimage", help="what layers are painted with; empty: generated textures")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    given = parsed(parser)
    torch.set_num_threads(given.threads)
    height, width = size_of(given.size)
    # As in configs/synthetic_long.yaml, by which the default weights of version 0.1.0 were trained.
    old = {"height": height, "width": width, "photos": given.photos or None, "speed": (0.4, 60.0)}
    for name, settings, seed, count in (
        ("my_pairs", {**old, **DRAWINGS}, 3_000_017, given.pairs),
        ("my_held_out_pairs", {**old, **DRAWINGS}, 3_000_029, given.held_out),
        ("old_held_out_pairs", old, 3_000_047, given.held_out),
    ):
        write_pairs(given.output, name, SyntheticPairs(SyntheticSettings(**settings, seed=seed), length=count))


def write_pairs(output: Path, name: str, pairs: SyntheticPairs) -> None:
    """Writes pairs into a folder of their own, and their list beside it."""
    lines = ["first,second,flow"]
    for number, pair in enumerate(pairs):
        files = [f"{name}/{number:04d}_{part}" for part in ("first.png", "second.png", "flow.flo")]
        for file, picture in zip(files, (pair.first, pair.second), strict=False):
            levels = (picture * 255).round().to(torch.uint8).permute(1, 2, 0)
            write_image(output / file, levels.numpy(), overwrite=True)
        write_flow(output / files[2], pair.flow, overwrite=True)
        lines.append(",".join(files))
    (output / f"{name}.csv").write_text("\n".join(lines) + "\n")
    print(f"wrote {len(pairs)} pairs and {output / name}.csv")


if __name__ == "__main__":
    main()
