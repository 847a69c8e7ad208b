"""Means, intervals, paired differences and fronts, against published tables and numbers worked out by hand."""

import math

import pytest

from flowgru.comparison.measurements import Measurement, read_measurements, write_measurements
from flowgru.comparison.statistics import holm, mean_interval, paired_difference, pareto_front


@pytest.mark.parametrize(
    "num_values, quantile",  # Student's t, two-sided 95 %, as every printed table has it: 1, 2, 4, 9, 29 degrees of freedom
    [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262), (30, 2.045)],
)
def test_the_interval_is_the_tables_t_times_the_standard_error(num_values, quantile):
    values = [1.0 if index % 2 else 3.0 for index in range(num_values)]
    mean = sum(values) / num_values
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (num_values - 1))
    estimate = mean_interval(values)
    assert estimate.mean == pytest.approx(mean)
    assert estimate.half_width == pytest.approx(quantile * deviation / math.sqrt(num_values), rel=4e-4)
    assert (estimate.num_seeds, estimate.num_diverged) == (num_values, 0)


def test_a_hand_computed_interval():
    # 5.0, 5.3, 5.6: mean 5.3, deviation 0.3, standard error 0.3 / sqrt(3) = 0.173205, times 4.302653
    estimate = mean_interval([5.0, 5.3, 5.6])
    assert estimate.mean == pytest.approx(5.3) and estimate.half_width == pytest.approx(0.745241, abs=1e-6)


def test_one_seed_has_a_mean_and_no_interval():
    assert mean_interval([4.5]) == (4.5, None, 1, 0)


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval([2.5, 2.5, 2.5]) == (2.5, 0.0, 3, 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_diverged_seed_is_counted_and_leaves_no_mean(bad):
    estimate = mean_interval([1.0, bad, 2.0])
    assert math.isnan(estimate.mean) and estimate.half_width is None
    assert (estimate.num_seeds, estimate.num_diverged) == (3, 1)


def test_no_values_have_no_mean():
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


def test_a_hand_computed_paired_difference():
    # Differences 1, 2, 3: mean 2, standard error 1 / sqrt(3), t = 3.4641 with 2 degrees of freedom. For those,
    # p = 1 - t / sqrt(2 + t^2) two-sided, here 1 - sqrt(12 / 14) = 0.0741799.
    difference = paired_difference({0: 2.0, 1: 4.0, 2: 6.0}, {0: 1.0, 1: 2.0, 2: 3.0})
    assert difference is not None
    assert difference.mean == pytest.approx(2) and difference.half_width == pytest.approx(4.302653 / math.sqrt(3))
    assert difference.p_value == pytest.approx(0.0741799, abs=1e-6)
    assert not difference.excludes_zero


def test_what_a_seed_does_to_both_cancels_out():
    first = {0: 10.0, 1: 20.0, 2: 30.1}
    difference = paired_difference(first, {0: 9.0, 1: 19.1, 2: 29.0})
    assert difference is not None and difference.excludes_zero
    turned = paired_difference({0: 9.0, 1: 19.1, 2: 29.0}, first)
    assert turned is not None and turned.mean == pytest.approx(-difference.mean) and turned.excludes_zero
    assert turned.p_value == pytest.approx(difference.p_value)


def test_only_shared_seeds_are_paired():
    difference = paired_difference({0: 1.0, 1: 2.0, 5: 100.0}, {1: 1.5, 0: 0.5, 7: 0.0})
    assert difference is not None and (difference.mean, difference.num_seeds) == (0.5, 2)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None and paired_difference({}, {}) is None


def test_equal_differences_leave_no_doubt():
    different = paired_difference({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0})
    same = paired_difference({0: 2.0, 1: 3.0}, {0: 2.0, 1: 3.0})
    assert different is not None and different.excludes_zero and different.p_value == 0.0
    assert same is not None and not same.excludes_zero and same.p_value == 1.0


@pytest.mark.parametrize(
    "first, second", [({0: 1.0}, {0: 2.0}), ({0: math.nan, 1: 1.0}, {0: 1.0, 1: 1.0}), ({0: math.inf}, {0: math.inf})]
)
def test_one_seed_or_a_diverged_one_proves_no_difference(first, second):
    difference = paired_difference(first, second)
    assert difference is not None and difference.half_width is None and difference.p_value is None
    assert not difference.excludes_zero
    assert difference.num_diverged == sum(not math.isfinite(value) for value in first.values())


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 = 0.04, 0.06, 0.06, 0.04: none may fall below the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.7, 0.6]) == [1.0, 1.0] and holm([]) == [] and holm([0.03]) == [0.03]


def test_the_front_holds_what_nothing_beats():
    points = [(3.0, 1.0), (1.0, 5.0), (2.0, 3.0), (2.5, 3.5), (2.0, 4.0), (math.nan, 0.0), (0.5, math.inf)]
    assert pareto_front(points) == [1, 2, 0]
    assert pareto_front([]) == [] and pareto_front([(math.nan, 1.0)]) == []


def test_equal_points_are_both_on_the_front_and_a_tie_in_one_coordinate_is_beaten():
    assert pareto_front([(1.0, 1.0), (1.0, 1.0), (1.0, 2.0), (2.0, 1.0)]) == [0, 1]


def test_measurements_come_back_as_they_were_written(tmp_path):
    written = [
        Measurement("equal_width", 'conv, "odd"', 0, "epe_per_image", "my set", 12, None, 1 / 3),
        Measurement("equal_width", "conv_gru", None, "ms_per_step", "", None, None, 4.0),
        Measurement("equal_width", "conv_gru", 2, "training_epe_per_image", "", None, 50, math.inf),
    ]
    write_measurements(tmp_path / "m.csv", written[:1])
    write_measurements(tmp_path / "m.csv", written)
    assert read_measurements(tmp_path / "m.csv") == written
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]
