"""What breaks the contract of update operators is found before anything is trained or timed with it."""

import pytest
import torch
from torch import nn

from flowgru.operators import make_operator
from flowgru.operators.base import UpdateOperator
from flowgru.operators.contract import broken_contract


class Sound(UpdateOperator[torch.Tensor]):
    """Keeps the contract; the others break it in one place."""

    def __init__(self) -> None:
        super().__init__(4, 3, 2)
        self.mix = nn.Conv2d(9, 4, 1)
        self.context: torch.Tensor

    def begin(self, hidden, context):
        self.context = context
        return hidden

    def step(self, motion, state):
        hidden = torch.tanh(self.mix(torch.cat([state, motion, self.context], 1)))
        return hidden, hidden


class WrongShape(Sound):
    def step(self, motion, state):
        hidden, state = super().step(motion, state)
        return hidden[..., 1:], state


class NotFinite(Sound):
    def step(self, motion, state):
        hidden, state = super().step(motion, state)
        return hidden / 0, state


class MixesBatch(Sound):
    def step(self, motion, state):
        hidden, state = super().step(motion, state)
        return hidden + hidden.mean(0, keepdim=True), state


class UnusedParameter(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.ones(3))


class NoGradient(Sound):
    def step(self, motion, state):
        return tuple(value.detach() for value in super().step(motion, state))


class Fails(Sound):
    def step(self, motion, state):
        return super().step(motion[:, 1:], state)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (WrongShape, "step 1 gives [2, 4, 5, 6]"),
        (NotFinite, "not finite"),
        (MixesBatch, "one picture of a batch"),
        (UnusedParameter, "idle"),
        (NoGradient, "no gradient"),
        (Fails, "its step fails"),
    ],
)
def test_an_operator_that_breaks_the_contract_is_found(kind, said):
    broken = broken_contract(kind())
    assert broken is not None and said in broken


def test_sound_operators_keep_the_contract():
    assert broken_contract(Sound()) is None
    for name in ("conv_gru", "conv_min_gru", "seq_conv_gru"):
        assert broken_contract(make_operator(name, 8, 6, 4)) is None
