"""Every flow file comes back as it was written, and a bad one is refused in one line before memory is taken for it."""

import io
import os
import struct
import zipfile
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flowgru.data.atomic import written_whole
from flowgru.data.flow_files import read_flow, write_flow
from flowgru.errors import InputFileError, MachineError, RequestError

ON_ONE_FOLDER = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
known = st.floats(-1e9, 1e9, width=32)
shapes = st.tuples(st.integers(1, 7), st.integers(1, 7))


@st.composite
def flow_maps(draw: st.DrawFn, values: st.SearchStrategy[float] = known) -> tuple[np.ndarray, np.ndarray]:
    """Flow and its mask; unknown pixels hold 0, as read_flow gives them."""
    height, width = draw(shapes)
    valid = draw(arrays(bool, (height, width)))
    flow = draw(arrays(np.float32, (height, width, 2), elements=values))
    return np.where(valid[..., None], flow, np.float32(0)), valid


def pfm(header: bytes, body: int) -> bytes:
    return header + bytes(body)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


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


@pytest.mark.parametrize("suffix", ["flo", "npz", "flo5", "pfm"])
@ON_ONE_FOLDER
@given(made=flow_maps())
def test_exact_formats_give_back_every_bit(tmp_path: Path, suffix: str, made: tuple[np.ndarray, np.ndarray]) -> None:
    path = tmp_path / f"a.{suffix}"
    write_flow(path, *made, overwrite=True)
    flow, valid = read_flow(path)
    assert flow.tobytes() == made[0].tobytes()
    np.testing.assert_array_equal(valid, made[1])
    first_bytes = path.read_bytes()
    write_flow(path, flow, valid, overwrite=True)
    if suffix in ("flo", "pfm"):
        assert path.read_bytes() == first_bytes


@ON_ONE_FOLDER
@given(made=flow_maps(st.floats(-512, 511.875, width=32)))
def test_the_kitti_format_rounds_to_the_nearest_step(tmp_path: Path, made: tuple[np.ndarray, np.ndarray]) -> None:
    path = tmp_path / "a.png"
    write_flow(path, *made, overwrite=True)
    flow, valid = read_flow(path)
    np.testing.assert_array_equal(valid, made[1])
    assert np.abs(flow - made[0]).max() <= 1 / 128
    write_flow(path, flow, valid, overwrite=True)
    np.testing.assert_array_equal(read_flow(path).flow, flow)


def test_the_kitti_format_stores_red_u_green_v_blue_valid(tmp_path: Path) -> None:
    flow = np.zeros((2, 3, 2), np.float32)
    flow[0, 1] = (1, -2)
    write_flow(tmp_path / "a.png", flow, np.array([[True, True, False], [True] * 3]))
    stored = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert stored is not None
    assert stored.dtype == np.uint16
    assert stored[0, 1].tolist() == [1, 32768 - 128, 32768 + 64]
    assert stored[0, 2].tolist() == [0, 0, 0]


def test_what_the_kitti_format_cannot_hold_is_marked_unknown_with_a_count(tmp_path: Path) -> None:
    flow = FLAT.copy()
    flow[0, 0], flow[1, 1], flow[2, 2], flow[2, 3] = (600, 0), (0, -513), (511.98, -512), (511.999, 0)
    with pytest.warns(UserWarning, match=r"^3 pixels move further"):
        write_flow(tmp_path / "a.png", flow)
    read, valid = read_flow(tmp_path / "a.png")
    assert np.argwhere(~valid).tolist() == [[0, 0], [1, 1], [2, 3]]
    assert read[2, 2].tolist() == [511.984375, -512]


@pytest.mark.parametrize("suffix", ["FLO", "PNG", "NPZ", "FLO5", "PFM"])
def test_suffixes_may_be_upper_case(tmp_path: Path, suffix: str) -> None:
    write_flow(tmp_path / f"a.{suffix}", FLAT)
    np.testing.assert_array_equal(read_flow(tmp_path / f"a.{suffix}").flow, FLAT)
    assert len(list(tmp_path.iterdir())) == 1


def test_no_valid_pixel_at_all_is_a_flow_map(tmp_path: Path) -> None:
    write_flow(tmp_path / "a.png", FLAT, np.zeros((3, 4), bool))
    assert not read_flow(tmp_path / "a.png").valid.any()


