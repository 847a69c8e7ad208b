"""Which samples make which step, and how they become a batch.

Generated pairs that the training's device paints become one there, each while the step before it is computed.
"""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from flowgru.data import classical
from flowgru.data.formats.images import as_images, in_unit_range
from flowgru.data.sample import FlowSample
from flowgru.data.starts import dis_start
from flowgru.data.synthetic.batched.batch import DrawnBatch, DrawnPairs
from flowgru.grid import padding_for
from flowgru.model.initial_flow import coarse_flow
from flowgru.processes.beside import HostCopy
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
        first, second = map(as_images, (first, second))
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


def collation(data: Dataset[Any], *, levels: bool) -> Callable[[list[Any]], Any]:
    """What makes a batch of the samples of a data set; drawn pairs become one that is yet to be painted."""
    if isinstance(data, DrawnPairs):
        return partial(DrawnBatch.of, settings=data.pairs.settings)
    return partial(collate, levels=levels)


Batch = FlowBatch | DrawnBatch

DIS = ("dis", "dis_fast")
"""The starts that OpenCV computes, on the CPU."""


def painted(drawn: Generator[Batch], device: torch.device, *, num_threads: int, started: bool) -> Generator[FlowBatch]:
    """What a device makes of drawn batches, each asked for before the one ahead of it is given.

    Pictures whose refinement begins at the flow of DIS come back to the CPU, where `num_threads` threads search
    while the device is at the batch before. `started`: whether batches say where refinements begin.
    """
    threads = classical.num_threads()
    classical.use_threads(1)  # of its own: each search has one of the threads here
    try:
        with closing(drawn), ThreadPoolExecutor(max(num_threads, 1), thread_name_prefix="starts") as pool:
            coming = None
            for batch in drawn:
                assert isinstance(batch, DrawnBatch)
                ahead, coming = coming, _Coming(batch, device, pool, started)
                if ahead is not None:
                    yield ahead.whole()
            if coming is not None:
                yield coming.whole()
    finally:
        classical.use_threads(threads)


class _Coming:
    """A batch whose pictures the device was asked for, and whose starts are being searched."""

    def __init__(self, drawn: DrawnBatch, device: torch.device, pool: ThreadPoolExecutor, started: bool) -> None:
        pictures, flow, occlusion, start = drawn.painted(device)
        valid = torch.ones_like(occlusion)
        first, second = pictures.unbind(1)
        self._batch = FlowBatch(first, second, flow, valid, tuple(drawn.names), start if started else None)
        self._searches: dict[int, Future[Tensor]] = {}
        searched = {number: kind == "dis_fast" for number, kind in enumerate(drawn.starts) if kind in DIS}
        if searched:
            levels = torch.stack([pictures[number] for number in searched]).mul_(255).round_().byte()
            copy = HostCopy(levels)
            for place, (number, fast) in enumerate(searched.items()):
                self._searches[number] = pool.submit(_search, copy, place, fast)

    def whole(self) -> FlowBatch:
        """The batch with all its starts; waits for those of DIS."""
        start = self._batch.initial_flow
        if not self._searches or start is None:
            return self._batch
        found = torch.zeros(start.shape, pin_memory=start.device.type == "cuda")
        for number, search in self._searches.items():
            found[number] = search.result()
        return self._batch._replace(initial_flow=start + found.to(start.device, non_blocking=True))


def _search(pictures: HostCopy, place: int, fast: bool) -> Float[Tensor, "2 H W"]:
    first, second = pictures.wait()[place]
    return dis_start(first, second, fast=fast)


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
