"""Every flow file comes back as it was written, and a bad one is refused in one line before memory is taken for it."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flowgru.data.formats.flow_files import read_flow, write_flow
from flowgru.errors import MachineError, RequestError
from flowgru.files.atomic import atomic_write

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


FLAT = np.zeros((3, 4, 2), np.float32)


@pytest.mark.parametrize("suffix", ["flo", "npz", "flo5", "pfm"])
@ON_ONE_FOLDER
@given(flow_and_mask=flow_maps())
def test_exact_formats_give_back_every_bit(
    tmp_path: Path, suffix: str, flow_and_mask: tuple[np.ndarray, np.ndarray]
) -> None:
    path = tmp_path / f"a.{suffix}"
    write_flow(path, *flow_and_mask, overwrite=True)
    flow, valid = read_flow(path)
    assert flow.tobytes() == flow_and_mask[0].tobytes()
    np.testing.assert_array_equal(valid, flow_and_mask[1])
    first_bytes = path.read_bytes()
    write_flow(path, flow, valid, overwrite=True)
    if suffix in ("flo", "pfm"):
        assert path.read_bytes() == first_bytes


@ON_ONE_FOLDER
@given(flow_and_mask=flow_maps(st.floats(-512, 511.875, width=32)))
def test_the_kitti_format_rounds_to_the_nearest_step(
    tmp_path: Path, flow_and_mask: tuple[np.ndarray, np.ndarray]
) -> None:
    path = tmp_path / "a.png"
    write_flow(path, *flow_and_mask, overwrite=True)
    flow, valid = read_flow(path)
    np.testing.assert_array_equal(valid, flow_and_mask[1])
    assert np.abs(flow - flow_and_mask[0]).max() <= 1 / 128
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
    with pytest.warns(UserWarning, match=r"a\.png: .* and 3 pixels of the flow"):
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
    (tmp_path / "a.flo").write_bytes(b"PIEH" + struct.pack("<ii", 3, 1) + stored.tobytes())
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


def test_bad_requests_to_write_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"the suffix must be one of \.flo"):
        write_flow(tmp_path / "a.txt", FLAT)
    with pytest.raises(
        RequestError, match=r"flow is an array float32 \[4, 3, 3\]: expected \[2, H, W\] or \[H, W, 2\]"
    ):
        write_flow(tmp_path / "a.flo", np.zeros((4, 3, 3), np.float32))
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
    with pytest.raises(expected), atomic_write(path, overwrite=True, durable=True) as temporary:
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


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int8, np.int32, np.int64, np.float32, np.float64])
def test_where_a_flow_is_known_may_be_said_in_numbers_of_any_kind(tmp_path: Path, kind: type) -> None:
    flow = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    known = (np.arange(12).reshape(3, 4) % 3 > 0).astype(kind)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", flow=flow, valid=known)
        found = read_flow(tmp_path / "a.npz")
        np.testing.assert_array_equal(found.valid, known.astype(bool))
        np.testing.assert_array_equal(found.flow[found.valid], flow[found.valid])
