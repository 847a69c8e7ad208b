"""Gate and variational refinement improve a flow, agree with their plain definitions, and run at every size."""

import itertools
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest

from flowgru.config import SyntheticSettings
from flowgru.data import polish as polishing
from flowgru.data.classical import dis_flow, dis_or_zero, grey_levels
from flowgru.data.formats.images import to_levels
from flowgru.data.polish import census_error, gate, polish, refine_variational, warp_grey
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import RequestError

SAMPLE = SyntheticSettings(height=150, width=200, seed=3, most_speed=6.0, num_textures=8)


@pytest.fixture(scope="module")
def sample():
    """Both pictures in grey, the true flow, and the flow of DIS."""
    found = SyntheticPairs(SAMPLE)[0]
    levels = to_levels(found.first), to_levels(found.second)
    truth = np.ascontiguousarray(found.flow.permute(1, 2, 0).numpy())
    return grey_levels(levels[0]), grey_levels(levels[1]), truth, dis_flow(*levels)


def error(flow, truth) -> float:
    return float(np.linalg.norm(flow - truth, axis=2).mean())


def plain_census_gain(first, one, other) -> np.ndarray:
    """Every second one of the 48 neighbours in turn, without the constant factor that changes no choice."""
    height, width = first.shape
    pictures = [np.pad(each.astype(np.float64), 3, mode="edge") for each in (first, one, other)]
    total = np.zeros((height, width))
    for y, x in itertools.product(range(7), range(7)):
        if (y + x) % 2:
            continue
        changes = [each[y : y + height, x : x + width] - each[3:-3, 3:-3] for each in pictures]
        signs = [change / np.sqrt(0.81 + change**2) for change in changes]
        distances = [(signs[0] - sign) ** 2 for sign in signs[1:]]
        total += distances[1] / (0.1 + distances[1]) - distances[0] / (0.1 + distances[0])
    return total / 0.1


@pytest.mark.parametrize("height", [1, 2, 31, 61, 62, 64, 126])
def test_the_gate_chooses_as_its_plain_definition(height):
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 256, (2, height, 45), np.uint8)
    flow = generator.normal(0, 2, (height, 45, 2)).astype(np.float32)
    initial = flow + generator.normal(0, 3, flow.shape).astype(np.float32)
    gain = plain_census_gain(first, warp_grey(second, flow), warp_grey(second, initial))
    better = cv2.blur(gain, (15, 15), borderType=cv2.BORDER_REPLICATE) < 0
    near = np.linalg.norm(flow - initial, axis=2) < 2
    expected = np.where((better & near)[..., None], initial, flow)
    found = gate(first, second, flow, initial)
    assert (found != expected).any(axis=2).mean() < 0.001 and (better & near).any() and not (better & near).all()


def test_the_gate_takes_the_better_of_two_flows_that_are_near(sample):
    first, second, truth, _ = sample
    wrong = truth + np.float32(1.2)
    for flow, initial in ((wrong, truth), (truth, wrong)):
        right = (gate(first, second, flow, initial) == truth).all(axis=2).mean()
        assert right > 0.85
    far = truth + np.float32(2.0)
    assert (gate(first, second, far, truth) == far).all()


def test_the_gate_keeps_a_flow_that_is_not_finite_and_never_takes_one(sample):
    first, second, truth, _ = sample
    broken = truth.copy()
    broken[10:20, 10:20] = np.nan
    assert np.array_equal(gate(first, second, broken, truth)[10:20, 10:20], broken[10:20, 10:20], equal_nan=True)
    assert np.isfinite(gate(first, second, truth + np.float32(1), broken)).all()


def test_variational_refinement_is_opencvs_that_goes_further_done_twice_and_leaves_its_input_alone(sample):
    first, second, truth, dis = sample
    given = dis.copy()
    refined = refine_variational(first, second, given)
    assert np.array_equal(given, dis) and error(refined, truth) < error(dis, truth)
    expected = dis.copy()
    opencv = cv2.VariationalRefinement.create()
    opencv.setDelta(1.0)
    opencv.setOmega(1.95)
    for _ in range(2):
        expected = opencv.calc(first, second, expected)
    assert np.array_equal(refined, expected)
    noisy = truth + np.random.default_rng(0).normal(0, 0.5, truth.shape).astype(np.float32)
    hidden = SyntheticPairs(SAMPLE)[0].occlusion  # where nothing says how to refine
    assert hidden is not None
    before, after, exact = (
        flow[None, ~hidden.numpy()] for flow in (noisy, refine_variational(first, second, noisy), truth)
    )
    assert error(after, exact) < 0.8 * error(before, exact)


