"""A hidden state over time: minGRU (Feng et al. 2024, "Were RNNs All We Needed?", arXiv 2410.01201) from pair to pair."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flowgru.errors import RequestError
from flowgru.layers import Conv2d
from flowgru.operators.base import squash
from flowgru.operators.min_cells import MinGRUCell
from flowgru.operators.spatial_scan import starting_logits
from flowgru.scan import linear_scan
from flowgru.types import Features

LONGEST_MEMORY = 8.0
"""Pairs over which the most lasting channel of a new memory carries a value, in the mean; the least lasting: over one."""


class TemporalMemory(nn.Module):
    """A convolutional minGRU over the pairs of a clip, which adds to the hidden state with which each refinement begins.

    With x_t the squashed output of the context encoder for the first frame of pair t, 3x3 convolutions W and V, and sigma
    the logistic function:

        [z | c] = W x_t        m_t = (1 - sigma(z)) m_(t-1) + sigma(z) tanh(c)        hidden_t = context_t + V m_t

    m before the first pair is 0. The gates read the input alone, so they are known before any m is: the memories of a whole
    clip are one scan over time, and one pair after the other is the same recurrence. V starts at 0, so that a network to
    which a memory is added begins as the network that it was. m_t stays where it is in the picture: it is not carried along
    by the flow, which would have to be known before the scan.
    """

    def __init__(self, hidden_size: int, context_size: int) -> None:
        super().__init__()
        self.cell = MinGRUCell(hidden_size, hidden_size, context_size, (3, 3))
        self.to_hidden = Conv2d(hidden_size, hidden_size, 3, padding=1, bias=False)
        bias = self.cell.gates.recurrent.bias
        assert bias is not None
        with torch.no_grad():
            bias[:hidden_size] = -starting_logits(LONGEST_MEMORY, hidden_size, "sigmoid", 1.0)
        nn.init.zeros_(self.to_hidden.weight)

    def forward(
        self,
        hidden: Features,
        context: Features,
        before: Float[Tensor, "clips _C _h _w"] | None,
        *,
        pairs_in_clip: int = 1,
    ) -> tuple[Features, Features]:
        """The hidden state that each pair begins with, and m of each pair.

        hidden and context are the raw output of the context encoder for a batch of pairs; `pairs_in_clip` neighbours are the
        pairs of one clip, in their order. before: m of the pair before each clip; None is 0. RequestError for another shape.
        """
        num_pairs, *shape = hidden.shape
        if num_pairs % pairs_in_clip:
            raise RequestError(
                f"pairs_in_clip is {pairs_in_clip} and the batch has {num_pairs} pairs: expected whole clips"
            )
        clips = num_pairs // pairs_in_clip, pairs_in_clip
        if before is not None and list(before.shape) != (expected := [clips[0], *shape]):
            raise RequestError(f"memory is {list(before.shape)}: expected {expected}, what the pair before has left")
        squashed_hidden, squashed_context = squash(hidden, context)
        recurrence = self.cell(squashed_hidden, self.cell.begin(squashed_context))
        decay, update = (values.unflatten(0, clips) for values in recurrence)
        memory = linear_scan(decay, update, before, dim=1).flatten(0, 1)
        return hidden + self.to_hidden(memory), memory
