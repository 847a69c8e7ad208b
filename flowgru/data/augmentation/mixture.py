"""Endless augmented pairs of one or several data sets, each a pure function of seed and index."""

import bisect
import functools
import itertools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from flowgru.config import STAGES, AugmentationSettings
from flowgru.data.augmentation.augment import augment
from flowgru.data.draws import Draws
from flowgru.data.sample import FlowSample
from flowgru.data.sets.opening import open_dataset
from flowgru.errors import InputFileError, RequestError

MAX_PAIRS = 2**27
"""An epoch's order is kept in memory, with 8 bytes a pair."""

# Generated pairs draw from stream `index` of `seed` itself.
_AUGMENTATION, _ORDER = 1 << 64, 2 << 64


class MixturePart(NamedTuple):
    """A data set and what it contributes."""

    pairs: Dataset[FlowSample]
    """Any data set with a length."""
    augmentation: AugmentationSettings
    """How its pairs are changed."""
    repeats: int = 1
    """How often each of its pairs is seen in an epoch, each time changed differently."""


class MixedPairs(Dataset[FlowSample]):
    """The pairs of several data sets, shuffled and augmented: a new epoch every `len()` indices, without an end.

    Which pair index i is, and every random number it is changed by, is a function of seed and i alone: no two workers or
    processes draw alike, and any number of them gives the same pairs. In an epoch each pair of a part occurs `repeats`
    times, in an order of its own.

    A pair whose files are damaged (InputFileError) is not replaced: a warning names the file once, and the sample that is
    given has black pictures, no valid pixel and the error in its name. When the damaged pairs that this process has met
    are more than `max_damaged` of all pairs, InputFileError says so.

    Raises RequestError for parts that cannot be mixed: empty ones, and crops of different sizes.
    """

    def __init__(self, parts: Sequence[MixturePart], *, seed: int = 0, max_damaged: float = 0.01) -> None:
        self.parts, self.seed, self.max_damaged = tuple(parts), seed, max_damaged
        self._lengths = [len(part.pairs) for part in self.parts]  # pyright: ignore[reportArgumentType]
        shares = [length * part.repeats for length, part in zip(self._lengths, self.parts, strict=True)]
        if not shares or min(shares) < 1:
            raise RequestError(f"a mixture of parts with {shares} pairs: each must have some")
        if sum(shares) > MAX_PAIRS:
            raise RequestError(
                f"a mixture of {sum(shares)} pairs: at most {MAX_PAIRS}; give generated pairs a shorter length"
            )
        crops = {(part.augmentation.height, part.augmentation.width) for part in self.parts}
        if len(crops) > 1:
            raise RequestError(f"a mixture with crops of {sorted(crops)} px: a batch needs one size")
        self._ends = list(itertools.accumulate(shares))
        self._damaged: set[tuple[int, int]] = set()

    def __len__(self) -> int:
        """Pairs in an epoch."""
        return self._ends[-1]

    def __iter__(self) -> Iterator[FlowSample]:
        return (self[index] for index in range(len(self)))

    def source(self, index: int) -> tuple[int, int]:
        """Which part pair `index` comes from, and its index there."""
        if index < 0:
            raise IndexError(f"augmented pair {index}: they are numbered from 0")
        epoch, position = divmod(index, len(self))
        place = int(_order(self.seed, epoch, len(self))[position])
        part = bisect.bisect_right(self._ends, place)
        return part, (self._ends[part] - 1 - place) % self._lengths[part]

    def __getitem__(self, index: int) -> FlowSample:
        if get_worker_info() is not None:
            cv2.setNumThreads(0)  # the loader's workers are one a core already; any other number hangs after a fork
        number, inner = self.source(index)
        part = self.parts[number]
        try:
            sample = part.pairs[inner]
        except InputFileError as error:
            return self._stand_in(number, inner, error)
        return augment(sample, part.augmentation, Draws(self.seed + _AUGMENTATION, index))

    def _stand_in(self, number: int, inner: int, error: InputFileError) -> FlowSample:
        if (number, inner) not in self._damaged:
            warnings.warn(f"{error}; this pair is left out of training", RuntimeWarning, stacklevel=2)
        self._damaged.add((number, inner))
        if len(self._damaged) > self.max_damaged * sum(self._lengths):
            raise InputFileError(
                f"{len(self._damaged)} of {sum(self._lengths)} pairs are damaged, the last of them: {error}; "
                f"training goes on with at most {self.max_damaged:.1%}: mend or remove them"
            ) from error
        settings = self.parts[number].augmentation
        black = torch.zeros(3, settings.height, settings.width)
        return FlowSample(black, black, black[:2], black[0] > 0, occlusion=None, name=f"damaged: {error}")


def open_stage(name: str, root: str | Path, *, seed: int = 0) -> MixedPairs:
    """The data sets below the data root that RAFT mixes in a stage of training, augmented with its numbers.

    RequestError for an unknown stage; InputFileError where a set is not there.
    """
    if name not in STAGES:
        raise RequestError(f"unknown stage {name!r}: known are {', '.join(STAGES)}")
    return MixedPairs(
        [MixturePart(open_dataset(part.name, root), part.augmentation, part.repeats) for part in STAGES[name]],
        seed=seed,
    )


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, length: int) -> Tensor:
    """The numbers from 0 to length - 1, shuffled."""
    return torch.randperm(length, generator=Draws(seed + _ORDER, epoch).generator)
