"""What every recurrent update operator offers to the refinement loop."""

from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from flowgru.layers import Conv2d
from flowgru.types import Features

State = TypeVar("State")


class UpdateOperator(nn.Module, Generic[State]):
    """One refinement step of the flow: what is known now and what was just looked up give the next hidden state.

    The loop calls `begin` once for a pair of pictures and `step` once for a refinement, and never looks inside State.
    A subclass is made with (hidden_size, motion_size, context_size), in channels, and its options by keyword; it raises
    ValueError for a width or an option's value that it cannot have.
    """

    def __init__(self, hidden_size: int, motion_size: int, context_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.motion_size = motion_size
        self.context_size = context_size

    def begin(self, hidden: Features, context: Features) -> State:
        """The state before the first refinement.

        hidden [B, hidden_size, h, w] and context [B, context_size, h, w] are the raw output of the context encoder; the
        operator owns the squashing. What the context adds to the gates is computed here, once.
        """
        raise NotImplementedError

    def step(self, motion: Features, state: State) -> tuple[Features, State]:
        """One refinement: what the heads read [B, hidden_size, h, w], and the next state.

        motion [B, motion_size, h, w] is what the motion encoder made of the flow and its look-up. A state that is a
        NamedTuple is made by calling its class: torch 2.11 compiles `_replace` into an empty tuple.
        """
        raise NotImplementedError


class SplitConv(nn.Module):
    """A convolution over [hidden, motion, context] in two parts, because the context stays the same in every step.

    A convolution is linear in its input channels, so conv([h, m, c]) = recurrent([h, m]) + context(c) exactly; the
    second part is computed once for a pair. RAFT and torchvision compute it again in each step. A context of no channels
    adds nothing: a cell that is used without one gets context_size 0 and begins with [B, 0, h, w].
    """

    def __init__(self, in_size: int, context_size: int, out_size: int, kernel_size: tuple[int, int]) -> None:
        super().__init__()
        padding = (kernel_size[0] // 2, kernel_size[1] // 2)
        self.recurrent = Conv2d(in_size, out_size, kernel_size, padding=padding)
        self.context = (
            Conv2d(context_size, out_size, kernel_size, padding=padding, bias=False)
            if context_size
            else NoContext(out_size)
        )

    def forward(self, inputs: Features, context_term: Features) -> Features:
        return self.recurrent(inputs).add_(context_term)  # in place: it is new, and its gradient does not need it


class NoContext(nn.Module):
    """Stands in for the context's convolution where there is no context: it adds zeros."""

    def __init__(self, out_size: int) -> None:
        super().__init__()
        self.out_size = out_size

    def forward(self, context: Features) -> Features:
        batch, _, height, width = context.shape
        return context.new_zeros(batch, self.out_size, height, width)


def may_overwrite() -> bool:
    """Whether values that nobody needs afterwards may be overwritten: a large new tensor costs more than arithmetic on it.

    Not where a gradient is recorded, nor in a compiled or exported graph, which plans its memory itself.
    """
    return not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def tanh(values: Tensor) -> Tensor:
    """tanh of values that nobody needs afterwards.

    Where they may be overwritten, in float32 on a CPU, it is 2 sigmoid(2 x) - 1, within 2e-7: torch's sigmoid is four
    times as fast as its tanh.
    """
    if not may_overwrite():
        return torch.tanh(values)
    if values.dtype != torch.float32 or values.device.type != "cpu":
        return values.tanh_()
    return values.mul_(2).sigmoid_().mul_(2).sub_(1)


def squash(hidden: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """RAFT's squashing of the context encoder's output: tanh for the hidden state, ReLU for the context."""
    return torch.tanh(hidden), torch.relu(context)
