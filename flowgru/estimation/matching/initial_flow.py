"""Where the refinement of a pair begins: at the flow of DIS, at zero, or at a flow from a file or from the caller."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.data.classical import dis_or_zero
from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.flow_formats import BY_SUFFIX
from flowgru.data.polish import Grey
from flowgru.errors import InputFileError, RequestError, counted, sides, size_text
from flowgru.estimation.matching.tiles import Tile
from flowgru.grid import PaddingMode, lengths, padding_for, splat
from flowgru.kinds import described, flow_tensor
from flowgru.model.initial_flow import coarse_flow, fill_unknown, known_pixels
from flowgru.types import CoarseFlow, Features, Flow


class InitialFlow(NamedTuple):
    """Where the refinement of one pair begins; at zero, where there is neither flow."""

    name: str
    """dis, zero (also where the flow of DIS counts as wrong, see was_wrong), warm (the flow of the pair before, carried
    along), given, or the file that it comes from."""
    flow: Flow | None = None
    """[1, 2, H, W] in pixels of the picture, every pixel known."""
    coarse: tuple[CoarseFlow, ...] | None = None
    """The flow of each tile's padded picture, in coarse pixels."""
    memory: tuple[Features, ...] | None = None
    """What a network with a memory goes on with in each tile, see FlowPrediction.memory; None begins without."""

    @property
    def is_decided(self) -> bool:
        """Whether it says where the flow begins, and not only what is remembered."""
        return bool(self.name)


ZERO = InitialFlow("zero")

UNDECIDED = InitialFlow("")
"""Where the way begins."""


MOST_MOVED = 0.0075
"""By how much of a picture's diagonal refinements may move the flow of DIS, in the mean over the pixels, before it counts as
wrong. Chosen on generated pairs (results/default_way.md)."""


def dis_initial_flow(first: Grey, second: Grey) -> InitialFlow:
    """DIS's flow, or zero where the pictures are too small or thin for it."""
    flow = dis_or_zero(first, second)
    return ZERO if flow is None else InitialFlow("dis", _as_tensor(flow))


def share_moved(initial: InitialFlow, refined: Float[Tensor, "2 H W"]) -> float:
    """By how much of the picture's diagonal refinements have moved an initial flow, in the mean over the pixels.

    0 where it was zero; infinite or NaN for a flow that is not finite.
    """
    if initial.flow is None:
        return 0.0
    moved = lengths(refined[None] - initial.flow.to(refined.device)).mean()
    return float(moved) / math.hypot(*refined.shape[1:])


def was_wrong(initial: InitialFlow, refined: Float[Tensor, "2 H W"]) -> bool:
    """Whether DIS found the initial flow, and refinements have moved it by more than MOST_MOVED."""
    return initial.name == "dis" and share_moved(initial, refined) > MOST_MOVED


def coarse_of_tiles(flow: Flow, tiles: Sequence[Tile], padding: PaddingMode) -> tuple[CoarseFlow, ...]:
    """A flow of the whole picture as InitialFlow.coarse; where it is not finite, it stays so."""
    paddings = [padding_for(tile.height, tile.width, padding) for tile in tiles]
    return tuple(coarse_flow(tile.cut(flow), added) for tile, added in zip(tiles, paddings, strict=True))


def carried_along(coarse: Sequence[CoarseFlow], *, backward: bool) -> InitialFlow | None:
    """Where the next pair begins: the coarse flow of each tile, carried along by itself ("warm-start", RAFT, section 3.3).

    The next pair's first frame shows what moved on by the forward flow, or against the backward flow. None for a flow that
    is not finite: it leads nowhere.
    """
    if not all(bool(flow.isfinite().all()) for flow in coarse):
        return None
    return InitialFlow("warm", coarse=tuple(splat(flow, -flow if backward else flow) for flow in coarse))


def with_memory(start: InitialFlow | None, memory: Sequence[Features | None]) -> InitialFlow | None:
    """Where the next pair begins, with what it remembers of this one; nothing of it where a memory is not finite."""
    known = tuple(each for each in memory if each is not None and bool(each.isfinite().all()))
    return (start or UNDECIDED)._replace(memory=known) if len(known) == len(memory) else start


def going_on(carried: InitialFlow | None, given: Callable[[], InitialFlow | None]) -> InitialFlow | None:
    """Where a pair begins that goes on after another: at the flow carried along, else as `given` says; with its memory."""
    if carried is None:
        return given()
    return carried if carried.is_decided else (given() or UNDECIDED)._replace(memory=carried.memory)


