"""Sampling, warping, padding and upsampling do what plain loops over pixels do."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from flowgru.grid import (
    backward_warp,
    forward_warp,
    padding_for,
    pixel_grid,
    sample,
    upsample_bilinear,
    upsample_convex,
)


def bilinear(values, x, y):
    """values [C, H, W] at the real-valued (x, y): the four pixels around it, those outside counted as zero."""
    _, height, width = values.shape
    left, top = math.floor(x), math.floor(y)
    result = torch.zeros_like(values[:, 0, 0])
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        if 0 <= column < width and 0 <= row < height:
            result += values[:, row, column] * (1 - abs(x - column)) * (1 - abs(y - row))
    return result


def test_pixel_grid_holds_x_then_y():
    grid = pixel_grid(2, 3, like=torch.zeros((), dtype=torch.float64))
    assert grid.tolist() == [[[[0, 1, 2], [0, 1, 2]], [[0, 0, 0], [1, 1, 1]]]]
    assert grid.dtype == torch.float64


@pytest.mark.parametrize("height, width", [(5, 7), (1, 7), (5, 1), (1, 1), (2, 2)])
def test_sample_is_bilinear_and_zero_outside(height, width):
    values = torch.randn(2, 3, height, width, dtype=torch.float64)
    extent = torch.tensor([width, height])
    points = torch.rand(2, 6, 9, 2, dtype=torch.float64) * (extent + 5) - 3
    points[:, 0, :, :] = points[:, 0, :, :].round()  # pixel centres, some of them outside
    found = sample(values, points)
    for index, row, column in torch.cartesian_prod(torch.arange(2), torch.arange(6), torch.arange(9)).tolist():
        expected = bilinear(values[index], *points[index, row, column].tolist())
        torch.testing.assert_close(found[index, :, row, column], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("height, width", [(9, 12), (1, 12), (9, 1)])
@pytest.mark.parametrize("u, v", [(0, 0), (3, -2), (-1, 4)])
def test_warp_by_a_whole_pixel_flow_restores_the_first_picture(height, width, u, v):
    canvas = torch.rand(2, 3, height + 10, width + 10)
    first = canvas[..., 5 : 5 + height, 5 : 5 + width]
    second = canvas[..., 5 - v : 5 - v + height, 5 - u : 5 - u + width]  # what was at (x, y) is now at (x + u, y + v)
    flow = torch.tensor([u, v], dtype=torch.float32).reshape(1, 2, 1, 1).expand(2, 2, height, width)
    restored, inside = backward_warp(second, flow)
    x, y = torch.arange(width) + u, torch.arange(height)[:, None] + v
    expected_inside = ((x >= 0) & (x < width) & (y >= 0) & (y < height)).expand(2, height, width)
    assert torch.equal(inside, expected_inside)
    torch.testing.assert_close(restored, first * inside[:, None], rtol=0, atol=1e-5)


def test_the_kitti_mode_adds_all_missing_rows_below():
    assert padding_for(370, 1226, "kitti") == (3, 3, 0, 6)
    assert padding_for(436, 1023, "kitti") == (0, 1, 0, 4)
    assert padding_for(436, 1023) == padding_for(436, 1023, "sintel") == (0, 1, 2, 2)


def test_warp_gives_zero_where_the_flow_leads_far_outside():
    restored, inside = backward_warp(torch.ones(1, 3, 4, 4), torch.full((1, 2, 4, 4), 1e9))
    assert not inside.any() and torch.equal(restored, torch.zeros(1, 3, 4, 4))


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    multiple=st.sampled_from([1, 8, 32]),
    at_least=st.sampled_from([8, 32, 128]),
)
def test_padding_fits_is_minimal_even_and_removable(height, width, multiple, at_least):
    at_least = max(at_least, multiple)
    padding = padding_for(height, width, multiple=multiple, at_least=at_least)
    picture = torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width)
    padded = F.pad(picture, padding, mode="replicate")
    for size, padded_size in zip((height, width), padded.shape[-2:], strict=True):
        assert padded_size % multiple == 0 and padded_size >= at_least
        assert padded_size - size < multiple or padded_size == at_least
    assert 0 <= padding.right - padding.left <= 1 and 0 <= padding.bottom - padding.top <= 1
    assert torch.equal(padding.remove(padded), picture)


@pytest.mark.parametrize("height, width", [(3, 4), (1, 1), (1, 3)])
def test_convex_upsampling_equals_a_loop_in_values_and_gradients(height, width):
    leaves = [
        torch.randn(2, 2, height, width, dtype=torch.float64, requires_grad=True),
        torch.randn(2, 9 * 64, height, width, dtype=torch.float64, requires_grad=True),
    ]
    flow, mask = leaves
    rows = []
    for y in range(8 * height):
        row = []
        for x in range(8 * width):
            cell_y, row_in_cell, cell_x, column_in_cell = y // 8, y % 8, x // 8, x % 8
            scores = [mask[:, k * 64 + row_in_cell * 8 + column_in_cell, cell_y, cell_x] for k in range(9)]
            weights = torch.stack(scores).softmax(0)
            total = torch.zeros(2, 2, dtype=torch.float64)
            for k in range(9):  # row by row through the 3x3 neighbours; those outside count as a flow of zero
                near_y, near_x = cell_y + k // 3 - 1, cell_x + k % 3 - 1
                if 0 <= near_y < height and 0 <= near_x < width:
                    total = total + weights[k][:, None] * 8 * flow[:, :, near_y, near_x]
            row.append(total)
        rows.append(torch.stack(row, -1))
    expected = torch.stack(rows, -2)
    upsampled = upsample_convex(8 * flow, mask)
    torch.testing.assert_close(upsampled, expected, rtol=1e-12, atol=1e-12)
    weight = torch.randn_like(expected)
    grads = torch.autograd.grad((upsampled * weight).sum(), leaves)
    expected_grads = torch.autograd.grad((expected * weight).sum(), leaves)
    torch.testing.assert_close(grads, expected_grads, rtol=1e-10, atol=1e-10)


def test_convex_upsampling_survives_scores_of_any_size():
    flow = torch.randn(1, 2, 3, 3)
    for scores in (torch.full((1, 576, 3, 3), 1e4), torch.full((1, 576, 3, 3), -1e4), 1e4 * torch.randn(1, 576, 3, 3)):
        upsampled = upsample_convex(flow, scores)
        assert upsampled.isfinite().all() and upsampled.abs().max() <= flow.abs().max() * (1 + 1e-6)


def test_bilinear_upsampling_keeps_the_corners_and_scales_to_picture_pixels():
    flow = torch.randn(1, 2, 3, 4)
    upsampled = upsample_bilinear(flow)
    assert upsampled.shape == (1, 2, 24, 32)
    torch.testing.assert_close(upsampled[..., ::23, ::31], flow[..., ::2, ::3])


def test_a_picture_of_more_pixels_than_float32_counts_is_carried_along_whole():
    picture = torch.arange(4131 * 4131).remainder(251).float().view(1, 1, 4131, 4131)
    warped, arrived = forward_warp(picture, torch.zeros(1, 2, 4131, 4131))
    assert torch.equal(warped, picture) and arrived.all()
