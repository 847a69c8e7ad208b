"""Every error measure is the number that its convention defines."""

import math

import numpy as np
import pytest
import torch

from flowgru.data.sample import FlowSample
from flowgru.errors import RequestError
from flowgru.evaluation.metrics import METRICS, FlowErrors


def make_sample(
    flow: torch.Tensor, valid: torch.Tensor | None = None, occlusion: torch.Tensor | None = None
) -> FlowSample:
    picture = torch.zeros(3, *flow.shape[1:])
    valid = torch.ones(flow.shape[1:], dtype=torch.bool) if valid is None else valid
    return FlowSample(picture, picture, flow, valid, occlusion, "a pair")


def row(*errors: float, length: float = 1.0) -> tuple[torch.Tensor, FlowSample]:
    """One line of pixels whose true flow is `length` to the right, estimated with these errors, and the truth."""
    target = torch.zeros(2, 1, len(errors))
    target[0] = length
    estimate = target.clone()
    estimate[1, 0] = torch.tensor(errors)
    return estimate, make_sample(target)


def measured(*pictures: tuple[torch.Tensor, FlowSample]) -> dict[str, float]:
    errors = FlowErrors()
    for flow, sample in pictures:
        errors.update(flow, sample)
    return errors.result()


def by_definition(pictures: list[tuple[torch.Tensor, FlowSample]]) -> dict[str, float]:
    """The measures again, with a loop over pixels."""
    gathered: dict[str, list[float]] = {name: [] for name in METRICS if name != "static_flow"}
    for flow, sample in pictures:
        own = []
        for y, x in np.ndindex(*sample.valid.shape):
            u, v = sample.flow[:, y, x].tolist()
            error = math.hypot(flow[0, y, x].item() - u, flow[1, y, x].item() - v)
            length = math.hypot(u, v)
            gathered["epe_all_pixels"].append(error)
            if not sample.valid[y, x]:
                continue
            own.append(error)
            for threshold in (1, 3, 5):
                gathered[f"inlier_{threshold}px"].append(100 * (error < threshold))
                gathered[f"outlier_{threshold}px"].append(100 * (error > threshold))
            gathered["fl_all"].append(100 * (error > 3 and error / length > 0.05))
            weights = [1 - (i - 1) / 100 for i in range(1, 101)]
            reached = [weight for i, weight in enumerate(weights, 1) if error <= 5 * i / 100]
            gathered["wauc"].append(100 * sum(reached) / sum(weights))
            speed = "epe_s0_10" if length < 10 else "epe_s10_40" if length < 40 else "epe_s40_plus"
            gathered[speed].append(error)
            if sample.occlusion is not None:
                gathered["epe_unmatched" if sample.occlusion[y, x] else "epe_matched"].append(error)
        gathered["epe"] += own
        gathered["epe_per_image"].append(sum(own) / len(own))
    return {name: math.fsum(values) / len(values) for name, values in gathered.items()}


def test_all_measures_follow_their_definitions():
    generator = torch.Generator().manual_seed(3)
    pictures = []
    for height, width, occluded in ((9, 14, True), (12, 5, False), (7, 7, True)):
        target = torch.randn(2, height, width, generator=generator) * 25
        flow = target + torch.randn(2, height, width, generator=generator) * 4
        valid = torch.rand(height, width, generator=generator) < 0.7
        occlusion = torch.rand(height, width, generator=generator) < 0.4 if occluded else None
        pictures.append((flow, make_sample(target, valid, occlusion)))
    found = measured(*pictures)
    assert [*found] == [*METRICS]
    assert math.isnan(found.pop("static_flow"))  # no picture was paired with itself
    assert found == pytest.approx(by_definition(pictures), rel=1e-12)


def test_pooled_and_per_image_means_differ():
    found = measured(row(1.0), row(4.0, 4.0, 4.0))
    assert found["epe"] == pytest.approx(3.25)
    assert found["epe_per_image"] == pytest.approx(2.5)


def test_an_error_on_a_threshold_is_neither_inlier_nor_outlier():
    found = measured(row(1.0, 3.0, 5.0, 0.5))
    assert [found[f"inlier_{n}px"] for n in (1, 3, 5)] == [25, 50, 75]
    assert [found[f"outlier_{n}px"] for n in (1, 3, 5)] == [50, 25, 0]


@pytest.mark.parametrize(
    "error, length, outlier", [(4.0, 100.0, 0), (6.0, 100.0, 100), (2.0, 10.0, 0), (4.0, 0.0, 100)]
)
def test_fl_all_asks_for_3_px_and_5_percent(error, length, outlier):
    assert measured(row(error, length=length))["fl_all"] == outlier


