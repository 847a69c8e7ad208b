"""What is written of a clip beside its score: flow files of several kinds, each in a folder of its own.

jpeg    KIND/ID/flow_x_00001.jpg and flow_y_00001.jpg, one of each for a pair, as two-stream networks read them
png16   KIND/ID/frame_000001.png, KITTI's format, named after the first frame of each pair
half    KIND/ID/frame_000001.npz, arrays flow (float16) and valid, named likewise
shards  a part of a tar file, see shards.py
"""

import re
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from flowgru.config.corpus import CorpusSettings
from flowgru.corpus.shards import ShardPart
from flowgru.corpus.staging import SHARDS
from flowgru.data.formats.flow_files import write_flow, write_half_flow
from flowgru.data.formats.flow_formats import FlowFile
from flowgru.data.formats.grey import read_grey, write_grey
from flowgru.data.video.reader import Frame
from flowgru.errors import InputFileError

IN_FOLDERS = ("jpeg", "png16", "half")
"""The kinds that have a folder of files for each clip."""

FlowArray = Float[np.ndarray, "H W 2"]


@runtime_checkable
class Writer(Protocol):
    """Writes the flows of one clip, one after the other, into a folder that is there and empty."""

    def add(self, number: int, first: Frame, flow: FlowArray, /) -> None:
        """number: of the pair, from 1. MachineError or OSError where the disk refuses."""
        ...

    def close(self) -> None: ...


class JpegWriter:
    """Two grey pictures for each flow: level round(255 (u + bound) / (2 bound)), cut to 0 and 255."""

    def __init__(self, folder: Path, bound: float) -> None:
        self.folder, self.bound = folder, bound

    def add(self, number: int, first: Frame, flow: FlowArray, /) -> None:
        for axis, component in zip("xy", np.moveaxis(flow, 2, 0), strict=True):
            path = self.folder / f"flow_{axis}_{number:05d}.jpg"
            write_grey(path, to_levels(component, self.bound), comment=f"flow {axis}, bound {self.bound:g} px")

    def close(self) -> None:
        pass


class FileWriter:
    """One flow file for each flow, named after the pair's first frame."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind

    def add(self, number: int, first: Frame, flow: FlowArray, /) -> None:
        if self.kind == "png16":
            write_flow(self.folder / f"{first.name}.png", flow)
        else:
            write_half_flow(self.folder / f"{first.name}.npz", flow)

    def close(self) -> None:
        pass


def open_writer(kind: str, folder: Path, clip: str, settings: CorpusSettings) -> Writer:
    """What writes a clip's flows as `kind` into `folder`."""
    if kind == "jpeg":
        return JpegWriter(folder, settings.bound)
    if kind == SHARDS:
        return ShardPart(folder, clip)
    return FileWriter(folder, kind)


def to_levels(component: Float[np.ndarray, "H W"], bound: float) -> UInt8[np.ndarray, "H W"]:
    """u or v as 8-bit levels; 0 px, and what is not a number, is level 128."""
    levels = np.rint((np.nan_to_num(component, nan=0.0) + bound) * (255 / (2 * bound)))
    return np.clip(levels, 0, 255).astype(np.uint8)


def read_jpeg_flow(path: str | Path) -> FlowFile:
    """The flow in a pair of pictures of the kind jpeg, of which either is named; their comments say the bound.

    Level 128 is read as 0 px. A level is off by bound / 255 at most, but for what JPEG loses, and what is as long as the
    bound was that long or longer. InputFileError where a picture is missing, damaged, or says no bound.
    """
    path = Path(path)
    named = re.fullmatch(r"flow_[xy]_(\d+)\.jpg", path.name)
    if named is None:
        raise InputFileError(f"{path} is no picture of a flow: expected a name such as flow_x_00001.jpg")
    components: list[Any] = []
    for axis in "xy":
        levels, comment = read_grey(path.with_name(f"flow_{axis}_{named[1]}.jpg"))
        said = re.fullmatch(rf"flow {axis}, bound (\S+) px", comment)
        if said is None:
            raise InputFileError(
                f"{path.with_name(f'flow_{axis}_{named[1]}.jpg')} says no bound: flowgru corpus writes one"
            )
        bound = float(said[1])
        component = levels.astype(np.float32) * np.float32(2 * bound / 255) - np.float32(bound)
        components.append(np.where(levels == 128, np.float32(0), component))
    if components[0].shape != components[1].shape:
        raise InputFileError(f"{path} and its partner differ in size: expected one size for u and v")
    flow = np.ascontiguousarray(np.stack(components, axis=-1))
    return FlowFile(flow, np.ones(flow.shape[:2], bool))
