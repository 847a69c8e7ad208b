"""Flows as the servers of the benchmarks take them: written, read back, and whole folders of them checked.

Sintel takes .flo, KITTI 16-bit PNG with every pixel marked valid, and Spring .flo5 of its pictures' own size (the true
flow has twice that). What is handed in must have a finite flow in every pixel.
"""

import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from flowgru.data.formats.flow_files import read_flow, write_flow_array
from flowgru.data.formats.flow_formats import BY_SUFFIX
from flowgru.data.formats.sixteen_bit import PNG_SIGNATURE, png_header
from flowgru.data.sets.test_splits import SubmissionPair
from flowgru.errors import InputFileError, MachineError, RequestError, one_line, sides, size_text
from flowgru.files.atomic import atomic_write
from flowgru.files.bounded import read_bytes
from flowgru.kinds import UNKNOWN_ABOVE

QUANTUM = 1 / 64
"""Step of a KITTI flow map, in pixels; the other formats hold float32 as it is."""
KITTI_RANGE = (-512.0, 65535 * QUANTUM - 512)
"""What a KITTI flow map can hold, in pixels."""


def write_submitted(path: Path, flow: np.ndarray, *, overwrite: bool = False) -> int:
    """Writes one flow [H, W, 2] and reads it back; returns how many pixels had to be clipped to KITTI's range.

    RequestError where the flow is not finite; MachineError where the file does not give it back within half a quantum.
    """
    if not (np.abs(flow) <= UNKNOWN_ABOVE).all():
        raise RequestError(f"the flow for {path.name} is not finite: nothing like that can be handed in; try --model")
    kitti = path.suffix == ".png"
    stored = np.clip(flow, *KITTI_RANGE) if kitti else flow
    half = QUANTUM / 2 if kitti else 0.0
    write_flow_array(path, stored.astype(np.float32), overwrite=overwrite)
    found, valid = read_flow(path)
    if found.shape != flow.shape or not valid.all() or (np.abs(found - stored) > half).any():
        raise MachineError(f"{path} does not give back the flow that was written: look after the disk, then run again")
    return int((np.abs(flow - stored) > half).any(axis=2).sum())


def package_faults(folder: Path, pairs: Sequence[SubmissionPair], *, besides: Iterable[str] = ()) -> list[str]:
    """What keeps a folder from being the submission for these pairs, one line each; empty where nothing does.

    Every flow must be there under its name, in its format, of its picture's size and finite in every pixel, and no other
    file but those named in `besides`.
    """
    if not folder.is_dir():
        raise InputFileError(f"{folder} is no folder: name the one that holds the flows")
    expected = {pair.target: pair for pair in pairs}
    present = files_in(folder)
    faults = [f"{target} is missing" for target in expected if target not in present]
    faults += [f"{name} does not belong there" for name in sorted(present - expected.keys() - set(besides))]
    return faults + [
        f"{target} {fault}"
        for target, pair in expected.items()
        if target in present and (fault := _fault(folder / target, picture_size(pair.first)))
    ]


def files_in(folder: Path) -> set[str]:
    """The files of a folder and its sub-folders, with slashes, but those in which macOS keeps its notes.

    Links to folders are followed, each folder once.
    """
    found, seen = set(), set()
    for place, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(place, name)) not in seen]
        inside = Path(place).relative_to(folder)
        found |= {(inside / name).as_posix() for name in names if name != ".DS_Store" and not name.startswith("._")}
    return found


def _fault(path: Path, size: tuple[int, int]) -> str | None:
    """What is wrong with one file."""
    if not BY_SUFFIX[path.suffix].fits(read_bytes(path, 16)):
        return f"is no {path.suffix} file"
    try:
        valid = read_flow(path).valid
    except InputFileError as error:
        return f"cannot be read ({error})"
    if valid.shape != size:
        return f"is {sides(valid.shape)}: its picture is {size_text(size)}"
    if not valid.all():
        kind = "not marked valid" if path.suffix == ".png" else "not finite, or above 1e9"
        return f"has {int((~valid).sum())} pixels that are {kind}"
    return None


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a PNG, from its header. InputFileError where it is none."""
    start = read_bytes(path, 26)
    if not start.startswith(PNG_SIGNATURE):
        raise InputFileError(f"{path} is no PNG: unpack the test split again")
    header = png_header(start, path)
    return header.height, header.width


def zip_fault(path: Path, folder: Path, pairs: Sequence[SubmissionPair]) -> str | None:
    """What keeps a zip from holding these flows of the folder, byte for byte and nothing else."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if sorted(entry.filename for entry in entries) != sorted(pair.target for pair in pairs):
                return "does not hold the flows of its folder: remove it, and zip them again"
            for entry in entries:
                flow = read_bytes(folder / entry.filename)
                if entry.file_size != len(flow) or archive.read(entry) != flow:  # the size first: it may unfold to more
                    return f"holds another {entry.filename} than its folder: remove it, and zip the flows again"
    except (OSError, RuntimeError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        return f"is damaged ({one_line(error)}): remove it, and zip the flows again"
    return None


def zip_package(path: Path, folder: Path, pairs: Sequence[SubmissionPair], *, overwrite: bool = False) -> None:
    """Packs the flows, under their names in the folder, and reads the zip back. MachineError where it is damaged."""
    with atomic_write(path, overwrite) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:  # a PNG does not get any smaller
            for pair in pairs:
                archive.write(folder / pair.target, pair.target)
        with zipfile.ZipFile(temporary) as archive:
            damaged = archive.testzip() or archive.namelist() != [pair.target for pair in pairs]
        if damaged:
            raise MachineError(f"{path} does not give back what was packed: look after the disk, then run again")