def test_a_flow_that_is_not_finite_stays_as_it_is(sample):
    first, second, truth, _ = sample
    broken = truth.copy()
    broken[3, 4] = np.nan
    assert np.array_equal(refine_variational(first, second, broken), broken, equal_nan=True)


def test_polish_has_a_gate_only_where_there_is_an_initial_flow(sample, monkeypatch):
    first, second, truth, dis = sample
    wrong = truth + np.float32(1.2)
    refined = error(refine_variational(first, second, wrong), truth)
    assert error(polish(first, second, wrong, dis), truth) < 0.9 * refined < 0.9 * error(wrong, truth)
    monkeypatch.setattr(polishing, "gate", lambda *_: pytest.fail("there is nothing to choose from"))
    assert np.array_equal(polish(first, second, wrong, None), refine_variational(first, second, wrong))


SIZES = [
    (1, 1),
    (1, 2),
    (2, 1),
    (3, 3),
    (7, 9),
    (12, 12),
    (15, 40),
    (1, 500),
    (500, 1),
    (9, 400),
    (12, 1200),
    (31, 500),
]


@pytest.mark.parametrize("size", SIZES)
def test_every_size_gives_finite_flow(size):
    generator = np.random.default_rng(1)
    first, second = generator.integers(0, 256, (2, *size), np.uint8)
    flow = generator.normal(0, 3, (*size, 2)).astype(np.float32)
    start = dis_or_zero(first, second)
    assert np.isfinite(polish(first, second, flow, 0 * flow if start is None else start)).all()


@pytest.mark.parametrize("size", [(2, 32767), (32767, 1)])
def test_a_picture_too_long_for_opencv_keeps_its_flow(size):
    first, second = np.random.default_rng(1).integers(0, 256, (2, *size), np.uint8)
    flow = np.ones((*size, 2), np.float32)
    assert np.array_equal(polish(first, second, flow, 0 * flow), flow)
    assert dis_or_zero(first, second) is None


def test_a_lack_of_memory_is_told_and_no_reason_to_start_at_zero(monkeypatch):
    class Lacking(MagicMock):
        def calc(self, *_):
            error = cv2.error("Insufficient memory")
            error.code = cv2.Error.StsNoMem
            raise error

    monkeypatch.setattr(cv2.DISOpticalFlow, "create", lambda _: Lacking())
    monkeypatch.setattr(cv2.VariationalRefinement, "create", lambda: Lacking())
    grey = np.zeros((64, 64), np.uint8)
    with pytest.raises(MemoryError):
        dis_or_zero(grey, grey)
    with pytest.raises(MemoryError):
        refine_variational(grey, grey, np.zeros((64, 64, 2), np.float32))


def test_the_gate_takes_the_flow_of_the_smaller_census_error():
    draws = np.random.default_rng(0)
    first, second = draws.integers(0, 256, (2, 40, 50), np.uint8)
    flow, other = draws.uniform(-0.7, 0.7, (2, 40, 50, 2)).astype(np.float32)
    taken = (gate(first, second, flow, other) == other).all(axis=2)
    apart = census_error(first, second, flow) - census_error(first, second, other)
    clear = np.abs(apart) > 1e-4
    assert clear.mean() > 0.9 and (taken == (apart > 0))[clear].all()
    assert np.abs(census_error(first, first, np.zeros_like(flow))).max() < 1e-6


def test_the_census_error_of_a_picture_that_cannot_be_warped_is_refused():
    long = np.zeros((1, 40_000), np.uint8)
    with pytest.raises(RequestError, match="40000 pixels long: OpenCV can warp 32766"):
        census_error(long, long, np.zeros((1, 40_000, 2), np.float32))
