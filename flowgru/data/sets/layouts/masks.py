"""What the masks of a pair say, as most sets keep them: black-and-white pictures."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from flowgru.data.formats.masks import white_pixels
from flowgru.data.sets.layouts.pairing import PairFiles


class Masks(NamedTuple):
    """The masks of a pair; None where the set has no such mask."""

    invalid: Bool[np.ndarray, "H W"] | None
    """Where the flow is not to be judged."""
    occlusion: Bool[np.ndarray, "H W"] | None
    """Where the first picture's pixel is not seen in the second."""


def picture_masks(files: PairFiles) -> Masks:
    """Masks that are pictures: true where they are white. InputFileError as of white_pixels."""
    return Masks(*(None if path is None else white_pixels(path) for path in (files.invalid, files.occlusion)))
