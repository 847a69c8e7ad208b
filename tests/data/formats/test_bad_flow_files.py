"""A bad flow file is refused in one line before memory is taken for it."""

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError

import cv2
import h5py
import numpy as np
import pytest

from flowgru.data.formats import flow_formats
from flowgru.data.formats.flow_files import flow_size, read_flow, write_flow
from flowgru.data.formats.images import image_size, read_image
from flowgru.errors import InputFileError
from flowgru.files import bounded


def pfm(header: bytes, body: int) -> bytes:
    return header + bytes(body)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy_header(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode("latin-1")


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def flo(width: int, height: int, body: int, magic: bytes = b"PIEH") -> bytes:
    return magic + struct.pack("<ii", width, height) + bytes(body)


def encoded(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


FLAT = np.zeros((3, 4, 2), np.float32)


BAD_FILES = {
    "empty.flo": (b"", "is empty"),
    "magic.flo": (flo(4, 3, 96, b"PIEX"), "its first bytes are those of no format that is read; expected one of .flo,"),
    "html.flo": (b"<!DOCTYPE html>", "its first bytes are those of no format that is read; expected one of .flo,"),
    "header.flo": (b"PIEH\1\0", "a .flo header has 12 bytes"),
    "huge.flo": (
        flo(60000, 60000, 96),
        "too short: a .flo of 60000x60000 px (height x width) needs 28800000012 bytes, there are 108",
    ),
    "negative.flo": (flo(-1, 3, 96), "claims to be 3x-1 px (height x width): both"),
    "both_negative.flo": (flo(-4, -3, 96), "claims to be -3x-4 px (height x width): both"),
    "zero.flo": (flo(0, 3, 0), "claims to be 3x0 px (height x width): both"),
    "short.flo": (flo(4, 3, 95), "too short: a .flo of 3x4 px (height x width) needs 108 bytes, there are 107"),
    "long.flo": (flo(4, 3, 97), "too long: a .flo of 3x4 px (height x width) needs 108 bytes, there are 109"),
    "nan.pfm": (pfm(b"PF\n4 3\nnan\n", 144), "PFM scale b'nan'"),
    "zero_scale.pfm": (pfm(b"PF\n4 3\n0.0\n", 144), "PFM scale b'0.0'"),
    "word.pfm": (pfm(b"PF\n4 3\nbig\n", 144), "PFM scale b'big'"),
    "short.pfm": (
        pfm(b"PF\n4 3\n-1\n", 143),
        "too short: a .pfm of 3x4 px (height x width) needs 154 bytes, there are 153",
    ),
    "huge.pfm": (pfm(b"PF\n99999999 99999999\n-1\n", 144), "too short: a .pfm of 99999999x99999999"),
    "zero.pfm": (pfm(b"PF\n0 3\n-1\n", 0), "claims to be 3x0 px (height x width): both"),
    "negative.pfm": (pfm(b"PF\n-4 3\n-1\n", 144), "no PFM header"),
    "one.pfm": (pfm(b"Pf\n4 3\n-1\n", 48), "PFM of one channel"),
    "cut.pfm": (b"PF\n4", "no PFM header"),
    "eight_bit.png": (encoded(np.zeros((3, 4, 3), np.uint8)), "is a PNG of 8-bit RGB: not a KITTI flow map"),
    "grey.png": (encoded(np.zeros((3, 4), np.uint16)), "is a PNG of 16-bit grey: not a KITTI flow map"),
    "cut.png": (encoded(np.zeros((3, 4, 3), np.uint16))[:-20], "is a truncated PNG"),
    "header.png": (encoded(np.zeros((3, 4, 3), np.uint16))[:20], "is a damaged PNG"),
    "bomb.png": (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 40000, 40000, 16, 2, 0, 0, 0),
        "claims to be 40000x40000 px (height x width): at most 134217728 pixels are read",
    ),
    "bits.npz": (zipped(flow=npy(np.zeros((3, 4, 2), np.int32))), "holds int32"),
    "keys.npz": (zipped(disparity=npy(FLAT)), "holds the arrays ['disparity']"),
    "uv.npz": (zipped(u=npy(FLAT[..., 0]), v=npy(FLAT[:2, :, 0])), "'u' is [3, 4] and 'v' [2, 4]"),
    "valid.npz": (zipped(flow=npy(FLAT), valid=npy(np.ones((3, 5), bool))), "'valid' is bool [3, 5]"),
    "objects.npy": (npy(np.array([[{}]], dtype=object)), "holds object"),
    "shape.npy": (npy(np.zeros((2, 3, 4), np.float32)), "holds float32 [2, 3, 4]: expected float [H, W, 2]"),
    "token.npy": (npy_header("{'descr': '<f4', (\n"), "damaged NumPy array"),
    "indent.npy": (npy_header("  {'descr'\n ,: 3\n"), "damaged NumPy array"),
    "nested.npy": (npy_header("(" * 5000), "damaged NumPy array"),
    "minus.npy": (npy_header("-" * 9000 + "1"), "damaged NumPy array"),
    "nul.npy": (npy_header("{\0}"), "damaged NumPy array"),
    "type.npy": (npy_header("{'descr': [['a'], 3], 'fortran_order': 3, 'shape': ()}"), "damaged NumPy array"),
    "token.npz": (zipped(flow=npy_header("{'descr': '<f4', (\n")), "damaged NumPy array"),
    "cut.npy": (npy(FLAT)[:-1], "too short: an array float32 [3, 4, 2]"),
    "cut.flo5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "damaged HDF5"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputFileError) as caught:
        read_flow(tmp_path / name)
    assert message in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_array_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (999999, 999999, 2), "fortran_order": False, "descr": "<f4"})
    (tmp_path / "a.npy").write_bytes(header.getvalue())
    (tmp_path / "a.npz").write_bytes(zipped(flow=header.getvalue()))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(InputFileError, match=r"holds float32 \[999999, 999999, 2\].*at most 134217728"):
            read_flow(tmp_path / name)


