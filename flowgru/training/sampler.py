"""Which samples make which step, and how they become a batch."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import Sampler

from flowgru.data.sample import FlowSample
from flowgru.types import Flow, Images, Valid


class FlowBatch(NamedTuple):
    """Several samples of one size."""

    first: Images
    second: Images
    flow: Flow
    valid: Valid
    names: tuple[str, ...]


def collate(samples: list[FlowSample]) -> FlowBatch:
    """Samples of one size stacked to a batch."""
    first, second, flow, valid = (torch.stack(values) for values in list(zip(*samples, strict=True))[:4])
    return FlowBatch(first, second, flow, valid, tuple(sample.name for sample in samples))


class StepSampler(Sampler[list[int]]):
    """The indices of every step from `first_step` on: step s takes samples s * batch_size and the next ones.

    The position in the data is a function of the step alone, so a run resumes exactly with any number of workers.
    """

    def __init__(self, first_step: int, last_step: int, batch_size: int) -> None:
        self.steps = range(first_step, last_step)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            yield list(range(step * self.batch_size, (step + 1) * self.batch_size))
