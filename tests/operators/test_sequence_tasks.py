"""The operators' cells are recurrent cells: over time they learn two small tasks, the min cells by the parallel scan."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowgru.operators.conv_gru import GRUCell
from flowgru.operators.conv_lstm import LSTMCell
from flowgru.operators.min_cells import MinGRUCell, MinLSTMCell
from flowgru.scan import linear_scan

CELLS: dict[str, Any] = {"gru": GRUCell, "lstm": LSTMCell, "min_gru": MinGRUCell, "min_lstm": MinLSTMCell}


class SequenceModel(nn.Module):
    """A small sequence model of the operators' own cells: pictures of one pixel, and time for the recurrence.

    A linear map into `hidden_size`, layers of recurrent cells, each added to what it reads, and a small read-out.

    `forward` is what is trained: the min cells see all moments at once and are solved by linear_scan along the time axis,
    the others go through them in a loop. `run` goes through the moments one by one, with nothing but the state in hand.
    """

    def __init__(self, kind: str, in_size: int, out_size: int, hidden_size: int = 32, num_layers: int = 2) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.enter = nn.Linear(in_size, hidden_size)
        self.cells = nn.ModuleList(CELLS[kind](hidden_size, hidden_size, 0, (1, 1)) for _ in range(num_layers))
        self.leave = nn.Sequential(nn.Linear(hidden_size, 2 * hidden_size), nn.ReLU())
        self.answer = nn.Linear(2 * hidden_size, out_size)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, T, out_size] of inputs [B, T, in_size], every moment answered."""
        values = self.enter(inputs)
        for cell in self.cells:
            values = values + self._over_time(cell, values)
        return self.answer(self.leave(values))

    def run(self, inputs: Tensor) -> Tensor:
        """What `forward` gives, computed as moments arrive."""
        states: list[Any] = [self._first_state(cell, len(inputs)) for cell in self.cells]
        answers = []
        for moment in inputs.unbind(1):
            values = self.enter(moment)
            for i, cell in enumerate(self.cells):
                states[i] = self._next_state(cell, states[i], values)
                values = values + _hidden(states[i])
            answers.append(self.answer(self.leave(values)))
        return torch.stack(answers, 1)

    def _over_time(self, cell: nn.Module, values: Tensor) -> Tensor:
        if isinstance(cell, MinGRUCell):
            batch, moments, size = values.shape
            recurrence = cell(_pictures(values.flatten(0, 1)), cell.begin(_no_context(batch * moments)))
            decay, update = (x.reshape(batch, moments, size) for x in recurrence)
            return linear_scan(decay, update, dim=1)
        states = [self._first_state(cell, len(values))]
        for moment in values.unbind(1):
            states.append(self._next_state(cell, states[-1], moment))
        return torch.stack([_hidden(state) for state in states[1:]], 1)

    def _first_state(self, cell: nn.Module, batch: int) -> Any:
        zero = torch.zeros(batch, self.hidden_size, 1, 1)
        return (zero, zero) if isinstance(cell, LSTMCell) else zero

    def _next_state(self, cell: Any, state: Any, values: Tensor) -> Any:
        shares = cell.begin(_no_context(len(values)))
        if isinstance(cell, MinGRUCell):
            decay, update = cell(_pictures(values), shares)
            return decay * state + update
        return cell(state, _pictures(values), shares)


def _pictures(values: Tensor) -> Tensor:
    return values[:, :, None, None]


def _no_context(batch: int) -> Tensor:
    return torch.zeros(batch, 0, 1, 1)


def _hidden(state: Any) -> Tensor:
    return (state[0] if isinstance(state, tuple) else state).flatten(1)


each_kind = pytest.mark.parametrize("kind", CELLS)


def subtractions() -> tuple[Tensor, Tensor]:
    """Every a - b of 4-bit numbers modulo 16, lowest bit first: bits of a and b [256, 4, 2], of the difference [256, 4]."""
    a, b = torch.cartesian_prod(torch.arange(16), torch.arange(16)).T
    places = torch.arange(4)
    operands = torch.stack([a, b], 1)[:, None, :] >> places[:, None] & 1
    return operands.float(), ((a - b)[:, None] >> places & 1).float()


def arithmetic_sequences() -> Tensor:
    """a, a + d, ..., a + 5 d for every a in 0..40 and d in -10..10 [861, 6]."""
    starts, differences = torch.cartesian_prod(torch.arange(41), torch.arange(-10, 11)).T
    return (starts[:, None] + differences[:, None] * torch.arange(6)).float()


def train(model: SequenceModel, inputs: Tensor, targets: Tensor, loss, num_steps: int) -> None:
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=num_steps)
    for _ in range(num_steps):
        batch = torch.randint(len(inputs), (64,))
        optimizer.zero_grad()
        loss(model(inputs[batch])[..., 0], targets[batch]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def answers_of(model: SequenceModel, inputs: Tensor) -> Tensor:
    """What the model answers moment by moment, after checking that all moments at once give the same."""
    with torch.no_grad():
        answers = model.run(inputs)
        torch.testing.assert_close(model(inputs), answers, rtol=1e-5, atol=1e-5)
    return answers[..., 0]


@each_kind
def test_all_moments_at_once_and_one_by_one_are_the_same_model(kind):
    answers_of(SequenceModel(kind, 3, 2), torch.randn(5, 37, 3))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@each_kind
def test_subtraction_bit_by_bit_is_right_for_every_pair_that_was_held_out(kind):
    inputs, bits = subtractions()
    held_out, seen = torch.randperm(len(inputs)).split([64, 192])
    model = SequenceModel(kind, 2, 1)
    train(model, inputs[seen], bits[seen], F.binary_cross_entropy_with_logits, num_steps=1000)
    right = ((answers_of(model, inputs) > 0) == bits.bool()).all(1)
    print(f"{kind}: {right[held_out].float().mean():.1%} of the pairs held out, {right[seen].float().mean():.1%} seen")
    assert right.all()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@each_kind
def test_the_next_number_of_a_short_arithmetic_sequence_rounds_to_the_right_one(kind):
    numbers = arithmetic_sequences()
    held_out, seen = torch.randperm(len(numbers)).split([215, 646])
    inputs, following = numbers[:, :-1, None] / 50, numbers[:, 1:] / 50
    model = SequenceModel(kind, 1, 1)

    def loss(answers: Tensor, following: Tensor) -> Tensor:
        return F.l1_loss(answers[:, 1:], following[:, 1:])  # one number alone does not say how it goes on

    train(model, inputs[seen], following[seen], loss, num_steps=3000)
    errors = 50 * (answers_of(model, inputs) - following)[held_out, -1].abs()
    right = (errors < 0.5).float().mean().item()
    print(f"{kind}: {right:.1%} of the sequences held out, mean error {errors.mean():.3f}, largest {errors.max():.3f}")
    assert right >= 0.98
