"""The formats of flow files: how each is known, read, measured and made. None of them is resampled.

flo     Middlebury, Sintel, FlyingChairs   b"PIEH", int32 width and height, float32 (u, v) by rows, little-endian
png16   KITTI, HD1K                        16-bit RGB: (u, v) * 64 + 32768, and 1 where the flow is known
npz     ours, VIPER                        arrays flow and valid; VIPER: u and v
flo5    Spring                             HDF5 data set "flow", float32 [H, W, 2], NaN where unknown
pfm     FlyingThings3D                     float32 (u, v, 0), rows from bottom to top
npy     TartanAir                          float [H, W, 2] (read only)
"""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from flowgru.data.formats.flow_arrays import (
    encode_flo5_array,
    flo5_size,
    npy_size,
    read_flo5_array,
    read_npy_array,
    read_npz_arrays,
)
from flowgru.data.formats.pfm import encode_pfm_array, pfm_size, read_pfm_array
from flowgru.data.formats.sixteen_bit import PNG_SIGNATURE, check_png_end, decode_16_bit, png_header
from flowgru.errors import InputFileError, size_text
from flowgru.files.bounded import check_length, check_size, read_bytes
from flowgru.kinds import UNKNOWN_ABOVE

WRITTEN_UNKNOWN = 1e10


class FlowFile(NamedTuple):
    """What a flow file says: the flow (u right, v down, in pixels), and where it is known. Unknown pixels hold 0."""

    flow: Float32[np.ndarray, "H W 2"]
    valid: Bool[np.ndarray, "H W"]


class Format(NamedTuple):
    """How files of one format are known, read and made."""

    suffix: str
    """The usual ending of its files, in lower case."""
    magic: tuple[bytes, ...]
    """What its files begin with: one of these."""
    read: Callable[[Path], FlowFile]
    """InputFileError where the file is damaged or no flow map."""
    size: Callable[[Path], tuple[int, int]]
    """Width and height that the header claims, once the length of the file agrees with it."""
    encode: Callable[[FlowFile], bytes] | None
    """The content of a file with this flow; None where the format is only read."""

    def fits(self, start: bytes) -> bool:
        """Whether a file that begins so is of this format."""
        return start.startswith(self.magic)


def cleaned(stored: np.ndarray) -> FlowFile:
    """Turn stored values into float32, with 0 and valid False where they mark an unknown pixel."""
    with np.errstate(over="ignore", invalid="ignore"):
        flow = stored.astype(np.float32)
        u_known, v_known = np.moveaxis(np.abs(flow) <= UNKNOWN_ABOVE, 2, 0)
    valid = u_known & v_known
    flow[~valid] = 0
    return FlowFile(np.ascontiguousarray(flow), valid)


def known_where(flow: FlowFile, valid: np.ndarray) -> FlowFile:
    both = np.logical_and(flow.valid, valid)
    return FlowFile(np.where(both[..., None], flow.flow, np.float32(0)), both)


def _flo_size(path: Path) -> tuple[int, int]:
    data = read_bytes(path, 12)
    if len(data) < 12:
        raise InputFileError(f"{path} is too short: a .flo header has 12 bytes, the file {len(data)}")
    width, height = struct.unpack("<ii", data[4:])
    if width <= 0 or height <= 0:
        raise InputFileError(f"{path} claims to be {size_text((height, width))}: both sides must be positive")
    check_length(path, path.stat().st_size, 12 + 8 * width * height, f"a .flo of {size_text((height, width))}")
    check_size(path, width, height)
    return width, height


def _read_flo(path: Path) -> FlowFile:
    width, height = _flo_size(path)
    return cleaned(np.frombuffer(read_bytes(path), "<f4", offset=12).reshape(height, width, 2))


def _encode_flo(flow: FlowFile) -> bytes:
    height, width = flow.valid.shape
    stored = np.where(flow.valid[..., None], flow.flow, np.float32(WRITTEN_UNKNOWN))
    return b"PIEH" + struct.pack("<ii", width, height) + stored.astype("<f4").tobytes()


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


def beyond_png(flow: FlowFile) -> int:
    """How many known pixels move further than the KITTI format can hold, which marks them unknown."""
    return int((flow.valid & ~_fits_png(_png_levels(flow))).sum())


def _png_levels(flow: FlowFile) -> np.ndarray:
    return np.rint(flow.flow.astype(np.float64) * 64 + 32768)


def _fits_png(levels: np.ndarray) -> np.ndarray:
    return np.all((levels >= 0) & (levels <= 65535), axis=2)


def _encode_png(flow: FlowFile) -> bytes:
    levels = _png_levels(flow)
    known = flow.valid & _fits_png(levels)
    samples = np.dstack([np.clip(levels, 0, 65535), known]).astype(np.uint16) * known[..., None]
    return cv2.imencode(".png", np.ascontiguousarray(samples[..., ::-1]))[1].tobytes()


def _read_pfm(path: Path) -> FlowFile:
    return cleaned(read_pfm_array(path))


def _encode_pfm(flow: FlowFile) -> bytes:
    return encode_pfm_array(np.where(flow.valid[..., None], flow.flow, np.float32(WRITTEN_UNKNOWN)))


def _read_flo5(path: Path) -> FlowFile:
    return cleaned(read_flo5_array(path))


def _encode_flo5(flow: FlowFile) -> bytes:
    return encode_flo5_array(np.where(flow.valid[..., None], flow.flow, np.float32(np.nan)))


def _read_npz(path: Path) -> FlowFile:
    stored, stored_valid = read_npz_arrays(path)
    flow, known = cleaned(stored)
    if stored_valid is None:
        return FlowFile(flow, known)
    return known_where(FlowFile(flow, known), stored_valid)


def _npz_size(path: Path) -> tuple[int, int]:
    height, width = _read_npz(path).valid.shape
    return width, height


def _encode_npz(flow: FlowFile) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, flow=flow.flow, valid=flow.valid)
    return file.getvalue()


def _read_npy(path: Path) -> FlowFile:
    return cleaned(read_npy_array(path))


FLOW_FORMATS = {
    "flo": Format(".flo", (b"PIEH",), _read_flo, _flo_size, _encode_flo),
    "png16": Format(".png", (PNG_SIGNATURE,), _read_png, _png_size, _encode_png),
    "npz": Format(".npz", (b"PK\x03\x04",), _read_npz, _npz_size, _encode_npz),
    "flo5": Format(".flo5", (b"\x89HDF\r\n\x1a\n",), _read_flo5, flo5_size, _encode_flo5),
    "pfm": Format(".pfm", (b"PF", b"Pf"), _read_pfm, pfm_size, _encode_pfm),
    "npy": Format(".npy", (b"\x93NUMPY",), _read_npy, npy_size, None),
}
"""Every format by its name; those that are written are the names of flowgru.config.choices.FlowFormat."""

BY_SUFFIX = {format.suffix: format for format in FLOW_FORMATS.values()}
"""The same by the ending of their files."""
