"""Flow files of every benchmark, read and written without resampling.

.flo   Middlebury, Sintel, FlyingChairs    b"PIEH", int32 width and height, float32 (u, v) by rows, little-endian
.png   KITTI, HD1K                         16-bit RGB: (u, v) * 64 + 32768, and 1 where the flow is known
.pfm   FlyingThings3D                      float32 (u, v, 0), rows from bottom to top
.flo5  Spring                              HDF5 data set "flow", float32 [H, W, 2], NaN where unknown
.npz   ours, VIPER                         arrays flow and valid; VIPER: u and v
.npy   TartanAir                           float [H, W, 2] (read only)

A reader compares what a header claims with the size of the file before it takes memory for it. Every failure to read is
an InputFileError of one line.
"""

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from flowgru.data.formats.flow_arrays import (
    flo5_size,
    npy_size,
    read_flo5_array,
    read_npy_array,
    read_npz_arrays,
    write_flo5_array,
)
from flowgru.data.formats.pfm import pfm_size, read_pfm_array, write_pfm_array
from flowgru.data.formats.sixteen_bit import PNG_SIGNATURE, check_png_end, decode_16_bit, png_header
from flowgru.errors import InputFileError, RequestError
from flowgru.files.atomic import written_whole
from flowgru.files.bounded import check_length, check_size, read_bytes

UNKNOWN_ABOVE = 1e9
"""A component beyond this, or not a number, marks an unknown pixel (Middlebury's rule)."""
WRITTEN_UNKNOWN = 1e10


class FlowFile(NamedTuple):
    """What a flow file says: the flow (u right, v down, in pixels), and where it is known. Unknown pixels hold 0."""

    flow: Float32[np.ndarray, "H W 2"]
    valid: Bool[np.ndarray, "H W"]


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


def _format_of(path: Path) -> "_Format":
    data = read_bytes(path, 16)
    found = next((found for magic, found in _FORMATS.items() if data.startswith(magic)), None)
    if found is None:
        text = f"begins with {data[:8]!r}" if data else "is empty"
        raise InputFileError(f"{path} is no flow file: it {text}; expected .flo, .png, .pfm, .flo5, .npz or .npy")
    return found


