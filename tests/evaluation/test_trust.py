"""What says how well a method knows where its flow is wrong."""

import math

import pytest
import torch

from flowgru.evaluation.trust import calibration, kept_errors, sparsification_error


def test_the_order_of_the_errors_is_perfect_and_its_opposite_the_worst():
    errors = torch.rand(5000).square()
    best, none, worst = (sparsification_error(errors, order) for order in (-errors, torch.rand(5000), errors))
    assert best == pytest.approx(0, abs=1e-9) and best < none < worst


def test_a_curve_computed_by_hand():
    # Taken from the front, 1 2 3 6 leave means of 3, 11/3, 4.5 and 6; from the back 3, 2, 1.5 and 1; all over 3.
    errors = torch.tensor([1.0, 2.0, 3.0, 6.0])
    by_hand = ((3 - 3) + (11 / 3 - 2) + (4.5 - 1.5) + (6 - 1)) / 3 / 4
    assert sparsification_error(errors, errors) == pytest.approx(by_hand)


def test_pixels_that_nothing_orders_count_with_their_mean_in_whatever_order_they_come():
    errors = torch.rand(3000).square()
    for sign in (torch.zeros(3000), torch.where(errors < 0.5, torch.rand(3000).mul(4).floor(), torch.inf)):
        found = []
        for order in (torch.arange(3000), errors.argsort(), errors.argsort(descending=True), torch.randperm(3000)):
            given = errors[order], sign[order]
            _, bins = calibration(given[1], given[0], stated=False)
            flat = [number for each in bins for number in each]
            found.append([sparsification_error(given[0], -given[1]), kept_errors(given[0], -given[1], 0.8), *flat])
        assert all(each == pytest.approx(found[0], rel=1e-9) for each in found)
    assert found[0][0] > 0.01
    assert kept_errors(errors, torch.zeros(3000), 0.8) == pytest.approx(float(errors.double().mean()))


@pytest.mark.parametrize("errors", [torch.zeros(0), torch.zeros(7)])
def test_without_errors_there_is_no_order(errors):
    assert math.isnan(sparsification_error(errors, torch.rand(len(errors))))


def test_an_error_without_bound_leaves_no_finite_order():
    assert sparsification_error(torch.tensor([1.0, math.inf]), torch.rand(2)) == math.inf


def test_true_probabilities_are_calibrated_and_boasts_are_not():
    probability = torch.rand(200_000)
    errors = torch.where(torch.rand(200_000) < probability, 0.5, 3.0)
    error, bins = calibration(probability, errors, stated=True)
    assert error is not None and error < 0.01 and [each.number for each in bins] == [*range(1, 11)]
    assert sum(each.share for each in bins) == pytest.approx(1) and bins[0].value > 0.9 > 0.2 > bins[-1].value
    assert all(each.epe == pytest.approx(3 - 2.5 * each.within, abs=1e-4) for each in bins)
    boast, _ = calibration(torch.ones(200_000), errors, stated=True)
    assert boast == pytest.approx(0.5, abs=0.01)


def test_a_sign_that_states_nothing_has_bins_of_equally_many_pixels():
    errors = torch.rand(3000) * 2
    error, bins = calibration(errors, errors, stated=False)
    assert error is None and [each.share for each in bins] == pytest.approx([0.1] * 10)
    assert [each.within for each in bins] == sorted((each.within for each in bins), reverse=True)
