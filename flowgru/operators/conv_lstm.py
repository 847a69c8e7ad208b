"""The convolutional LSTM."""

from typing import NamedTuple

import torch
from torch import nn

from flowgru.config.require import require
from flowgru.operators.base import SplitConv, UpdateOperator, squash, tanh
from flowgru.types import Features


class LSTMCell(nn.Module):
    """The LSTM with convolutions for products (Shi et al. 2015, arXiv 1506.04214, equation 3).

        [i, f, g, o] = W [h, x] + b                    c' = sigmoid(f) c + sigmoid(i) tanh(g)
                                                       h' = sigmoid(o) tanh(c')
        peephole:  i += w_i * c, f += w_f * c before the cell state changes; o += w_o * c' after it
        coupled:   f is left out, and sigmoid(f) = 1 - sigmoid(i)

    The input x is the motion features followed by the context. Without options it is torch.nn.LSTMCell, whose two biases
    are one here. Shi et al. give every pixel its own peephole weights; here each channel has one, because pictures come
    in all sizes. Coupled gates are the CIFG of Greff et al. 2017 (arXiv 1503.04069): the cell state is then a blend and
    stays within [-1, 1]. The forget gate starts open, with bias 1 (Jozefowicz et al. 2015).

    As a recurrent cell over time, `begin` is called once and the cell once for each moment.
    """

    def __init__(
        self,
        hidden_size: int,
        motion_size: int,
        context_size: int,
        kernel_size: tuple[int, int],
        *,
        peephole: bool = False,
        coupled: bool = False,
    ) -> None:
        super().__init__()
        require(isinstance(peephole, bool), "peephole", repr(peephole), "true or false")
        require(isinstance(coupled, bool), "coupled", repr(coupled), "true or false")
        self.num_gates = 3 if coupled else 4
        self.gates = SplitConv(hidden_size + motion_size, context_size, self.num_gates * hidden_size, kernel_size)
        self.peepholes = nn.Parameter(torch.zeros(self.num_gates - 1, hidden_size, 1, 1)) if peephole else None
        bias = self.gates.recurrent.bias
        assert bias is not None
        if not coupled:
            nn.init.ones_(bias[hidden_size : 2 * hidden_size])

    def begin(self, context: Features) -> Features:
        return self.gates.context(context)

    def forward(
        self, state: tuple[Features, Features], motion: Features, context_terms: Features
    ) -> tuple[Features, Features]:
        """(hidden, cell) after one moment, from those before it."""
        hidden, cell = state
        gates = self.gates(torch.cat([hidden, motion], dim=1), context_terms)
        *writing, candidate, output = gates.chunk(self.num_gates, dim=1)
        peepholes = self.peepholes.to(cell.dtype) if self.peepholes is not None else None
        if peepholes is not None:
            writing = [gate + weight * cell for gate, weight in zip(writing, peepholes[:-1], strict=True)]
        enter, *forget = (torch.sigmoid(gate) for gate in writing)
        candidate = tanh(candidate)
        cell = forget[0] * cell + enter * candidate if forget else torch.lerp(cell, candidate, enter)
        if peepholes is not None:
            output = output + peepholes[-1] * cell
        return torch.sigmoid(output) * torch.tanh(cell), cell


class LSTMState(NamedTuple):
    """The hidden state, the cell state, and the context's share of the gates, which never changes."""

    hidden: Features
    cell: Features
    context_terms: Features


class ConvLSTM(UpdateOperator[LSTMState]):
    """One 3x3 LSTM cell: a step reaches one coarse pixel far.

    Hidden and cell state both begin as tanh of what the context encoder gives. h is made anew of c in every step, so
    from a cell state of zero what the encoder said would be gone after the first step; and tanh puts c where all that is
    written to it later lies, so that no cell is saturated before anything was looked up.

    peephole lets the gates read the cell state, coupled makes the forget gate 1 minus the input gate (see LSTMCell).
    """

    def __init__(
        self,
        hidden_size: int,
        motion_size: int,
        context_size: int,
        *,
        peephole: bool = False,
        coupled: bool = False,
    ) -> None:
        super().__init__(hidden_size, motion_size, context_size)
        self.cell = LSTMCell(hidden_size, motion_size, context_size, (3, 3), peephole=peephole, coupled=coupled)

    def begin(self, hidden: Features, context: Features) -> LSTMState:
        hidden, context = squash(hidden, context)
        # Two tensors from the start: a compiled step would be compiled anew once they are.
        return LSTMState(hidden, hidden.clone(), self.cell.begin(context))

    def step(self, motion: Features, state: LSTMState) -> tuple[Features, LSTMState]:
        hidden, cell = self.cell((state.hidden, state.cell), motion, state.context_terms)
        return hidden, LSTMState(hidden, cell, state.context_terms)
