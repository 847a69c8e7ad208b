"""One pair of pictures with its true flow: what every data set gives."""

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor


class FlowSample(NamedTuple):
    """A pair of pictures and how the first moves into the second."""

    first: Float[Tensor, "3 H W"]
    """RGB in [0, 1]."""

    second: Float[Tensor, "3 H W"]
    """RGB in [0, 1]."""

    flow: Float[Tensor, "2 H W"]
    """Displacement of the first picture's pixels (u right, v down) in pixels."""

    valid: Bool[Tensor, "H W"]
    """True where the flow is known."""

    occlusion: Bool[Tensor, "H W"] | None
    """True where a pixel of the first picture cannot be seen in the second; None when the data set does not say."""

    name: str
    """Where the pair comes from, unique within its data set."""

    initial_flow: Float[Tensor, "2 H W"] | None = None
    """Where the refinement of this pair begins, in pixels; None where the data set does not say."""