@pytest.mark.parametrize("suffix", ["flo", "npz", "flo5", "pfm", "png"])
@pytest.mark.parametrize("mark", [np.nan, np.inf, 1.7e9, 1e10, -1e10])
def test_unknown_pixels_are_0_and_not_valid(tmp_path: Path, suffix: str, mark: float) -> None:
    flow = FLAT + np.float32(1.5)
    flow[1, 2, 1] = mark
    write_flow(tmp_path / f"a.{suffix}", flow)
    read, valid = read_flow(tmp_path / f"a.{suffix}")
    assert np.argwhere(~valid).tolist() == [[1, 2]]
    assert read[1, 2].tolist() == [0, 0]
    assert (read[valid] == 1.5).all()


def test_foreign_marks_of_unknown_pixels_are_understood(tmp_path: Path) -> None:
    stored = np.array([[[1, 2], [np.nan, 0], [1.666666752e9, 0]]], "<f4")
    (tmp_path / "a.flo").write_bytes(flo(3, 1, 0) + stored.tobytes())
    flow, valid = read_flow(tmp_path / "a.flo")
    assert valid.tolist() == [[True, False, False]]
    assert flow.tolist() == [[[1, 2], [0, 0], [0, 0]]]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "  \n"])
@pytest.mark.parametrize(("scale", "order"), [("-1.0", "<f4"), ("1", ">f4"), ("-0.5", "<f4")])
def test_pfm_of_other_programs(tmp_path: Path, newline: str, scale: str, order: str) -> None:
    rows = np.arange(18, dtype=order).reshape(2, 3, 3)
    (tmp_path / "a.pfm").write_bytes(f"PF{newline}3 2{newline}{scale}{newline}".encode() + rows.tobytes())
    np.testing.assert_array_equal(read_flow(tmp_path / "a.pfm").flow, rows[::-1, :, :2])


def test_arrays_of_other_data_sets(tmp_path: Path) -> None:
    u, v = np.arange(6, dtype=np.float16).reshape(2, 3), -np.arange(6, dtype=np.float16).reshape(2, 3)
    np.savez(tmp_path / "viper.npz", u=u, v=v)
    np.save(tmp_path / "tartan.npy", np.asfortranarray(np.stack([u, v], -1).astype(np.float64)))
    for name in ("viper.npz", "tartan.npy"):
        flow, valid = read_flow(tmp_path / name)
        np.testing.assert_array_equal(flow, np.stack([u, v], -1).astype(np.float32))
        assert valid.all()
    (tmp_path / "sub").mkdir()
    (tmp_path / "tartan.npy").rename(tmp_path / "sub" / "no_suffix")
    assert read_flow(tmp_path / "sub" / "no_suffix").flow.shape == (2, 3, 2)


