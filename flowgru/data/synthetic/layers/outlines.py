"""The forms that outlines are cut in, as smooth signed functions of points and of a few numbers.

Each is about the distance in pixels to the outline, positive inside, of points relative to the form's centre. The numbers
are plain ones, or columns [n, 1] of n outlines of the same form at once, whose points are then [n, N].
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

Number = float | Tensor


def ellipse(x: Tensor, y: Tensor, a: Number, b: Number) -> Tensor:
    """With half axes a and b."""
    u, v = x / a, y / b
    level = (u * u + v * v).sqrt_()
    slope = ((u / a).square_() + (v / b).square_()).sqrt_()
    return level * (1 - level) / slope.clamp_min_(1e-6)


def blob(x: Tensor, y: Tensor, mean_radius: Number, *lobes: Number) -> Tensor:
    """A radius that depends on the angle; each lobe is (size as share of the mean radius, number around, phase)."""
    angle = torch.atan2(y, x)
    edge = torch.ones_like(x)
    for size, number, phase in _threes(lobes):
        wave = torch.cos(angle * number + phase)
        edge = torch.addcmul(edge, size, wave) if isinstance(size, Tensor) else edge.add_(wave, alpha=size)
    return edge.mul_(mean_radius).sub_(torch.hypot(x, y))


def polygon(x: Tensor, y: Tensor, radius: Number, *sides: Number) -> Tensor:
    """Convex; each side is (x and y of its normal, distance from the centre)."""
    distance = torch.zeros_like(x).add_(radius)
    for c, s, offset in _threes(sides):
        torch.minimum(distance, offset - c * x - s * y, out=distance)
    return distance


def bar(x: Tensor, y: Tensor, half_width: Number, half_length: Number) -> Tensor:
    return torch.minimum(half_width - y.abs(), half_length - x.abs())


def ring(x: Tensor, y: Tensor, half_width: Number, middle: Number) -> Tensor:
    return half_width - (torch.hypot(x, y) - middle).abs_()


def branches(x: Tensor, y: Tensor, half_width: Number, *tips: Number) -> Tensor:
    """A few strokes that start at one point; each tip is (x, y, squared distance)."""
    nearest = torch.full_like(x, math.inf)
    for to_x, to_y, square in _threes(tips):
        along = ((x * to_x + y * to_y) / square).clamp_(0, 1)
        torch.minimum(nearest, (x - along * to_x).square_() + (y - along * to_y).square_(), out=nearest)
    return half_width - nearest.sqrt_()


def slats(x: Tensor, y: Tensor, half_width: Number, period: Number, phase: Number) -> Tensor:
    """Parallel bars without an end, along y."""
    return half_width - ((x / period + phase).frac_().abs_() - 0.5).abs_() * period


def wires(x: Tensor, y: Tensor, half_width: Number, period: Number, phase: Number, radius: Number) -> Tensor:
    """Slats in a circle."""
    return torch.minimum(slats(x, y, half_width, period, phase), radius - torch.hypot(x, y))


def net(
    x: Tensor, y: Tensor, half_width: Number, period: Number, phase_x: Number, phase_y: Number, radius: Number
) -> Tensor:
    """Wires in two directions."""
    lines = torch.maximum(slats(x, y, half_width, period, phase_x), slats(y, x, half_width, period, phase_y))
    return torch.minimum(lines, radius - torch.hypot(x, y))


def _threes(numbers: tuple[Number, ...]) -> Iterator[tuple[Number, Number, Number]]:
    return zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)


SPARE: dict[Callable[..., Tensor], tuple[float, ...]] = {
    blob: (0.0, 0.0, 0.0),
    polygon: (0.0, 0.0, math.inf),
    branches: (0.0, 0.0, 1.0),
}
"""The forms of as many numbers as one likes, and numbers that change nothing: a lobe, a side and a tip."""


class Part(NamedTuple):
    """A form at its place: at `shift` px from the shape's centre, turned by `turn` rad; or all that is outside of it."""

    form: Callable[..., Tensor]
    numbers: tuple[float, ...]
    turn: float | None = None
    shift: tuple[float, float] | None = None
    outside: bool = False

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        if self.shift is not None:
            x, y = x - self.shift[0], y - self.shift[1]
        if self.turn is not None:
            c, s = math.cos(self.turn), math.sin(self.turn)
            x, y = c * x + s * y, c * y - s * x
        distance = self.form(x, y, *self.numbers)
        return -distance if self.outside else distance


class Outline(NamedTuple):
    """What all of its parts hold."""

    parts: tuple[Part, ...]

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Of x and y in pixels from the centre."""
        distance = self.parts[0](x, y)
        for part in self.parts[1:]:
            distance = torch.minimum(distance, part(x, y))
        return distance

    def turned(self, angle: float) -> "Outline":
        """Turned about the centre, where no part is turned or shifted yet."""
        return Outline(tuple(part._replace(turn=angle) for part in self.parts))
