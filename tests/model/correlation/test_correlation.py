"""The correlation finds what moved where it moved to, and its look-up is an explicit loop's."""

import math

import pytest
import torch

from flowgru.grid import pixel_grid, window_offsets
from flowgru.model.correlation.choice import correlate

RADIUS = 3


@pytest.mark.parametrize("u, v", [(0, 0), (2, 0), (0, 3), (-3, 1), (1, -2)])
def test_the_peak_of_the_window_moves_with_the_picture(u, v):
    height, width, num_channels = 9, 11, 64
    first = torch.randn(2, num_channels, height, width).sign()
    second = first.roll((v, u), dims=(2, 3))
    centres = pixel_grid(height, width, like=first).expand(2, -1, -1, -1)
    found = correlate(first, second, levels=1, radius=RADIUS).lookup(centres)
    peak = found.argmax(1)
    target = centres + torch.tensor([u, v]).reshape(2, 1, 1)
    inside = (target >= 0).all(1) & (target[:, 0] < width) & (target[:, 1] < height)
    side = 2 * RADIUS + 1
    assert (peak[inside] == (u + RADIUS) * side + v + RADIUS).all()  # the x offset is the slow index
    torch.testing.assert_close(found.amax(1)[inside], torch.full((), math.sqrt(num_channels)).expand(int(inside.sum())))
    moved = correlate(first, second, levels=1, radius=RADIUS).lookup(target)
    assert (moved.argmax(1)[inside] == RADIUS * side + RADIUS).all()


def pooled(picture):
    """Averages of 2x2 pixels; an odd last row or column is left out."""
    height, width = len(picture) // 2, len(picture[0]) // 2
    return [
        [sum(picture[2 * y + i][2 * x + j] for i in (0, 1) for j in (0, 1)) / 4 for x in range(width)]
        for y in range(height)
    ]


def bilinear(picture, x, y):
    """The four pixels around (x, y), those outside counted as zero."""
    left, top = math.floor(x), math.floor(y)
    return sum(
        picture[row][column] * (1 - abs(x - column)) * (1 - abs(y - row))
        for column in (left, left + 1)
        for row in (top, top + 1)
        if 0 <= row < len(picture) and 0 <= column < len(picture[0])
    )


@pytest.mark.parametrize("height, width, levels", [(6, 7, 2), (9, 8, 4), (1, 5, 1)])
def test_lookup_equals_a_float64_loop_on_every_level(height, width, levels):
    radius = 2
    first, second = torch.randn(2, 2, 5, height, width)
    centres = pixel_grid(height, width, like=first) + 4 * torch.randn(2, 2, height, width)
    centres[:, :, 0, 0] = -1.5  # half of the pixels read lie outside
    found = correlate(first, second, levels=levels, radius=radius).lookup(centres)
    assert found.shape == (2, levels * (2 * radius + 1) ** 2, height, width)
    steps = range(-radius, radius + 1)
    for index in range(2):
        for y in range(height):
            for x in range(width):
                feature = first[index, :, y, x].double()
                picture = (second[index].double() * feature[:, None, None]).sum(0).div(math.sqrt(5)).tolist()
                centre_x, centre_y = centres[index, :, y, x].tolist()
                expected = []
                for level in range(levels):
                    scaled = centre_x / 2**level, centre_y / 2**level
                    expected += [bilinear(picture, scaled[0] + dx, scaled[1] + dy) for dx in steps for dy in steps]
                    picture = pooled(picture)
                torch.testing.assert_close(
                    found[index, :, y, x].double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-5
                )


def test_lookup_outside_the_picture_is_zero():
    first, second = torch.ones(2, 1, 4, 6, 6)
    found = correlate(first, second, levels=2, radius=RADIUS).lookup(torch.full((1, 2, 6, 6), 50.0))
    assert torch.equal(found, torch.zeros_like(found))


def test_pictures_of_a_batch_do_not_meet():
    first, second = torch.randn(2, 3, 8, 8, 8)
    centres = pixel_grid(8, 8, like=first) + torch.randn(3, 2, 8, 8)
    together = correlate(first, second, levels=3, radius=RADIUS).lookup(centres)
    for i in range(3):
        alone = correlate(first[i : i + 1], second[i : i + 1], levels=3, radius=RADIUS).lookup(centres[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-5, atol=1e-5)


def test_gradients_reach_both_pictures():
    first, second = torch.randn(1, 8, 8, 8, requires_grad=True), torch.randn(1, 8, 8, 8, requires_grad=True)
    correlate(first, second, levels=3, radius=RADIUS).lookup(pixel_grid(8, 8, like=first)).square().sum().backward()
    for features in (first, second):
        assert features.grad is not None and features.grad.isfinite().all() and (features.grad != 0).all()


def test_window_offsets_count_x_slowly():
    offsets = window_offsets(1, like=torch.zeros(()))
    assert offsets.reshape(-1, 2)[:4].tolist() == [[-1, -1], [-1, 0], [-1, 1], [0, -1]]
