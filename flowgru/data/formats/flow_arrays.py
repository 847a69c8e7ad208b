"""Flow maps kept as arrays in HDF5 (.flo5) and in NumPy's own formats (.npz, .npy), read without trust.

An HDF5 file may point to any other file of the machine, a zip archive may unfold to terabytes and a NumPy file may
carry Python objects: each is refused. The readers give the stored values, float [H, W, 2], or raise InputFileError.
"""

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from flowgru.errors import InputFileError
from flowgru.files.bounded import (
    MAX_PIXELS,
    check_claim,
    check_length,
    check_size,
    damage_as_input_error,
    read_bytes,
)

_MAX_BYTES = 8 * MAX_PIXELS
_MAX_HEADER = 2**16


def read_flo5_array(path: Path) -> np.ndarray:
    """The data set 'flow' of an HDF5 file."""
    with _opened_flo5(path) as stored:
        return stored[...]


def flo5_size(path: Path) -> tuple[int, int]:
    """Width and height of the data set 'flow' of an HDF5 file, which is not read."""
    with _opened_flo5(path) as stored:
        return stored.shape[1], stored.shape[0]


@contextmanager
def _opened_flo5(path: Path) -> Iterator[Any]:
    import h5py

    with damage_as_input_error(path, "HDF5 file"), h5py.File(path, "r") as file:
        link = file.get("flow", getlink=True)
        if link is None:
            raise InputFileError(f"{path} has no data set 'flow': it holds {sorted(file)[:5]}")
        # A soft or external link, external storage and a virtual data set can all show another file's bytes.
        if not isinstance(link, h5py.HardLink):
            raise InputFileError(f"{path}: 'flow' is a {type(link).__name__}, expected the data themselves")
        stored = file["flow"]
        if not isinstance(stored, h5py.Dataset):
            raise InputFileError(f"{path}: 'flow' is a {type(stored).__name__}, expected a data set")
        if stored.external or stored.is_virtual:
            raise InputFileError(f"{path}: 'flow' is kept in other files, expected the data themselves")
        _check_shape(path, stored.shape, stored.dtype)
        if stored.chunks is not None and math.prod(stored.chunks) * stored.dtype.itemsize > _MAX_BYTES:
            raise InputFileError(f"{path}: 'flow' has chunks of {list(stored.chunks)}, too large to be read")
        check_claim(path, math.prod(stored.shape) * stored.dtype.itemsize, stored.id.get_storage_size())
        yield stored


def encode_flo5_array(flow: np.ndarray) -> bytes:
    """A file with the data set 'flow' as Spring writes it: gzip, level 5."""
    import h5py

    # In memory, because HDF5 crashes the process where the disk refuses what it closes.
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file.create_dataset("flow", data=flow, compression="gzip", compression_opts=5)
    return image.getvalue()


def read_npz_arrays(path: Path, content: bytes | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """The flow of a NumPy archive, kept as 'flow' or (VIPER) as 'u' and 'v', and its 'valid' [H, W] if it has one.

    content: what the file holds, where it is no file of its own; `path` is then what errors call it.
    """
    arrays = {}
    opened = path if content is None else io.BytesIO(content)
    with damage_as_input_error(path, ".npz archive"), zipfile.ZipFile(opened) as archive:
        length = path.stat().st_size if content is None else len(content)
        members = {Path(entry.filename).stem: entry for entry in archive.infolist()}
        keys = ("flow",) if "flow" in members else ("u", "v")
        if not members.keys() >= set(keys):
            raise InputFileError(f"{path} holds the arrays {sorted(members)[:5]}: expected 'flow', or 'u' and 'v'")
        for key in (*keys, "valid") if "valid" in members else keys:
            if members[key].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputFileError(f"{path}: '{key}' is compressed in a way that NumPy does not write")
            check_claim(path, members[key].file_size, min(members[key].compress_size, length))
            with archive.open(members[key]) as file:
                arrays[key] = _read_array(path, file, members[key].file_size)
    if keys == ("u", "v"):
        u, v = arrays["u"], arrays["v"]
        if u.shape != v.shape:
            raise InputFileError(f"{path}: 'u' is {list(u.shape)} and 'v' {list(v.shape)}, expected one shape [H, W]")
        stored = np.stack([u, v], axis=-1)
    else:
        stored = arrays["flow"]
    _check_shape(path, stored.shape, stored.dtype)
    valid = arrays.get("valid")
    if valid is None:
        return stored, None
    if valid.shape != stored.shape[:2]:
        expected = f"expected bool, or numbers above 0 where the flow is known, {list(stored.shape[:2])}"
        raise InputFileError(f"{path}: 'valid' is {valid.dtype} {list(valid.shape)}, {expected}")
    return stored, valid > 0  # NaN is not


def read_npy_array(path: Path) -> np.ndarray:
    """The array of a .npy file."""
    npy_size(path)  # before all of it is read
    data = read_bytes(path)
    stored = _read_array(path, io.BytesIO(data), len(data))
    _check_shape(path, stored.shape, stored.dtype)
    return stored


def npy_size(path: Path, *, mask: bool = False) -> tuple[int, int]:
    """Width and height of the flow, or of the mask, in a .npy file, of which only the header is read."""
    start = io.BytesIO(read_bytes(path, _MAX_HEADER))
    shape, _, dtype = _array_header(path, start, path.stat().st_size)
    (_check_mask if mask else _check_shape)(path, shape, dtype)
    return shape[1], shape[0]


def read_npy_mask(path: Path) -> np.ndarray:
    """The uint8 array [H, W] of a .npy file."""
    npy_size(path, mask=True)
    data = read_bytes(path)
    stored = _read_array(path, io.BytesIO(data), len(data))
    _check_mask(path, stored.shape, stored.dtype)
    return stored


def _read_array(path: Path, file: Any, size: int) -> np.ndarray:
    """One array in NumPy's own format from an open file, `size` bytes with its header; nothing is unpickled."""
    shape, fortran_order, dtype = _array_header(path, file, size)
    stored = np.frombuffer(file.read(math.prod(shape) * dtype.itemsize), dtype)
    return stored.reshape(shape, order="F" if fortran_order else "C")


def _array_header(path: Path, file: Any, size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type of an array in NumPy's own format, once they agree with its size in bytes."""
    try:
        with damage_as_input_error(path, "NumPy array"):
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
            else:
                shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(file)
    except MemoryError:  # so Python's parser calls a text that is nested too deeply
        raise InputFileError(f"{path} is a damaged NumPy array: its header is nested too deeply") from None
    body = math.prod(shape) * dtype.itemsize
    if dtype.kind not in "fbui" or any(side <= 0 for side in shape) or body > _MAX_BYTES:
        raise InputFileError(
            f"{path} holds {dtype} {list(shape)}: expected float [H, W, 2] of at most {MAX_PIXELS} pixels"
        )
    check_length(path, size, file.tell() + body, f"an array {dtype} {list(shape)}")
    return shape, fortran_order, dtype


def _check_mask(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if len(shape) != 2 or dtype != np.uint8:
        raise InputFileError(f"{path} holds {dtype} {list(shape)}: expected a mask, uint8 [H, W]")


def _check_shape(path: Path, shape: tuple[int, ...] | None, dtype: np.dtype) -> None:
    if shape is None or len(shape) != 3 or shape[2] != 2 or dtype.kind != "f":
        raise InputFileError(f"{path} holds {dtype} {list(shape or ())}: expected float [H, W, 2]")
    check_size(path, shape[1], shape[0])
