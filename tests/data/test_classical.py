"""The classical baselines are OpenCV's methods with the settings that everybody compares with."""

from collections import defaultdict

import cv2
import numpy as np
import pytest

from flowgru.data.classical import BASELINES, dis_flow, farneback_flow, zero_flow
from flowgru.data.sets.opening import open_dataset
from flowgru.errors import InputFileError, RequestError
from flowgru.evaluation.evaluate import evaluate, picture_estimator

# Mean end-point errors over the valid pixels, measured with OpenCV 5.0.0: DIS, Farneback, zero flow.
# None: DIS is chaotic at this motion, or nobody measured.
REFERENCE = {
    "middlebury/RubberWhale": (0.225, 0.361, 1.256),
    "middlebury/Dimetrodon": (0.156, 0.936, 2.058),
    "middlebury/Grove2": (0.319, 0.585, 3.090),
    "middlebury/Urban3": (2.014, 2.973, 7.307),
    "sintel/clean/alley_1/frame_0002": (0.341, 0.933, 2.983),
    "sintel/final/alley_1/frame_0002": (0.322, 1.150, 2.983),
    "sintel/clean/market_5/frame_0002": (None, 24.95, 31.99),
    "sintel/final/market_5/frame_0002": (None, 26.97, 31.99),
    "kitti2012/flow_occ/000027_10": (10.39, 27.40, 37.22),
    "kitti2012/flow_occ/000138_10": (2.517, 18.39, 24.73),
    "kitti2015/flow_noc/000000_10": (None, None, 51.01),
    "chairs/00001": (1.591, 2.751, 4.506),
    "chairs/00002": (2.674, 8.392, 25.56),
    "chairs/00003": (2.702, 4.120, 4.306),
    "chairs/00004": (0.641, 0.668, 2.113),
}
if cv2.__version__.startswith("4."):  # its DIS has this error there, and the others as in OpenCV 5
    REFERENCE["chairs/00003"] = (2.614, 4.120, 4.306)
MEANS = {
    "middlebury": (0.68, 1.21, 3.43),
    "sintel": (None, 13.5, 17.5),
    "kitti2012": (6.45, 22.9, 31.0),
    "chairs": (1.90, 3.98, 9.12),
}


@pytest.fixture(scope="module")
def shifted() -> tuple[np.ndarray, np.ndarray]:
    """A smooth random texture, and the same 3 pixels to the right and 2 up."""
    noise = np.random.default_rng(0).random((140, 180, 3))
    texture = cv2.GaussianBlur(noise, (0, 0), 2)
    texture = ((texture - texture.min()) / np.ptp(texture) * 255).astype(np.uint8)
    return texture[20:120, 20:160], texture[22:122, 17:157]


@pytest.mark.parametrize("method", [dis_flow, farneback_flow])
def test_a_shift_is_found(method, shifted):
    flow = method(*shifted)
    assert flow.dtype == np.float32 and flow.shape == (100, 140, 2)
    error = np.linalg.norm(flow - np.array([3, -2], np.float32), axis=2)[16:-16, 16:-16]
    assert error.mean() < 0.1


def test_zero_flow_is_zero(shifted):
    assert not zero_flow(*shifted).any()


@pytest.mark.parametrize("name", BASELINES)
def test_a_pair_does_not_depend_on_the_one_before(name, shifted):
    method, (first, second) = BASELINES[name], shifted
    alone = method(first, second)
    method(second, first)
    np.testing.assert_array_equal(method(first, second), alone)


def test_dis_is_opencv_without_an_initial_flow(shifted):
    grey = [cv2.cvtColor(picture[..., ::-1].copy(), cv2.COLOR_BGR2GRAY) for picture in shifted]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    np.testing.assert_array_equal(dis_flow(*shifted), search.calc(*grey, None))  # pyright: ignore


@pytest.mark.parametrize("method", [dis_flow, farneback_flow])
def test_two_sizes_are_refused(method, shifted):
    with pytest.raises(RequestError, match=r"first is \[100, 140, 3\] and second \[99, 140, 3\]"):
        method(shifted[0], shifted[1][1:])


@pytest.mark.parametrize("height, width", [(15, 200), (200, 15)])
def test_pictures_too_small_for_dis_are_refused(height, width):
    picture = np.zeros((height, width, 3), np.uint8)
    with pytest.raises(RequestError, match=rf"{height}x{width} px .*: DIS needs 16 pixels"):
        dis_flow(picture, picture)


@pytest.mark.parametrize("size", [(16, 16), (16, 200), (200, 16), (17, 33)])
def test_the_smallest_pictures_for_dis_are_estimated(size):
    picture = np.random.default_rng(1).integers(0, 255, (*size, 3), dtype=np.uint8)
    assert np.isfinite(dis_flow(picture, picture)).all()


@pytest.mark.parametrize("column, name", list(enumerate(BASELINES)))
def test_reference_errors_on_real_pairs_are_reproduced(column, name, data_root):
    found = {}
    for data_set in ("middlebury", "sintel", "kitti2012", "kitti2015", "chairs"):
        try:
            pairs = open_dataset(data_set, data_root)
        except InputFileError:
            continue
        if data_set != "chairs" or len(pairs) == 4:  # in the full set these names are other pairs
            pairs.pairs = [pair for pair in pairs.pairs if f"{data_set}/{pair.name}" in REFERENCE]
            found |= {
                pair.name: pair.metrics["epe"] for pair in evaluate(picture_estimator(BASELINES[name]), pairs).pairs
            }
    expected = {pair: errors[column] for pair, errors in REFERENCE.items() if pair in found and errors[column]}
    if not expected:
        pytest.skip(f"no pair with reference errors below {data_root}: give --data-root")
    relative, absolute = (1e-3, 1e-3) if name == "zero" else (0.02, 0.01)
    assert {pair: found[pair] for pair in expected} == pytest.approx(expected, rel=relative, abs=absolute)

    by_set = defaultdict(list)
    for pair, error in found.items():
        by_set[pair.split("/")[0]].append(error)
    complete = {pair.split("/")[0] for pair in REFERENCE} - {pair.split("/")[0] for pair in REFERENCE.keys() - found}
    for data_set in complete & MEANS.keys():
        if mean := MEANS[data_set][column]:
            assert np.mean(by_set[data_set]) == pytest.approx(mean, rel=max(relative, 0.005)), data_set
