"""A small sequence model made of the operators' own cells: pictures of one pixel, and time for the recurrence."""

from typing import Any

import torch
from torch import Tensor, nn

from flowgru.operators.conv_gru import GRUCell
from flowgru.operators.conv_lstm import LSTMCell
from flowgru.operators.min_cells import MinGRUCell, MinLSTMCell
from flowgru.scan import linear_scan

CELLS: dict[str, Any] = {"gru": GRUCell, "lstm": LSTMCell, "min_gru": MinGRUCell, "min_lstm": MinLSTMCell}


class SequenceModel(nn.Module):
    """A linear map into `hidden_size`, layers of recurrent cells, each added to what it reads, and a small read-out.

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
