"""What the masks of a pair say, as most sets keep them: black-and-white pictures."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from flowgru.data.formats.images import read_image
from flowgru.data.sets.layouts.pairing import PairFiles
from flowgru.errors import InputFileError


class Masks(NamedTuple):
    """The masks of a pair; None where the set has no such mask."""

    invalid: Bool[np.ndarray, "H W"] | None
    """Where the flow is not to be judged."""
    occlusion: Bool[np.ndarray, "H W"] | None
    """Where the first picture's pixel is not seen in the second."""


def picture_masks(files: PairFiles) -> Masks:
    """Masks that are pictures: true where they are white. InputFileError where one is damaged."""
    return Masks(_white(files.invalid), _white(files.occlusion))


def _white(path: Path | None) -> Bool[np.ndarray, "H W"] | None:
    if path is None:
        return None
    levels = read_image(path)[..., 0]
    if levels.max() == 1:
        raise InputFileError(
            f"{path} has levels of 0 and 1: a mask is white (255) where it holds, so multiply it by 255"
        )
    return levels > 127
