"""Where the error of a model is: by motion, hidden pixels, motion boundaries and texture, and in which pairs.

python benchmarks/limits.py [--model default] [--pairs 16] [--height 440] [--width 1024] [--varied] [--worst 5]

Generated pairs, those of paired_models.py, say of each pixel how it moves and whether it is hidden in the second picture.
Each row is a part of all pixels: its share of them, its mean end-point error, and its share of the sum of all errors. Parts
may overlap. A motion boundary is where the true flow of two neighbours differs by more than 1 px; a pixel counts as beside
it up to 8 px away. Texture is the standard deviation of the grey levels of 9x9 pixels. The second table names the pairs
with the largest errors.
"""

import cv2
import numpy as np
import torch
from paired_models import add_pairs, held_out_pairs, pair_options
from reporting import arguments, begin, circumstances, parsed
from torch import Tensor

from flowgru.benchmarking.timing import Table
from flowgru.config.way import Way, resolve_way
from flowgru.data.classical import grey_levels
from flowgru.data.formats.images import to_levels
from flowgru.data.sample import FlowSample
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.grid import lengths
from flowgru.model.weight_files.loading import load_model

BESIDE = 8
"""Pixels to each side of a motion boundary that are counted to it."""
WINDOW = 9
FAINT = 2.0
"""Standard deviation of the grey levels, of 255, below which a window has next to no texture."""
HIDDEN, PLAIN = "hidden in the second picture", "seen, elsewhere, without texture"


def beside_a_boundary(flow: Tensor) -> np.ndarray:
    """The pixels [H, W] that lie beside a motion boundary of a flow [2, H, W]."""
    array = flow.permute(1, 2, 0).numpy()
    edge = np.zeros(array.shape[:2], np.uint8)
    edge[:, 1:] |= np.linalg.norm(np.diff(array, axis=1), axis=2) > 1
    edge[1:] |= np.linalg.norm(np.diff(array, axis=0), axis=2) > 1
    return cv2.dilate(edge, np.ones((2 * BESIDE + 1,) * 2, np.uint8)) > 0


def has_texture(picture: Tensor) -> np.ndarray:
    """The pixels [H, W] of a picture [3, H, W] around which the grey levels differ."""
    grey = grey_levels(to_levels(picture)).astype(np.float32)
    mean, square = (cv2.blur(each, (WINDOW, WINDOW)) for each in (grey, grey * grey))
    return square - mean * mean >= FAINT**2


def parts_of(pair: FlowSample) -> dict[str, np.ndarray]:
    """Masks [H, W] of a pair's pixels."""
    assert pair.occlusion is not None
    motion, hidden = lengths(pair.flow).numpy(), pair.occlusion.numpy()
    beside, texture = beside_a_boundary(pair.flow), has_texture(pair.first)
    plain = ~hidden & ~beside
    return {
        "all": np.ones_like(hidden),
        "true flow below 10 px": motion < 10,
        "10 to 40 px": (motion >= 10) & (motion < 40),
        "40 px or more": motion >= 40,
        HIDDEN: hidden,
        "seen, beside a motion boundary": ~hidden & beside,
        "seen, elsewhere, with texture": plain & texture,
        PLAIN: plain & ~texture,
    }


@torch.inference_mode()
def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="default")
    add_pairs(parser)
    parser.add_argument("--worst", type=int, default=5, help="how many pairs the second table names for each way")
    given = parsed(parser)
    device = begin(given)
    network, pairs = load_model(given.model, device), held_out_pairs(given)
    said = circumstances(device, model=given.model, **pair_options(given))
    masks = [parts_of(pair) for pair in pairs]
    ways = dict.fromkeys((resolve_way(network.card), Way(12)))
    errors: dict[Way, list[np.ndarray]] = {}
    for way in ways:
        matcher = PairMatcher(network, MatchSettings(way))
        found = (matcher.match(pair.first[None], pair.second[None]).forward.cpu() - pair.flow for pair in pairs)
        errors[way] = [lengths(each).numpy() for each in found]
    columns = ["way", "part", "share of the pixels", "mean error, px", "share of the errors"]
    table = Table("Where the error is", said, columns, lines=given.json)
    for way, found in errors.items():
        total = sum(each.sum() for each in found)
        for part in masks[0]:
            inside = np.concatenate([each[mask[part]] for each, mask in zip(found, masks, strict=True)])
            share = inside.size / sum(each.size for each in found)
            error = float(inside.mean()) if inside.size else None
            table.add(str(way), part, share, error, float(inside.sum() / total))
    columns = ["way", "pair", "mean error, px", "share of the errors", "mean motion, px", "hidden", "without texture"]
    table = Table("The pairs with the largest errors", said, columns, lines=given.json)
    for way, found in errors.items():
        means = np.array([each.mean() for each in found])
        for index in np.argsort(-means)[: given.worst].tolist():
            pair, mask = pairs[index], masks[index]
            error, motion = float(means[index]), lengths(pair.flow).mean().item()
            hidden, plain = (float(mask[part].mean()) for part in (HIDDEN, PLAIN))
            table.add(str(way), index, error, error / float(means.sum()), motion, hidden, plain)


if __name__ == "__main__":
    main()
