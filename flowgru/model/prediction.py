"""What a network gives, a frame encoded and the flow of a pair, and what it asks of a pair before it matches it."""

import math
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from flowgru.errors import RequestError, counted
from flowgru.grid import Padding, lengths
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
    """How sure the network is, in [0, 1]: the weight of the error's narrow distribution (1 px); None if it does not
    say, or nobody asks."""
    mixtures: tuple[Float[Tensor, "B 3 H W"], ...] = ()
    """One for each of the flows: what MixtureHead says of its error, at the picture's size; empty without
    one, and where nobody asks."""
    num_refinements: int = 0
    """How many there were, without the held ones and those without gradient."""
    memory: Features | None = None
    """What the next pair of the clip goes on with, for each pair, see TemporalMemory; None of a network without one."""


def update_length(update: CoarseFlow) -> float:
    """How far a refinement has moved the flow, in pixels of the picture: the mean over its area, the largest of a batch."""
    return 8 * lengths(update).flatten(1).mean(dim=1).max().item()


def check_counts(**counts: int) -> None:
    """RequestError for a number of refinements that cannot be."""
    for name, count in counts.items():
        least = 1 if name == "iterations" else 0
        if count < least:
            raise RequestError(f"{name} is {count}: at least {counted(least, 'refinement')} are needed")


def check_pair(first: EncodedFrame, second: EncodedFrame, stop_below: float | None) -> None:
    """RequestError for frames of two sizes, and for a length to stop below that is none."""
    if stop_below is not None and not 0 < stop_below < math.inf:
        raise RequestError(f"stop_below is {stop_below}: it must be above 0, in pixels")
    if first.picture_shape != second.picture_shape:
        raise RequestError(
            f"first is {first.picture_shape} and second {second.picture_shape}: both frames of a pair must have one size"
        )
    assert first.context is not None, "the first frame of a pair is encoded with its context"