def write_flow(path: str | Path, flow: np.ndarray, valid: np.ndarray | None = None, *, overwrite: bool = False) -> None:
    """Write flow [H, W, 2] in the format that the suffix names: .flo, .png, .npz, .flo5 or .pfm.

    valid [H, W] says where the flow is known; without it, wherever both components are finite and at most 1e9. The
    KITTI format (.png) rounds to 1/64 pixel and holds -512 to 511.98: pixels beyond are marked unknown, with a warning.
    RequestError for a wrong shape or suffix, or if `path` exists without `overwrite`; MachineError if the disk refuses.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise RequestError(f"cannot write a flow to {path}: the suffix must be one of {', '.join(_WRITERS)}")
    if flow.ndim != 3 or flow.shape[2] != 2 or flow.size == 0 or flow.dtype.kind != "f":
        raise RequestError(f"flow is {flow.dtype} {list(flow.shape)}: expected float [H, W, 2]")
    if valid is not None and (valid.shape != flow.shape[:2] or valid.dtype != bool):
        raise RequestError(f"valid is {valid.dtype} {list(valid.shape)}: expected bool {list(flow.shape[:2])}")
    cleaned = _cleaned(flow)
    if valid is not None:
        cleaned = _known_where(cleaned, valid)
    with written_whole(path, overwrite) as temporary:
        writer(temporary, cleaned)


def _cleaned(stored: np.ndarray) -> FlowFile:
    """Turn stored values into float32, with 0 and valid False where they mark an unknown pixel."""
    with np.errstate(over="ignore", invalid="ignore"):
        flow = stored.astype(np.float32)
        u_known, v_known = np.moveaxis(np.abs(flow) <= UNKNOWN_ABOVE, 2, 0)
    valid = u_known & v_known
    flow[~valid] = 0
    return FlowFile(np.ascontiguousarray(flow), valid)


def _known_where(flow: FlowFile, valid: np.ndarray) -> FlowFile:
    both = np.logical_and(flow.valid, valid)
    return FlowFile(np.where(both[..., None], flow.flow, np.float32(0)), both)


def _flo_size(path: Path) -> tuple[int, int]:
    data = read_bytes(path, 12)
    if len(data) < 12:
        raise InputFileError(f"{path} is too short: a .flo header has 12 bytes, the file {len(data)}")
    width, height = struct.unpack("<ii", data[4:])
    if width <= 0 or height <= 0:
        raise InputFileError(f"{path} claims to be {width}x{height} pixels: both sides must be positive")
    check_length(path, path.stat().st_size, 12 + 8 * width * height, f"a .flo of {width}x{height}")
    return width, height


def _read_flo(path: Path) -> FlowFile:
    width, height = _flo_size(path)
    return _cleaned(np.frombuffer(read_bytes(path), "<f4", offset=12).reshape(height, width, 2))


def _write_flo(path: Path, flow: FlowFile) -> None:
    height, width = flow.valid.shape
    stored = np.where(flow.valid[..., None], flow.flow, np.float32(WRITTEN_UNKNOWN))
    path.write_bytes(b"PIEH" + struct.pack("<ii", width, height) + stored.astype("<f4").tobytes())


def _png_size(path: Path) -> tuple[int, int]:
    header = png_header(read_bytes(path, 26), path)
    if (header.bit_depth, header.colour_type) != (16, 2):
        kind = {0: "grey", 2: "RGB", 3: "palette", 4: "grey + alpha", 6: "RGBA"}.get(header.colour_type, "unknown")
        raise InputFileError(f"{path} is a PNG of {header.bit_depth}-bit {kind}: not a KITTI flow map (16-bit RGB)")
    check_size(path, header.width, header.height)
    check_png_end(path)
    return header.width, header.height


def _read_png(path: Path) -> FlowFile:
    _png_size(path)
    samples = decode_16_bit(read_bytes(path), path)
    if samples.ndim != 3 or samples.shape[2] != 3:
        raise InputFileError(f"{path} decodes to {list(samples.shape)}: not a KITTI flow map, which has 3 channels")
    valid = samples[..., 2] > 0
    flow = (samples[..., :2].astype(np.float32) - 32768) / 64
    flow[~valid] = 0
    return FlowFile(flow, valid)


def _write_png(path: Path, flow: FlowFile) -> None:
    levels = np.rint(flow.flow.astype(np.float64) * 64 + 32768)
    in_range = ((levels >= 0) & (levels <= 65535)).all(axis=2)
    num_beyond = int((~in_range).sum())
    if num_beyond:
        warnings.warn(
            f"{num_beyond} pixels move further than the KITTI format can hold (-512 to 511.98): marked unknown; "
            "write .flo to keep them",
            stacklevel=3,
        )
    known = flow.valid & in_range
    samples = np.dstack([np.clip(levels, 0, 65535), known]).astype(np.uint16) * known[..., None]
    path.write_bytes(cv2.imencode(".png", np.ascontiguousarray(samples[..., ::-1]))[1].tobytes())


def _read_pfm(path: Path) -> FlowFile:
    return _cleaned(read_pfm_array(path))


def _write_pfm(path: Path, flow: FlowFile) -> None:
    write_pfm_array(path, np.where(flow.valid[..., None], flow.flow, np.float32(WRITTEN_UNKNOWN)))


def _read_flo5(path: Path) -> FlowFile:
    return _cleaned(read_flo5_array(path))


def _write_flo5(path: Path, flow: FlowFile) -> None:
    write_flo5_array(path, np.where(flow.valid[..., None], flow.flow, np.float32(np.nan)))


def _read_npz(path: Path) -> FlowFile:
    stored, stored_valid = read_npz_arrays(path)
    flow, known = _cleaned(stored)
    if stored_valid is None:
        return FlowFile(flow, known)
    return _known_where(FlowFile(flow, known), stored_valid)


def _npz_size(path: Path) -> tuple[int, int]:
    height, width = _read_npz(path).valid.shape
    return width, height


def _write_npz(path: Path, flow: FlowFile) -> None:
    # NumPy would add a second suffix to a path that ends with .NPZ.
    with path.open("wb") as file:
        np.savez_compressed(file, flow=flow.flow, valid=flow.valid)


def _read_npy(path: Path) -> FlowFile:
    return _cleaned(read_npy_array(path))


class _Format(NamedTuple):
    read: Callable[[Path], FlowFile]
    size: Callable[[Path], tuple[int, int]]


_PFM = _Format(_read_pfm, pfm_size)
_FORMATS: dict[bytes, _Format] = {
    b"PIEH": _Format(_read_flo, _flo_size),
    PNG_SIGNATURE: _Format(_read_png, _png_size),
    b"PF": _PFM,
    b"Pf": _PFM,
    b"\x89HDF\r\n\x1a\n": _Format(_read_flo5, flo5_size),
    b"PK\x03\x04": _Format(_read_npz, _npz_size),
    b"\x93NUMPY": _Format(_read_npy, npy_size),
}
_WRITERS: dict[str, Callable[[Path, FlowFile], None]] = {
    ".flo": _write_flo,
    ".png": _write_png,
    ".npz": _write_npz,
    ".flo5": _write_flo5,
    ".pfm": _write_pfm,
}

READABLE = (*_WRITERS, ".npy")
"""Usual endings of flow files; the first bytes, not the ending, say what a file is."""