def test_flo5_that_lies_or_points_elsewhere_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(96)))
    write_flow(tmp_path / "other.flo5", FLAT)

    def refused(message: str) -> None:
        with pytest.raises(InputFileError, match=message) as caught:
            read_flow(tmp_path / "a.flo5")
        assert "\n" not in str(caught.value)

    with h5py.File(tmp_path / "a.flo5", "w") as file:
        file.create_dataset(
            "flow", shape=(1_000_000, 1_000_000, 2), dtype="f4", chunks=(1000, 1000, 2), compression="gzip"
        )
    refused("claims to be 1000000x1000000 px ")
    with h5py.File(tmp_path / "a.flo5", "w") as file:
        file.create_dataset("flow", shape=(3, 4, 2), dtype="f4", external=[(str(secret), 0, 96)])
    refused("is kept in other files")
    with h5py.File(tmp_path / "a.flo5", "w") as file:
        layout = h5py.VirtualLayout(shape=(3, 4, 2), dtype="f4")
        layout[...] = h5py.VirtualSource(tmp_path / "other.flo5", "flow", shape=(3, 4, 2))
        file.create_virtual_dataset("flow", layout)
    refused("is kept in other files")
    with h5py.File(tmp_path / "a.flo5", "w") as file:
        file["flow"] = h5py.ExternalLink(str(tmp_path / "other.flo5"), "flow")
    refused("is a ExternalLink")
    with h5py.File(tmp_path / "a.flo5", "w") as file:
        file["flow"] = h5py.SoftLink("/flow")
    refused("is a SoftLink")
    with h5py.File(tmp_path / "a.flo5", "w") as file:
        file.create_group("flow")
    refused("is a Group, expected a data set")
    with h5py.File(tmp_path / "a.flo5", "w") as file:
        file["disparity"] = FLAT
    refused("no data set 'flow'")
    for stored in (FLAT.astype(np.int32), FLAT[..., 0], np.float32(0)):
        with h5py.File(tmp_path / "a.flo5", "w") as file:
            file["flow"] = stored
        refused(r"expected float \[H, W, 2\]")


def test_a_corrupt_chunk_and_a_cut_flo5_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.flo5"
    write_flow(path, np.random.default_rng(0).normal(size=(40, 50, 2)).astype(np.float32))
    data = path.read_bytes()
    path.write_bytes(data[:-2000] + bytes(1000) + data[-1000:])
    with pytest.raises(InputFileError, match="damaged HDF5"):
        read_flow(path)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputFileError, match="damaged HDF5"):
        read_flow(path)


@pytest.mark.parametrize("suffix", ["flo", "npz", "flo5", "pfm", "png"])
def test_mutated_bytes_give_a_flow_or_an_input_error(tmp_path: Path, suffix: str) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / f"a.{suffix}"
    write_flow(path, random.normal(size=(6, 7, 2)).astype(np.float32))
    original = path.read_bytes()
    num_refused = 0
    for _ in range(150):
        data = bytearray(original)
        for position in random.integers(0, len(data), random.integers(1, 6)):
            data[position] = random.integers(0, 256)
        path.write_bytes(data[: random.integers(1, len(data) + 1)] if random.random() < 0.3 else data)
        try:
            flow, valid = read_flow(path)
        except InputFileError as error:
            num_refused += 1
            assert "\n" not in str(error)
        else:
            assert np.isfinite(flow).all()
            assert not flow[~valid].any()
    assert num_refused > 15


