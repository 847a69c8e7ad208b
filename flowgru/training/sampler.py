"""Which samples make which step, and how they become a batch."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Sampler

from flowgru.data.formats.images import in_unit_range
from flowgru.data.sample import FlowSample
from flowgru.grid import padding_for
from flowgru.model.initial_flow import coarse_flow
from flowgru.types import CoarseFlow, Flow, Images, Levels, Valid


class FlowBatch(NamedTuple):
    """Several samples of one size."""

    first: Images | Levels
    second: Images | Levels
    flow: Flow
    valid: Valid
    names: tuple[str, ...]
    initial_flow: Flow | None = None
    """Where the refinements begin, known in every pixel; None begins them at zero."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of it but the names; the last one is initial_flow, if there is one."""
        return (*self[:4], *(() if self.initial_flow is None else (self.initial_flow,)))

    @staticmethod
    def of(first: Tensor, second: Tensor, flow: Tensor, valid: Tensor, *start: Tensor) -> "FlowBatch":
        """The batch of these `tensors`, without names."""
        return FlowBatch(first, second, flow, valid, (), *start)

    def part(self, number: int, parts: int) -> "FlowBatch":
        """Number `number` of `parts` parts of one size."""
        rows = slice(number * len(self.names) // parts, (number + 1) * len(self.names) // parts)
        start = None if self.initial_flow is None else self.initial_flow[rows]
        return FlowBatch(
            self.first[rows], self.second[rows], self.flow[rows], self.valid[rows], self.names[rows], start
        )

    def coarse_start(self) -> CoarseFlow | None:
        """Where the refinements begin, in coarse pixels."""
        if self.initial_flow is None:
            return None
        # The network would look whether every pixel is known, and a GPU would be waited for.
        height, width = self.initial_flow.shape[2:]
        return coarse_flow(self.initial_flow, padding_for(height, width))

    def to(self, device: torch.device) -> "FlowBatch":
        """The same on a device, with pictures in [0, 1]."""
        first, second, flow, valid = (values.to(device, non_blocking=True) for values in self[:4])
        first, second = (in_unit_range(each) if each.dtype == torch.uint8 else each for each in (first, second))
        start = None if self.initial_flow is None else self.initial_flow.to(device, non_blocking=True)
        return FlowBatch(first, second, flow, valid, self.names, start)


def _as_levels(pictures: Images) -> Images | Levels:
    """Pictures as their 8-bit levels, where they have nothing between them."""
    levels = (pictures * 255).round().to(torch.uint8)
    return levels if torch.equal(in_unit_range(levels), pictures) else pictures


def collate(samples: list[FlowSample], *, levels: bool = False) -> FlowBatch:
    """Samples of one size stacked to a batch; with `levels` pictures of 8 bits stay so until they are on their device."""
    first, second, flow, valid = (torch.stack(values) for values in list(zip(*samples, strict=True))[:4])
    if levels:
        first, second = _as_levels(first), _as_levels(second)
    starts = [sample.initial_flow for sample in samples if sample.initial_flow is not None]
    assert len(starts) in (0, len(samples)), "either all samples of a batch say where to begin, or none does"
    return FlowBatch(
        first, second, flow, valid, tuple(sample.name for sample in samples), torch.stack(starts) if starts else None
    )


class StepSampler(Sampler[list[int]]):
    """The indices of every step from `first_step` on: step s takes samples s * batch_size and the next ones.

    The position in the data is a function of the step alone, and of no clock, so a run resumes exactly with any number of
    workers, and all processes of a run together take what one process would: a run may go on with another number of them.
    """

    def __init__(self, first_step: int, last_step: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        assert batch_size % world_size == 0
        self.steps = range(first_step, last_step)
        self.batch_size = batch_size
        self.mine = range(batch_size * rank // world_size, batch_size * (rank + 1) // world_size)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            yield [step * self.batch_size + place for place in self.mine]