BAD_FILES = {
    "empty.flo": (b"", "is empty"),
    "magic.flo": (flo(4, 3, 96, b"PIEX"), "begins with b'PIEX"),
    "html.flo": (b"<!DOCTYPE html>", "begins with b'<!DOCTYP'"),
    "header.flo": (b"PIEH\1\0", "a .flo header has 12 bytes"),
    "huge.flo": (flo(60000, 60000, 96), "too short: a .flo of 60000x60000 needs 28800000012 bytes, there are 108"),
    "negative.flo": (flo(-1, 3, 96), "claims to be -1x3 pixels"),
    "both_negative.flo": (flo(-4, -3, 96), "claims to be -4x-3 pixels"),
    "zero.flo": (flo(0, 3, 0), "claims to be 0x3 pixels"),
    "short.flo": (flo(4, 3, 95), "too short: a .flo of 4x3 needs 108 bytes, there are 107"),
    "long.flo": (flo(4, 3, 97), "too long: a .flo of 4x3 needs 108 bytes, there are 109"),
    "nan.pfm": (pfm(b"PF\n4 3\nnan\n", 144), "PFM scale b'nan'"),
    "zero_scale.pfm": (pfm(b"PF\n4 3\n0.0\n", 144), "PFM scale b'0.0'"),
    "word.pfm": (pfm(b"PF\n4 3\nbig\n", 144), "PFM scale b'big'"),
    "short.pfm": (pfm(b"PF\n4 3\n-1\n", 143), "too short: a .pfm of 4x3 needs 154 bytes, there are 153"),
    "huge.pfm": (pfm(b"PF\n99999999 99999999\n-1\n", 144), "too short: a .pfm of 99999999x99999999"),
    "zero.pfm": (pfm(b"PF\n0 3\n-1\n", 0), "claims to be 0x3 pixels"),
    "negative.pfm": (pfm(b"PF\n-4 3\n-1\n", 144), "no PFM header"),
    "one.pfm": (pfm(b"Pf\n4 3\n-1\n", 48), "PFM of one channel"),
    "cut.pfm": (b"PF\n4", "no PFM header"),
    "eight_bit.png": (encoded(np.zeros((3, 4, 3), np.uint8)), "is a PNG of 8-bit RGB: not a KITTI flow map"),
    "grey.png": (encoded(np.zeros((3, 4), np.uint16)), "is a PNG of 16-bit grey: not a KITTI flow map"),
    "cut.png": (encoded(np.zeros((3, 4, 3), np.uint16))[:-20], "is a truncated PNG"),
    "header.png": (encoded(np.zeros((3, 4, 3), np.uint16))[:20], "is a damaged PNG"),
    "bomb.png": (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 40000, 40000, 16, 2, 0, 0, 0),
        "claims to be 40000x40000 pixels: at most 134217728",
    ),
    "bits.npz": (zipped(flow=npy(np.zeros((3, 4, 2), np.int32))), "holds int32"),
    "keys.npz": (zipped(disparity=npy(FLAT)), "holds the arrays ['disparity']"),
    "uv.npz": (zipped(u=npy(FLAT[..., 0]), v=npy(FLAT[:2, :, 0])), "'u' is [3, 4] and 'v' [2, 4]"),
    "valid.npz": (zipped(flow=npy(FLAT), valid=npy(np.ones((3, 5), bool))), "'valid' is bool [3, 5]"),
    "objects.npy": (npy(np.array([[{}]], dtype=object)), "holds object"),
    "shape.npy": (npy(np.zeros((2, 3, 4), np.float32)), "holds float32 [2, 3, 4]: expected float [H, W, 2]"),
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
    refused("claims to be 1000000x1000000 pixels")
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


def test_bad_requests_to_write_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"the suffix must be one of \.flo"):
        write_flow(tmp_path / "a.txt", FLAT)
    with pytest.raises(RequestError, match=r"flow is float32 \[2, 3, 4\]: expected float \[H, W, 2\]"):
        write_flow(tmp_path / "a.flo", np.zeros((2, 3, 4), np.float32))
    with pytest.raises(RequestError, match=r"valid is bool \[4, 3\]: expected bool \[3, 4\]"):
        write_flow(tmp_path / "a.flo", FLAT, np.ones((4, 3), bool))
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_when_allowed_and_never_written_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    link = tmp_path / "out" / "a.flo"
    link.parent.mkdir()
    link.symlink_to(target)
    with pytest.raises(RequestError, match="exists already"):
        write_flow(link, FLAT)
    write_flow(link, FLAT, overwrite=True)
    assert target.read_bytes() == b"mine"
    assert not link.is_symlink()
    (tmp_path / "b.flo").mkdir()
    with pytest.raises(RequestError, match="is a folder"):
        write_flow(tmp_path / "b.flo", FLAT, overwrite=True)


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("bug")])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    expected = MachineError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(expected), written_whole(path, overwrite=True, durable=True) as temporary:
        temporary.write_bytes(b"half")
        raise failure
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_a_machine_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MachineError, match="cannot write"):
        write_flow(tmp_path / "file" / "a.flo", FLAT)


REAL = {
    "Middlebury/other-gt-flow/RubberWhale/flow10.flo": (388, 584),
    "Sintel/training/flow/alley_1/frame_0002.flo": (436, 1024),
    "FlyingChairs_release/data/00001_flow.flo": (384, 512),
    "KITTI/training/flow_noc/000000_10.png": (375, 1242),
    "KITTI-2012/training/flow_occ/000027_10.png": (376, 1241),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_come_back_byte_for_byte_in_value(data_root: Path, tmp_path: Path, name: str) -> None:
    path = data_root / name
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    flow, valid = read_flow(path)
    assert flow.shape[:2] == REAL[name]
    assert 0.1 < valid.mean() <= 1
    assert 0.1 < np.abs(flow[valid]).max() < 300
    write_flow(tmp_path / path.name, flow, valid)
    again = read_flow(tmp_path / path.name)
    assert again.flow.tobytes() == flow.tobytes()
    np.testing.assert_array_equal(again.valid, valid)
    if valid.all() and path.suffix == ".flo":
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
