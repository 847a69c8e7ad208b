"""How much of each refinement counts: next to nothing where a pair has next to no texture, and matches are noise."""

import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.types import Features

Gate = Float[Tensor, "B 1 1 1"]
"""Which part of each change of the flow counts, in [0, 1], for each pair."""

LITTLE_TEXTURE = 1e-5
"""What texture_of says of a pair each of whose refinements moves the flow half as far as it would.

Rounding makes it 1e-11 of frames of one colour, with a texture_floor of 0.05; one small thing on a large wall 1e-3 and more.
"""


def texture_of(features: Features) -> Float[Tensor, "B 1 1 1"]:
    """How much texture a frame has, from what MatchNorm gives of it: 0 for one colour, nearly 1 for texture everywhere."""
    return features.square().mean(dim=(1, 2, 3), keepdim=True)


def texture_gate(first: Features, second: Features) -> Gate:
    """The gate of a pair, from what MatchNorm gives of both frames."""
    texture = torch.minimum(texture_of(first), texture_of(second))
    return texture / (texture + LITTLE_TEXTURE)
