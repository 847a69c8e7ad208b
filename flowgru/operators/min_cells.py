"""The cells of "Were RNNs All We Needed?" (Feng et al. 2024, arXiv 2410.01201), with convolutions for products.

Their gates never see the hidden state, so each moment is h' = decay * h + update with both numbers known beforehand, and
`flowgru.scan.linear_scan` solves a whole sequence at once. One moment at a time is the same line of arithmetic.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowgru.operators.base import SplitConv, tanh
from flowgru.types import Features


class Recurrence(NamedTuple):
    """h' = decay * h + update, in every channel and pixel for itself."""

    decay: Features
    update: Features


class MinState(NamedTuple):
    """The hidden state, and the context's share of the gates, which never changes."""

    hidden: Features
    context_terms: Features


class MinGRUCell(nn.Module):
    """minGRU (section 3.1): with x the input followed by the context, sigma the logistic function,

        [z | c] = W x + b        h' = (1 - sigma(z)) h + sigma(z) phi(c)

    z is the share of the new value. phi is tanh, so that |h| never grows beyond 1 (in the rounded arithmetic too: the
    decay is 1 - sigma(z) as a difference). With `positive` it is `g`, as published for log space, and unbounded.
    """

    num_gates = 1
    """Maps of gates before the candidate's."""

    def __init__(
        self,
        hidden_size: int,
        input_size: int,
        context_size: int,
        kernel_size: tuple[int, int],
        *,
        positive: bool = False,
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.positive = positive
        self.gates = SplitConv(input_size, context_size, (self.num_gates + 1) * hidden_size, kernel_size)

    @staticmethod
    def logit(gates: Tensor) -> Tensor:
        """What the new value's share is the sigmoid of, from the gates' maps [B, num_gates C, h, w]."""
        return gates

    def begin(self, context: Features) -> Features:
        return self.gates.context(context)

    def forward(self, inputs: Features, context_terms: Features) -> Recurrence:
        """(decay, update) of the moments in the batch; context_terms is what `begin` gave for each of them."""
        logit, candidate = self._logit_and_candidate(inputs, context_terms)
        update_gate = torch.sigmoid(logit)
        return Recurrence(1 - update_gate, update_gate * (g(candidate) if self.positive else tanh(candidate)))

    def log_space(self, inputs: Features, context_terms: Features) -> Recurrence:
        """The logarithms of a `positive` cell's (decay, update), as published (appendix B): never the logarithm of a
        rounded gate."""
        logit, candidate = self._logit_and_candidate(inputs, context_terms)
        return Recurrence(-F.softplus(logit), log_g(candidate) - F.softplus(-logit))

    def _logit_and_candidate(self, inputs: Features, context_terms: Features) -> tuple[Features, Features]:
        gates, candidate = self.gates(inputs, context_terms).split(
            [self.num_gates * self.hidden_size, self.hidden_size], 1
        )
        return self.logit(gates), candidate


class MinLSTMCell(MinGRUCell):
    """minLSTM (section 3.2), its two gates scaled to add up to 1:

        [f | i | c] = W x + b        F = sigma(f)    I = sigma(i)
        h' = F / (F + I) h + I / (F + I) phi(c)

    I / (F + I) = sigma(log I - log F) is how it is computed: no quotient of two numbers that both vanish.
    """

    num_gates = 2

    @staticmethod
    def logit(gates: Tensor) -> Tensor:
        forget, enter = gates.chunk(2, dim=1)
        return F.softplus(-forget) - F.softplus(-enter)


def g(values: Tensor) -> Tensor:
    """The published positive candidate: x + 0.5 from zero up, sigma(x) below it."""
    return torch.where(values >= 0, values + 0.5, torch.sigmoid(values))


def log_g(values: Tensor) -> Tensor:
    """The logarithm of `g`, without ever taking one of a number near zero."""
    return torch.where(values >= 0, torch.log(F.relu(values) + 0.5), -F.softplus(-values))
