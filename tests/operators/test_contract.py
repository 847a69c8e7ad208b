"""What breaks the contract of update operators is found before anything is trained or timed with it."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from flowgru import load_model, save_model
from flowgru.config import NetworkConfig
from flowgru.errors import RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.operators import UPDATE_OPERATORS, make_operator
from flowgru.operators.base import UpdateOperator
from flowgru.operators.contract import broken_contract
from flowgru.operators.conv_gru import ConvGRU


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


class Dropout(Sound):
    def step(self, motion, state):
        return super().step(nn.functional.dropout(motion, 0.5, self.training), state)


class MixesBatchAndDrops(MixesBatch, Dropout):
    pass


class NormalisesBatchAndDrops(Dropout):
    def step(self, motion, state):
        hidden, state = super().step(motion, state)
        return (hidden - hidden.mean((0, 2, 3), keepdim=True) if self.training else hidden), state


class Fails(Sound):
    def step(self, motion, state):
        return super().step(motion[:, 1:], state)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (WrongShape, "step 1 gives [2, 4, 5, 6]"),
        (NotFinite, "not finite"),
        (MixesBatch, "one picture of a batch"),
        (MixesBatchAndDrops, "one picture of a batch"),
        (NormalisesBatchAndDrops, "one picture of a batch"),
        (UnusedParameter, "idle"),
        (NoGradient, "no gradient"),
        (Fails, "its step fails"),
    ],
)
def test_an_operator_that_breaks_the_contract_is_found(kind, said):
    broken = broken_contract(kind())
    assert broken is not None and said in broken


@pytest.mark.parametrize("kind", [Sound, Dropout])
def test_sound_operators_keep_the_contract(kind):
    assert broken_contract(kind()) is None
    for name in ("conv_gru", "conv_min_gru", "seq_conv_gru"):
        assert broken_contract(make_operator(name, 8, 6, 4)) is None


class Made(ConvGRU):
    """A sound operator whose making `change` changes."""

    change: Callable[[ConvGRU], object]

    def __init__(self, hidden_size, motion_size, context_size):
        super().__init__(hidden_size, motion_size, context_size)
        type(self).change(self)

    def begin(self, hidden, context):
        scale = getattr(self, "scale", 1)
        return super().begin(hidden * scale, context)


def made(change):
    """A kind of operators of its own for each change."""
    return type("Changed", (Made,), {"change": staticmethod(change)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda self: setattr(self, "module", nn.Identity()), "has a part named module"),
        (lambda self: self.register_buffer("mask", torch.ones(4, dtype=torch.bool)), "has a buffer mask in torch.bool"),
        (lambda self: torch.ones(4).sum().item(), "reads a tensor while it is made"),
    ],
)
def test_an_operator_that_no_file_of_weights_could_hold_is_refused(monkeypatch, change, said):
    monkeypatch.setitem(UPDATE_OPERATORS, "mine", made(change))
    with pytest.raises(RequestError, match=f"^mine {said}"), torch.device("meta"):
        FlowNetwork(NetworkConfig("compact", "mine"))


@pytest.mark.parametrize("persistent", [False, True])
def test_a_buffer_comes_back_from_a_file_whether_it_is_stored_or_not(monkeypatch, tmp_path, persistent):
    def change(self):
        scale = torch.linspace(0.5, 1, self.hidden_size)[:, None, None]
        self.register_buffer("scale", scale, persistent=persistent)

    monkeypatch.setitem(UPDATE_OPERATORS, "mine", made(change))
    network = FlowNetwork(NetworkConfig("compact", "mine")).for_inference()
    save_model(network, tmp_path / "m.safetensors")
    before = torch.get_rng_state()
    loaded = load_model(tmp_path / "m.safetensors", "cpu")
    assert torch.equal(torch.get_rng_state(), before)
    pair = torch.rand(2, 1, 3, 128, 128)
    with torch.inference_mode():
        expected, found = (each(*pair, iterations=1, final_only=True).flows[-1] for each in (network, loaded))
    assert torch.equal(found, expected)
