"""The pairs that a configuration trains on and is measured on."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import Dataset

from flowgru.config import StageSet, StartShares, TrainConfig
from flowgru.data.augmentation.mixture import MixedPairs, MixturePart, open_stage
from flowgru.data.sample import FlowSample
from flowgru.data.sets.opening import is_manifest, open_dataset
from flowgru.data.starts import StartedPairs
from flowgru.data.synthetic.batched.batch import DrawnPairs
from flowgru.data.synthetic.clip import PairsOfClips
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.data.synthetic.reuse import ReusedPairs
from flowgru.errors import RequestError, counted, sides, size_text
from flowgru.estimation.reads import content_digest

SYNTHETIC = "synthetic"
"""The name of the generated pairs among the data sets."""

FROM_DIS = " from dis"
"""What follows the name of a set that is measured on, whose refinements begin at the flow of DIS."""

SYNTHETIC_EPOCH = 10_000
"""Generated pairs in an epoch of a mixture; the next epoch has other changes of the same pairs."""


def training_pairs(config: TrainConfig) -> Dataset[Any]:
    """Generated pairs, one of RAFT's stages, or the mixture that the configuration names; where a GPU paints generated pairs
    in batches, what is drawn of them.

    InputFileError where a set is not there, RequestError for an unknown one and for a GPU that is not there.
    """
    if config.generate_on == "cuda" and not torch.cuda.is_available():
        raise RequestError("generate_on is cuda, and no CUDA device was found: use --generate-on cpu")
    if config.generate_on == "cuda" and config.generate_in_batches:
        return DrawnPairs(_generated(config), uses=config.uses, shares=config.starts, seed=config.seed)
    pairs = _pairs(config)
    return pairs if config.starts.zero == 1 else StartedPairs(pairs, config.starts, seed=config.seed)


def _pairs(config: TrainConfig) -> Dataset[FlowSample]:
    if config.stage:
        return open_stage(config.stage, config.root, seed=config.seed)
    if config.sets:
        return MixedPairs([_part(part, config) for part in config.sets], seed=config.seed)
    if config.pairs_in_clip > 1:
        return PairsOfClips(config.data, length=config.steps * config.batch_size)
    pairs = _generated(config)
    return pairs if config.uses == 1 else ReusedPairs(pairs, config.uses, seed=config.seed)


def _generated(config: TrainConfig) -> SyntheticPairs:
    number = -(-config.steps * config.batch_size // config.uses)
    return SyntheticPairs(config.data, length=number, device=config.generate_on)


def validation_pairs(config: TrainConfig) -> dict[str, Dataset[FlowSample]]:
    """Every validation set by its name, and `NAME from dis` where it is measured from the flow of DIS.

    InputFileError where a set is not there, RequestError for an unknown one.
    """
    settings = config.validation
    held_out = replace(config.data, seed=settings.seed, height=settings.height, width=settings.width)
    sets: dict[str, Dataset[FlowSample]] = {}
    for name in settings.sets:
        pairs = (
            SyntheticPairs(held_out, length=settings.pairs)
            if name == SYNTHETIC
            else open_dataset(name, config.root, (SYNTHETIC,))
        )
        for start in settings.initial_flows:
            sets[measured_name(name, start)] = pairs if start == "zero" else started_by_dis(pairs, config)
    return sets


def lists_of_pairs(config: TrainConfig, more: Iterable[str] = ()) -> dict[str, str]:
    """Digests of the lists of pairs (.csv) that a configuration trains and is measured on, and of those in `more`."""
    names = {*config.validation.sets, *(part.name for part in config.parts), *more}
    return {name: content_digest([Path(name)]) for name in names if is_manifest(name)}


def changed_lists(lists: Mapping[str, str], noted: Mapping[str, str]) -> tuple[str, ...]:
    """The names of those that were other ones when they were noted; one that was not noted has not changed."""
    return tuple(name for name, digest in lists.items() if noted.get(name, digest) != digest)


def measured_name(name: str, start: Literal["zero", "dis"]) -> str:
    """What a set is called where it is measured from this initial flow."""
    return name if start == "zero" else name + FROM_DIS


def started_by_dis(pairs: Dataset[FlowSample], config: TrainConfig) -> StartedPairs:
    """Pairs to measure on, whose refinements begin at the flow of DIS and hold it as often as the training does at most."""
    return StartedPairs(pairs, StartShares(zero=0.0, dis=1.0), seed=config.seed, hold=config.hold)


def _part(part: StageSet, config: TrainConfig) -> MixturePart:
    if part.name == SYNTHETIC:
        return MixturePart(SyntheticPairs(config.data, length=SYNTHETIC_EPOCH), part.augmentation, part.repeats)
    return MixturePart(open_dataset(part.name, config.root, (SYNTHETIC,)), part.augmentation, part.repeats)


def described(data: Dataset[Any]) -> str:
    """What pairs a run trains on, and how many there are, in words."""
    if isinstance(data, StartedPairs):
        return described(data.pairs)
    if isinstance(data, (ReusedPairs, DrawnPairs)) and data.uses > 1:
        return f"{described(data.pairs)}, each used {data.uses} times"
    if isinstance(data, MixedPairs):
        parts = [
            f"{_described_part(part.pairs)}, cropped to {sides((part.augmentation.height, part.augmentation.width))}"
            f"{f', {part.repeats} times an epoch' if part.repeats > 1 else ''}"
            for part in data.parts
        ]
        return "; ".join(parts)
    return _described_part(data.pairs if isinstance(data, DrawnPairs) else data)


def _described_part(data: Dataset[FlowSample]) -> str:
    if isinstance(data, PairsOfClips):
        size = size_text((data.settings.height, data.settings.width))
        return f"generated clips of {data.settings.clip_frames} frames of {size}"
    if isinstance(data, SyntheticPairs):
        return f"generated pairs of {size_text((data.settings.height, data.settings.width))}"
    name = getattr(data, "label", type(data).__name__)
    return f"{name}, {counted(len(data), 'pair')}"  # pyright: ignore[reportArgumentType]
