"""Writes the pictures of the pages, from the sample clip and its exact flow: python docs/make_pictures.py"""

from pathlib import Path

import numpy as np
from PIL import Image

from flowgru import colour_wheel_legend, draw_arrows, flow_to_image, read_flow, warp
from flowgru.data.formats.images import read_image

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "datasets/sample"
GAP = 8
"""White pixels between two pictures."""
WIDTH = 720
"""Largest width and height of a picture in pixels: the pages stay small."""


def beside(*pictures: np.ndarray, axis: int) -> np.ndarray:
    """Pictures of one size in a row (axis 1) or in a column (axis 0)."""
    shape = list(pictures[0].shape)
    shape[axis] = GAP
    parts = [part for picture in pictures for part in (picture, np.full(shape, 255, np.uint8))]
    return np.concatenate(parts[:-1], axis=axis)


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The mean difference of the colours, twice as bright, as a grey picture."""
    mean = np.abs(one.astype(int) - other).mean(axis=2, keepdims=True)
    return np.clip(2 * mean, 0, 255).astype(np.uint8).repeat(3, axis=2)


def main(folder: Path = ROOT / "docs/pictures") -> None:
    first, second = (read_image(SAMPLE / f"frames/frame_000{number}.png") for number in (1, 2))
    flow = read_flow(SAMPLE / "flow/frame_0001.png").flow
    longest = float(np.percentile(np.linalg.norm(flow, axis=2), 99))
    colours = flow_to_image(flow, longest)
    legend = colour_wheel_legend(longest)
    colours[-len(legend) :, -legend.shape[1] :] = legend
    back, valid = warp(second, flow)
    wrong = warp(first, flow).picture
    right_difference = difference(back, first) * valid[:, :, None]
    wrong_difference = difference(wrong, first) * valid[:, :, None]
    sheets = {
        "direction.jpg": beside(draw_arrows(first, flow, spacing=24), colours, axis=1),
        "warping.jpg": beside(beside(first, back, axis=1), beside(right_difference, wrong_difference, axis=1), axis=0),
    }
    for name, sheet in sheets.items():
        picture = Image.fromarray(sheet)
        picture.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
        picture.save(folder / name, quality=80)


if __name__ == "__main__":
    main()