@pytest.mark.parametrize(
    "length, name", [(9.5, "epe_s0_10"), (10, "epe_s10_40"), (39.5, "epe_s10_40"), (40, "epe_s40_plus")]
)
def test_speeds_begin_at_their_lower_end(length, name):
    found = measured(row(2.0, length=length))
    assert {key: value for key, value in found.items() if key.startswith("epe_s") and not math.isnan(value)} == {
        name: 2.0
    }


@pytest.mark.parametrize("error, wauc", [(0.0, 100), (0.05, 100), (5.0, 100 * 0.01 / 50.5), (5.1, 0), (1e30, 0)])
def test_wauc_at_its_ends(error, wauc):
    target = torch.zeros(2, 1, 1, dtype=torch.float64)
    flow = torch.tensor([error, 0.0], dtype=torch.float64)[:, None, None]
    assert measured((flow, make_sample(target)))["wauc"] == pytest.approx(wauc)


def test_masked_pixels_count_only_in_all_pixels_and_unknown_ones_nowhere():
    flow, sample = row(1.0, 3.0, 100.0)
    target = sample.flow.clone()
    target[:, :, 2] = 0  # what readers give for a pixel without truth
    valid = torch.tensor([[True, False, False]])
    found = measured((flow, make_sample(target, valid)))
    assert (found["epe"], found["epe_per_image"], found["epe_all_pixels"]) == pytest.approx((1, 1, 2))


def test_occlusion_splits_only_the_pairs_that_know_it():
    flow, sample = row(1.0, 3.0)
    found = measured((flow, sample._replace(occlusion=torch.tensor([[False, True]]))), row(50.0))
    assert (found["epe_matched"], found["epe_unmatched"]) == (1, 3)
    unknown = measured(row(50.0))
    assert math.isnan(unknown["epe_matched"]) and math.isnan(unknown["epe_unmatched"])


def test_a_picture_without_valid_pixels_is_warned_about_and_left_out():
    flow, sample = row(7.0)
    empty = (flow, sample._replace(valid=torch.zeros(1, 1, dtype=torch.bool), name="set/empty"))
    with pytest.warns(UserWarning, match="set/empty has no pixel with valid flow"):
        alone = measured(empty)
    assert all(math.isnan(value) for name, value in alone.items() if name != "epe_all_pixels")
    with pytest.warns(UserWarning):
        beside = measured(empty, row(1.0))
    assert beside["epe"] == beside["epe_per_image"] == 1


def test_nothing_measured_is_nan():
    assert all(math.isnan(value) for value in FlowErrors().result().values())


def test_an_estimate_that_is_not_finite_is_an_outlier_and_spoils_the_mean():
    found = measured(row(0.0, math.nan))
    assert found["epe"] == found["epe_per_image"] == math.inf
    assert math.isnan(found["epe_matched"])  # no pixel was measured: not the same
    assert (found["inlier_5px"], found["outlier_5px"], found["fl_all"], found["wauc"]) == (50, 50, 50, 50)
    assert measured(row(0.0, math.inf))["epe"] == math.inf


def test_static_flow_is_the_mean_length_over_all_pixels():
    errors = FlowErrors()
    errors.update_static(torch.tensor([3.0, 4.0]).reshape(2, 1, 1).expand(2, 1, 3))
    errors.update_static(torch.zeros(2, 1, 2))
    assert errors.result()["static_flow"] == 3
    assert all(math.isnan(value) for name, value in errors.result().items() if name != "static_flow")


def test_sums_are_in_double_precision():
    target = torch.zeros(2, 1000, 1000)
    flow = torch.zeros(2, 1000, 1000)
    flow[0] = 0.1
    found = measured(*[(flow, make_sample(target))] * 3)
    assert found["epe"] == pytest.approx(float(np.float32(0.1)), rel=1e-12)


def test_merged_measures_are_those_of_all_pictures():
    one, other = FlowErrors(), FlowErrors()
    one.update(*row(1.0, 2.0))
    other.update(*row(6.0, length=50.0))
    one.merge(other)
    assert one.result() == pytest.approx(measured(row(1.0, 2.0), row(6.0, length=50.0)), nan_ok=True)


def test_an_estimate_of_another_size_is_refused():
    flow, sample = row(1.0, 2.0)
    with pytest.raises(RequestError, match=r"estimate for a pair is \[2, 1, 1\]: expected \[2, 1, 2\]"):
        FlowErrors().update(flow[:, :, :1], sample)
