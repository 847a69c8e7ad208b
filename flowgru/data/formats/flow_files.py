"""Flow files of every benchmark, read and written without resampling; their formats are in flow_formats.py.

A reader compares what a header claims with the size of the file before it takes memory for it. Every failure to read is
an InputFileError of one line.
"""

import io
from pathlib import Path

import numpy as np

from flowgru.data.formats.flow_formats import BY_SUFFIX, FLOW_FORMATS, FlowFile, Format, cleaned, known_where
from flowgru.errors import InputFileError, RequestError
from flowgru.files.atomic import atomic_write
from flowgru.files.bounded import read_bytes


def read_flow(path: str | Path) -> FlowFile:
    """Read a flow file; the first bytes tell its format. The size is the stored one: Spring's is twice the picture's.

    InputFileError if the file is missing, damaged, or no flow map.
    """
    path = Path(path)
    return _format_of(path).read(path)


def flow_size(path: str | Path) -> tuple[int, int]:
    """The width and height that a flow file's header claims, once the length of the file agrees with it.

    The flow itself is not decoded (but that of .npz is). InputFileError as of read_flow.
    """
    path = Path(path)
    return _format_of(path).size(path)


def _format_of(path: Path) -> Format:
    data = read_bytes(path, 16)
    found = next((format for format in FLOW_FORMATS.values() if format.fits(data)), None)
    if found is None:
        text = f"begins with {data[:8]!r}" if data else "is empty"
        raise InputFileError(f"{path} is no flow file: it {text}; expected one of {', '.join(BY_SUFFIX)}")
    return found


def write_flow(path: str | Path, flow: np.ndarray, valid: np.ndarray | None = None, *, overwrite: bool = False) -> None:
    """Write flow [H, W, 2] in the format that the suffix names, see FLOW_FORMATS.

    valid [H, W] says where the flow is known; without it, wherever both components are finite and at most 1e9. The
    KITTI format (.png) rounds to 1/64 pixel and holds -512 to 511.98: pixels beyond are marked unknown, with a warning.
    RequestError for a wrong shape or suffix, or if `path` exists without `overwrite`; MachineError if the disk refuses.
    """
    path = Path(path)
    written = {suffix: format.write for suffix, format in BY_SUFFIX.items() if format.write}
    writer = written.get(path.suffix.lower())
    if writer is None:
        raise RequestError(f"cannot write a flow to {path}: the suffix must be one of {', '.join(written)}")
    if flow.ndim != 3 or flow.shape[2] != 2 or flow.size == 0 or flow.dtype.kind != "f":
        raise RequestError(f"flow is {flow.dtype} {list(flow.shape)}: expected float [H, W, 2]")
    if valid is not None and (valid.shape != flow.shape[:2] or valid.dtype != bool):
        raise RequestError(f"valid is {valid.dtype} {list(valid.shape)}: expected bool {list(flow.shape[:2])}")
    known = cleaned(flow)
    if valid is not None:
        known = known_where(known, valid)
    with atomic_write(path, overwrite) as temporary:
        writer(temporary, known)


def write_half_flow(path: Path, flow: np.ndarray) -> None:
    """Writes flow [H, W, 2] as .npz in 16 bits: arrays flow and valid, as read_flow reads them.

    float16 has 11 bits: a component is off by at most 1/2048 of itself. What it cannot hold (beyond 65504) is unknown.
    RequestError if `path` exists; MachineError if the disk refuses.
    """
    with atomic_write(path, overwrite=False) as temporary, temporary.open("wb") as file:
        file.write(half_flow_bytes(flow))


def half_flow_bytes(flow: np.ndarray) -> bytes:
    """The content of a file of write_half_flow."""
    stored, valid = cleaned(flow)
    with np.errstate(over="ignore"):
        half = stored.astype(np.float16)
    valid &= np.isfinite(half).all(axis=2)
    half[~valid] = 0
    content = io.BytesIO()
    np.savez_compressed(content, flow=half, valid=valid)
    return content.getvalue()