class FlowFolder:
    """Initial flows from a folder, in files that are named as flowgru names its results, in any format it reads."""

    def __init__(self, folder: str | Path, option: str | None = None) -> None:
        """option: the option that names a folder whose flows are no initial ones. RequestError where it is not there."""
        self.folder = Path(folder)
        self.flows = "initial flow" if option is None else "flow"
        """What an error calls them."""
        self._go_on = "add it, or leave --initial-flow out" if option is None else "add it"
        if not self.folder.is_dir():
            named = option or "the initial flow"
            raise RequestError(f"there is no folder {folder}: name a folder of flow files as {named}")

    def files(self) -> list[Path]:
        """All flow files in it, sorted. InputFileError where it cannot be read."""
        try:
            return sorted(path for path in self.folder.iterdir() if path.suffix in BY_SUFFIX)
        except OSError as error:
            raise InputFileError(f"cannot read the folder {self.folder}: {error.strerror}") from None

    def has(self, name: str) -> bool:
        """Whether there is a flow of that name."""
        return self._path(name) is not None

    def read(self, name: str, size: tuple[int, ...], *, filled: bool = True, backward: bool = False) -> InitialFlow:
        """The flow of that name, for pictures of size (height, width); pixels that are not known are filled, or NaN.

        `backward` says that it is needed for --backward alone.

        InputFileError where the file is missing or damaged, of another size, or without any known pixel.
        """
        path = self._path(name)
        if path is None:
            go_on = self._go_on
            if backward:
                go_on = "--backward needs backward flows too: estimate them with --backward, or leave --backward out"
            raise InputFileError(
                f"{self.folder} has no {self.flows} {name}: expected a file {name} with one of {', '.join(BY_SUFFIX)}; "
                f"{go_on}"
            )
        stored, valid = read_flow(path)
        if valid.shape != tuple(size):
            raise InputFileError(
                f"{path} is {sides(valid.shape)} and the pictures are {size_text(size)}: the {self.flows} "
                "of a pair has the size of its pictures"
            )
        if not valid.any():
            raise InputFileError(f"{path} has no known pixel: the {self.flows} of a pair must be known somewhere")
        flow = _as_tensor(np.where(valid[..., None], stored, np.float32(np.nan)))
        return InitialFlow(str(path), fill_unknown(flow) if filled else flow)

    def _path(self, name: str) -> Path | None:
        # A picture of a flow, as `flowgru view` writes it beside its file, ends in .png, too: that is looked at last.
        endings = sorted(BY_SUFFIX, key=".png".__eq__)
        try:
            return next((path for end in endings if (path := self.folder / f"{name}{end}").is_file()), None)
        except OSError as error:  # a name that no file can have
            raise InputFileError(f"{self.folder} can hold no {self.flows} {name[:80]}: {error.strerror}") from None


class GivenFlows:
    """Initial flows that a caller gives, one for each pair in turn, [2, H, W] or [H, W, 2]; see known_pixels."""

    def __init__(self, flows: Any, num_pairs: int | None) -> None:
        """num_pairs: how many there are, where that is known. RequestError for what holds no flows, or more than that."""
        self._num_listed = num_listed(flows)
        if num_pairs is not None:
            self._check_number(num_pairs)
        try:
            self.flows = iter(flows)
        except TypeError:
            kind = type(flows).__name__
            raise RequestError(f"initial_flow is a {kind}: expected dis, zero, or a flow for each pair") from None
        self.num_given = 0

    def next(self, size: tuple[int, ...]) -> InitialFlow:
        """The flow of the next pair. RequestError where there is none, or it is none for pictures of that size."""
        index, expected = self.num_given, [2, *size]
        try:
            flow = next(self.flows)
        except StopIteration:
            raise RequestError(f"initial_flow ends after {index} flows: each pair needs one") from None
        self.num_given += 1
        known, form = flow_tensor(flow, f"initial_flow {index}", size)
        if form.batched:
            raise RequestError(f"initial_flow {index} is {described(flow)}: expected one flow {expected} for each pair")
        if not bool(known_pixels(known).any()):
            raise RequestError(
                f"initial_flow {index} has no known pixel: every value of it is NaN, infinite or beyond 1e9"
            )
        return InitialFlow("given", fill_unknown(known.detach().cpu()))

    def check_number(self) -> None:
        """RequestError where a list or a stack has flows that no pair has taken, once the last pair has taken its own."""
        self._check_number(self.num_given)

    def _check_number(self, num_pairs: int) -> None:
        if self._num_listed is not None and self._num_listed > num_pairs:
            verb = "is" if num_pairs == 1 else "are"
            has = f"{counted(self._num_listed, 'flow')} and there {verb} {counted(num_pairs, 'pair')}"
            raise RequestError(f"initial_flow has {has}: expected one flow for each pair")


def num_listed(pictures: Any) -> int | None:
    """How many pictures or flows a list or a stack has; None where that is not known."""
    return len(pictures) if isinstance(pictures, list | tuple) or getattr(pictures, "ndim", 0) == 4 else None


def _as_tensor(flow: Float[np.ndarray, "H W 2"]) -> Float[Tensor, "1 2 H W"]:
    return torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1)))[None]
