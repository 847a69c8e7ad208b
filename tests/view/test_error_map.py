"""An error map grows darker with the error, and its legend shows how."""

import numpy as np
import pytest

from flowgru.view.error_map import error_legend, error_map

WHITE, BLACK = [255, 255, 255], [0, 0, 0]


def test_an_error_map_grows_darker_with_the_error_and_is_black_where_nothing_is_known():
    truth = np.zeros((2, 5, 2), np.float32)
    flow = np.zeros((2, 5, 2), np.float32)
    flow[0] = [(0, 0), (0.6, 0.8), (0, 2), (3, 4), (300, 0)]
    flow[1] = [(np.nan, 0), (np.inf, 0), (1, 0), (1, 0), (-np.inf, np.nan)]
    truth[1, 2] = np.nan, 0
    valid = np.ones((2, 5), bool)
    valid[1, 3] = False
    picture = error_map(flow, truth, valid, 4.0, legend=False)
    assert picture[0, 0].tolist() == WHITE and picture[0, 4].tolist() == picture[0, 3].tolist()
    assert (np.diff(picture[0, :4].astype(int).sum(axis=1)) < 0).all()
    assert picture[1, 2].tolist() == picture[1, 3].tolist() == BLACK
    assert all(picture[1, x].tolist() == picture[0, 3].tolist() for x in (0, 1, 4))


@pytest.mark.parametrize("max_error", [3.0, 1280.0])
def test_an_error_maps_legend_shows_its_scale(max_error):
    legend = error_legend(max_error, 60)
    length = legend.shape[1]
    flow = np.zeros((1, length, 2))
    flow[0, :, 1] = np.linspace(0, max_error, length)
    expected = error_map(flow, flow * 0, np.ones((1, length), bool), max_error, legend=False)
    assert np.array_equal(legend[:1], expected)

    picture = error_map(np.zeros((300, 400, 2)), np.zeros((300, 400, 2)), np.zeros((300, 400), bool), max_error)
    ours = error_legend(max_error, 60)
    assert np.array_equal(picture[296 - len(ours) : 296, 396 - ours.shape[1] : 396], ours)


@pytest.mark.parametrize("max_error, size", [(91.0, 160), (2.7, 40), (210.0, 150)])
def test_the_two_ends_of_an_error_legend_are_apart(max_error, size):
    legend = error_legend(max_error, size)
    labels = legend[max(4, size // 8) :, :, 0]
    inked = np.flatnonzero((labels == 0).any(axis=0))
    dot = np.flatnonzero((labels == 0).any(axis=1))[0]  # the margin
    first_gap = next(gap for gap in np.diff(inked) if gap > 2 * dot + 1)
    assert first_gap > 12 * dot  # between words there are 7 or 8
