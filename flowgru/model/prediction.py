"""What a network gives: a frame encoded, and the flow of a pair."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from flowgru.grid import Padding
from flowgru.types import CoarseFlow, Features, Flow


class EncodedFrame(NamedTuple):
    """All that is computed of one frame alone, so that a video computes it once."""

    features: Features
    """What is matched."""
    context: Features | None
    """What starts the hidden state and guides it; None for a frame that is only ever the second of a pair."""
    padding: Padding
    """What was added to the frame's sides."""

    @property
    def picture_shape(self) -> list[int]:
        """[B, 3, H, W] of the frame that was encoded."""
        batch, _, height, width = self.features.shape
        left, right, top, bottom = self.padding
        return [batch, 3, 8 * height - top - bottom, 8 * width - left - right]


class FlowPrediction(NamedTuple):
    """The flow from the first to the second picture."""

    flows: tuple[Flow, ...]
    """After each refinement, or after the last one only."""
    coarse: CoarseFlow
    """The last flow before upsampling, over the padded picture: where the next pair of a video can start."""
    confidence: Float[Tensor, "B H W"] | None = None
    """In [0, 1]: the share of the narrow distribution (1 px) in the error's; None for a network that does not say."""
    mixtures: tuple[Float[Tensor, "B 3 H W"], ...] = ()
    """For each of the flows, what MixtureHead says of its error, at the picture's size; empty without one."""
    num_refinements: int = 0
    """How many there were, without those that only settled."""