def test_missing_files_and_folders_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"cannot read .*No such file"):
        read_flow(tmp_path / "none.flo")
    os.mkfifo(tmp_path / "pipe.flo")
    with pytest.raises(InputFileError, match="is a pipe or a device"):
        read_flow(tmp_path / "pipe.flo")
    with pytest.raises(InputFileError, match="is a folder"):
        read_flow(tmp_path)


def test_data_that_claim_more_than_they_can_hold_are_refused_before_memory_is_taken(tmp_path, monkeypatch):
    path = tmp_path / "a.flo5"
    with h5py.File(path, "w") as file:  # nothing is written into its chunks
        file.create_dataset("flow", shape=(8192, 8192, 2), dtype="f4", chunks=(8192, 8192, 2), compression="gzip")
    with pytest.raises(InputFileError, match="claims 536870912 bytes of data, of which it holds 0"):
        read_flow(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("flow", shape=(4096, 4096, 2), dtype="f8")
    with pytest.raises(InputFileError, match="claims 268435456 bytes of data, of which it holds 0"):
        read_flow(path)
    # Zeros are compressed by a thousand: where they are many, nothing real is.
    monkeypatch.setattr(bounded, "LARGE", 2**20)
    still = np.zeros((400, 500, 2), np.float32)
    for suffix in ("npz", "flo5"):
        write_flow(tmp_path / f"still.{suffix}", still)
        with pytest.raises(InputFileError, match="claims 1600"):
            read_flow(tmp_path / f"still.{suffix}")
        moving = np.random.default_rng(0).normal(size=still.shape).astype(np.float32)
        write_flow(tmp_path / f"moving.{suffix}", moving)
        assert read_flow(tmp_path / f"moving.{suffix}").valid.all()
    monkeypatch.undo()
    assert read_flow(tmp_path / "still.npz").valid.all() and read_flow(tmp_path / "still.flo5").valid.all()


def test_an_archive_that_lies_about_its_compressed_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "LARGE", 2**20)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, flow=np.zeros((400, 500, 2), np.float32))
    size = path.stat().st_size
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 24] = struct.pack("<I", 2**30)
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=rf"claims 1600128 bytes of data, of which it holds {size}"):
        read_flow(path)


def test_a_sparse_file_is_refused_before_it_is_read(tmp_path):
    """A file may be terabytes long and take no room on the disk."""
    side = 2**17
    for name, start, length in (
        ("a.flo", flo(side, side, 0), 12 + 8 * side**2),
        ("a.pfm", pfm(f"PF\n{side} {side}\n-1\n".encode(), 0), 20 + 12 * side**2),
        ("a.png", encoded(np.zeros((3, 4, 3), np.uint16))[:33] + struct.pack(">I4s", 2**32 - 1, b"juNk"), 2**33),
    ):
        with (tmp_path / name).open("wb") as file:
            file.write(start)
            file.truncate(length)
        with pytest.raises(InputFileError, match=r"at most 134217728 pixels are read|is no chunk of a picture"):
            read_flow(tmp_path / name)


def test_any_failure_of_a_reader_is_an_input_error(tmp_path, monkeypatch):
    """`evaluate` and `data check` go on with the other pairs."""

    def fail(path):
        raise TokenError("EOF in multi-line statement")

    monkeypatch.setitem(
        flow_formats.FLOW_FORMATS, "flo", flow_formats.FLOW_FORMATS["flo"]._replace(read=fail, size=fail)
    )
    (tmp_path / "a.flo").write_bytes(flo(4, 3, 96))
    for read in (read_flow, flow_size):
        with pytest.raises(InputFileError, match=r"a.flo is a damaged flow file: EOF in multi-line"):
            read(tmp_path / "a.flo")


def test_a_picture_claims_no_more_than_its_data_can_unfold_to(tmp_path):
    path = tmp_path / "a.png"
    data = encoded(np.zeros((64, 64, 3), np.uint16))
    header = b"IHDR" + struct.pack(">IIBBBBB", 10_000, 10_000, 16, 2, 0, 0, 0)
    path.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
    for read in (read_flow, flow_size, read_image, image_size):
        with pytest.raises(InputFileError, match="claims 600010000 bytes of data"):
            read(path)
    path.write_bytes(data[: data.index(b"IEND") - 4])
    for read in (read_flow, flow_size, read_image, image_size):
        with pytest.raises(InputFileError, match=r"is a truncated PNG: it ends at byte .* without an IEND chunk"):
            read(path)
