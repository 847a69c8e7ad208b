"""Flow files of every benchmark, read and written without resampling; their formats are in flow_formats.py.

A reader compares what a header claims with the size of the file before it takes memory for it. Every failure to read is
an InputFileError of one line.
"""

import io
import warnings
from pathlib import Path

import numpy as np

from flowgru.data.formats.flow_formats import (
    BY_SUFFIX,
    FLOW_FORMATS,
    FlowFile,
    Format,
    beyond_png,
    cleaned,
    known_where,
)
from flowgru.errors import InputFileError, RequestError, counted
from flowgru.files.atomic import write_file
from flowgru.files.bounded import damage_as_input_error, read_bytes
from flowgru.kinds import described, flow_tensor, given_path, numbers_of
from flowgru.types import FlowLike, MaskLike


def read_flow(path: object) -> FlowFile:
    """Read a flow file; the first bytes tell its format. The size is the stored one: Spring's is twice the picture's.

    InputFileError if the file is missing, damaged, or no flow map; RequestError for what is no path.
    """
    path = given_path(path)
    with damage_as_input_error(path, "flow file"):
        return _format_of(path).read(path)


def flow_size(path: str | Path) -> tuple[int, int]:
    """The width and height that a flow file's header claims, once the length of the file agrees with it.

    The flow itself is not decoded (but that of .npz is). InputFileError as of read_flow.
    """
    path = Path(path)
    with damage_as_input_error(path, "flow file"):
        return _format_of(path).size(path)


def _format_of(path: Path) -> Format:
    data = read_bytes(path, 16)
    found = next((format for format in FLOW_FORMATS.values() if format.fits(data)), None)
    if found is None:
        text = "its first bytes are those of no format that is read" if data else "it is empty"
        raise InputFileError(f"{path} is no flow file: {text}; expected one of {', '.join(BY_SUFFIX)}")
    return found


def write_flow(path: object, flow: FlowLike, valid: MaskLike | None = None, *, overwrite: bool = False) -> None:
    """Write a flow in the format that the suffix names, see FLOW_FORMATS.

    flow: an array or tensor [2, H, W] or [H, W, 2], in pixels. valid: an array or tensor of bool [H, W] that says where the
    flow is known; without it, wherever both components are finite and at most 1e9. The KITTI format (.png) rounds to 1/64
    pixel and holds -512 to 511.98: pixels beyond are marked unknown, with a warning.
    RequestError for another shape, type or suffix, or if `path` exists without `overwrite`; MachineError if the disk
    refuses.
    """
    path = given_path(path)
    vectors, form = flow_tensor(flow)
    if form.batched:
        raise RequestError(f"flow is {described(flow)}, a batch: expected one flow [2, H, W] or [H, W, 2] for one file")
    known = None
    if valid is not None:
        mask, _ = numbers_of(valid, "valid", "an array or tensor of bool [H, W]")
        known = mask.numpy(force=True)
    write_flow_array(path, vectors[0].permute(1, 2, 0).numpy(force=True), known, overwrite=overwrite)


def write_flow_array(path: Path, flow: np.ndarray, valid: np.ndarray | None = None, *, overwrite: bool = False) -> None:
    """`write_flow` of an array [H, W, 2] of floating-point numbers."""
    encoders = {suffix: format.encode for suffix, format in BY_SUFFIX.items() if format.encode}
    encode = encoders.get(path.suffix.lower())
    if encode is None:
        raise RequestError(f"cannot write a flow to {path}: the suffix must be one of {', '.join(encoders)}")
    if valid is not None and (valid.shape != flow.shape[:2] or valid.dtype != bool):
        raise RequestError(f"valid is {valid.dtype} {list(valid.shape)}: expected bool {list(flow.shape[:2])}")
    known = cleaned(flow)
    if valid is not None:
        known = known_where(known, valid)
    write_file(path, encode(known), overwrite)
    if path.suffix.lower() == ".png" and (num_beyond := beyond_png(known)):
        warnings.warn(
            f"{path}: the KITTI format holds -512 to 511.98, and {counted(num_beyond, 'pixel')} of the flow beyond it are "
            "marked unknown; write .flo to keep them",
            stacklevel=3,
        )


def write_half_flow(path: Path, flow: np.ndarray) -> None:
    """Writes flow [H, W, 2] as .npz in 16 bits: arrays flow and valid, as read_flow reads them.

    float16 has 11 bits: a component is off by at most 1/2048 of itself. What it cannot hold (beyond 65504) is unknown.
    RequestError if `path` exists; MachineError if the disk refuses.
    """
    write_file(path, half_flow_bytes(flow), overwrite=False)


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
