"""The files of one pair: its flows, its occlusions, how sure the network is, and where a warm start goes on after it."""

import zipfile
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.data.formats.flow_files import write_flow_array
from flowgru.data.formats.images import write_image
from flowgru.data.video.frames import Frame
from flowgru.estimation.earlier_run import EarlierRun
from flowgru.estimation.file_names import CARRIED
from flowgru.estimation.geometry import occlusion_mask
from flowgru.estimation.matching.initial_flow import InitialFlow, with_memory
from flowgru.estimation.stream import PairFlow
from flowgru.files.atomic import atomic_write
from flowgru.processes.beside import HostCopy

COARSE, MEMORY = "", "memory_"
"""How the names of the arrays begin that hold what the next pair goes on with, before its direction and tile."""


class PairToWrite:
    """What one pair gives, on its way from the device that computed it into files."""

    def __init__(self, pair: PairFlow, *, goes_on: bool) -> None:
        """goes_on: what the next pair has of this one is kept too."""
        self.pair = pair
        self._flows = {"": HostCopy(pair.forward)}
        self._pictures: dict[str, HostCopy] = {}
        if pair.backward is not None:
            self._flows["_backward"] = HostCopy(pair.backward)
            self._pictures["_occlusion"] = HostCopy(255 * occlusion_mask(pair.forward, pair.backward).byte())
        if pair.confidence is not None:
            self._pictures["_confidence"] = HostCopy((pair.confidence * 255).round().byte())
        self._carried = {
            f"{part}{direction}_{tile}": HostCopy(values.float())
            for direction, start in enumerate(pair.carried if goes_on else ())
            for part, tiles in (() if start is None else ((COARSE, start.coarse), (MEMORY, start.memory)))
            for tile, values in enumerate(tiles or ())
        }

    def write(self, folder: Path, *, extension: str, overwrite: bool) -> dict[str, Any]:
        """Writes each file whole, and returns what the summary says of the pair."""
        pair, name = self.pair, self.pair.first.name
        for ending, flow in self._flows.items():
            write_flow_array(folder / f"{name}{ending}{extension}", _as_array(flow.wait()), overwrite=overwrite)
        for ending, picture in self._pictures.items():
            levels = np.repeat(picture.wait().numpy()[..., None], 3, axis=2)
            write_image(folder / f"{name}{ending}.png", levels, overwrite=overwrite)
        lengths = torch.linalg.vector_norm(self._flows[""].wait(), dim=0).numpy()
        return {
            "name": name,
            "time": pair.first.time,
            "mean": _rounded(lengths.mean()),
            "max": _rounded(lengths.max()),
            "refinements": pair.num_refinements,
            "damaged": pair.first.damaged or pair.second.damaged,
            **dict(zip(("initial_flow", "initial_flow_backward"), pair.initial_flows, strict=False)),
        }

    def write_carried(self, folder: Path, clip: str, num_flows: int) -> None:
        """Keeps what the next pair goes on with after so many flows of a clip, by direction and tile."""
        arrays = {name: coarse.wait().numpy() for name, coarse in self._carried.items()}
        with atomic_write(folder / CARRIED, overwrite=True) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **{**arrays, "clip": np.array(clip), "num_flows": np.array(num_flows)})


def _rounded(length: np.floating) -> float | None:
    return round(float(length), 4) if np.isfinite(length) else None  # JSON knows no NaN


def _as_array(flow: Float[Tensor, "2 H W"]) -> Float[np.ndarray, "H W 2"]:
    return np.ascontiguousarray(flow.permute(1, 2, 0).numpy())


class EarlierFlows:
    """What an earlier run has written of a clip: says of each pair in turn whether its flow is known, see matched_flows."""

    def __init__(
        self, folder: Path, earlier: EarlierRun, clip: str, into: list[dict[str, Any]], *, goes_on: bool
    ) -> None:
        """into: receives what was said of each of them. goes_on: whether a pair begins where the one before has led."""
        self.carried: Sequence[InitialFlow | None] = read_carried(folder, clip)[1] if goes_on else ()
        self.remaining = deque(earlier.flows.get(clip, ()))
        self.into = into

    def __call__(self, first: Frame, /) -> Sequence[InitialFlow | None] | None:
        """For the first frame of a pair; None where its flow is not known."""
        if not self.remaining or self.remaining[0]["name"] != first.name:
            self.remaining.clear()
            return None
        self.into.append(self.remaining.popleft())
        return () if self.remaining else self.carried


def read_carried(folder: Path, clip: str) -> tuple[int, tuple[InitialFlow | None, ...]]:
    """After how many flows of the clip the next pair can go on, and with what, by direction; 0 flows without any."""
    nothing = 0, (None, None)
    path = folder / CARRIED
    if path.is_symlink() or not path.is_file():
        return nothing
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["clip"]) != clip:
                return nothing
            starts = []
            for direction in range(2):
                coarse, memory = (_tiles(stored, f"{part}{direction}_") for part in (COARSE, MEMORY))
                start = InitialFlow("warm", coarse=coarse) if coarse else None
                starts.append(with_memory(start, memory) if memory else start)
            return int(stored["num_flows"]), tuple(starts)
    # RuntimeError: of an archive that claims to be encrypted, or to be compressed in a way that nobody knows.
    except (OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return nothing


def _tiles(stored: Mapping[str, np.ndarray], beginning: str) -> tuple[Float[Tensor, "1 C h w"], ...]:
    """The arrays whose names begin so, in the order of the tiles that follow."""
    names = sorted(
        (name for name in stored if name.startswith(beginning)), key=lambda name: int(name[len(beginning) :])
    )
    return tuple(torch.from_numpy(stored[name]).float() for name in names)
