"""Outlines of cut-out layers, as smooth signed functions that can be evaluated at any point.

Each is about the distance in pixels to the outline, positive inside, of points relative to the shape's centre. So a
warped shape is the same function at warped points, and a band of one pixel around zero makes the edge's antialiasing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.data.draws import Draws

Outline = Callable[[Tensor, Tensor], Tensor]
"""Of x and y in pixels from the centre."""


@dataclass(frozen=True)
class Shape:
    """An outline somewhere in the first picture, inside a circle of `radius` px around `centre`."""

    centre: tuple[float, float]
    radius: float
    outline: Outline

    def alpha(self, points: Float[Tensor, "2 *shape"]) -> Float[Tensor, "*shape"]:
        """How much of each pixel the shape covers, 0 to 1."""
        x, y = self.centre
        return (self.outline(points[0] - x, points[1] - y) + 0.5).clamp_(0, 1)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in pixels; the antialiased edge of a sharp corner reaches up to 3 px further."""
        (x, y), reach = self.centre, self.radius + 3
        return x - reach, y - reach, x + reach, y + reach


def turned(outline: Outline, angle: float) -> Outline:
    c, s = math.cos(angle), math.sin(angle)
    return lambda x, y: outline(c * x + s * y, c * y - s * x)


def draw_ellipse(draws: Draws, radius: float) -> Outline:
    a, b = radius, radius * draws.uniform(0.25, 1.0)

    def outline(x: Tensor, y: Tensor) -> Tensor:
        u, v = x / a, y / b
        level = (u * u + v * v).sqrt_()
        slope = ((u / a).square_() + (v / b).square_()).sqrt_()
        return level * (1 - level) / slope.clamp_min_(1e-6)

    return outline


def draw_blob(draws: Draws, radius: float) -> Outline:
    """A radius that depends on the angle: leaves, stars, potatoes."""
    spikes, lobes = draws.choice((0.05, 0.2, 0.5)), []
    for _ in range(draws.integer(1, 3)):
        lobes.append((draws.uniform(0.3, 1.0) * spikes, draws.integer(2, 9), draws.angle()))
    mean_radius = radius / (1 + sum(size for size, _, _ in lobes))

    def outline(x: Tensor, y: Tensor) -> Tensor:
        angle = torch.atan2(y, x)
        edge = torch.ones_like(x)
        for size, number, phase in lobes:
            edge.add_(torch.cos(angle * number + phase), alpha=size)
        return edge.mul_(mean_radius).sub_(torch.hypot(x, y))

    return outline


def draw_polygon(draws: Draws, radius: float) -> Outline:
    """Convex, three to eight sides."""
    number, turn = draws.integer(3, 8), draws.angle()
    corners = [turn + 2 * math.pi * (k + draws.uniform(-0.3, 0.3)) / number for k in range(number)]
    sides = []
    for here, there in zip(corners, [*corners[1:], corners[0] + 2 * math.pi], strict=True):
        middle, half = (here + there) / 2, (there - here) / 2
        sides.append((math.cos(middle), math.sin(middle), radius * math.cos(half)))

    def outline(x: Tensor, y: Tensor) -> Tensor:
        distance = torch.full_like(x, radius)
        for c, s, offset in sides:
            torch.minimum(distance, offset - c * x - s * y, out=distance)
        return distance

    return outline


def draw_bar(draws: Draws, radius: float) -> Outline:
    """A straight bar, often only a few pixels thin."""
    half_width = min(draws.log_uniform(0.8, 8.0), radius / 2)
    half_length = math.sqrt(radius**2 - half_width**2)
    return turned(lambda x, y: torch.minimum(half_width - y.abs(), half_length - x.abs()), draws.angle())


def draw_ring(draws: Draws, radius: float) -> Outline:
    half_width = min(draws.log_uniform(0.8, 8.0), radius / 3)
    return lambda x, y: half_width - (torch.hypot(x, y) - (radius - half_width)).abs_()


def draw_branches(draws: Draws, radius: float) -> Outline:
    """A few strokes that start at one point."""
    half_width = min(draws.log_uniform(0.8, 5.0), radius / 4)
    tips = []
    for _ in range(draws.integer(3, 6)):
        length, angle = (radius - half_width) * draws.uniform(0.5, 1.0), draws.angle()
        tips.append((length * math.cos(angle), length * math.sin(angle), length * length))

    def outline(x: Tensor, y: Tensor) -> Tensor:
        nearest = torch.full_like(x, math.inf)
        for to_x, to_y, square in tips:
            along = ((x * to_x + y * to_y) / square).clamp_(0, 1)
            torch.minimum(nearest, (x - along * to_x).square_() + (y - along * to_y).square_(), out=nearest)
        return half_width - nearest.sqrt_()

    return outline


def draw_fence(draws: Draws, radius: float) -> Outline:
    """Parallel slats cut out of a disc or a square: what is behind shows through."""
    period = max(draws.uniform(0.15, 0.5) * radius, 5.0)
    half_slat, phase = period * draws.uniform(0.15, 0.4), draws.uniform()
    within = draws.choice((draw_ellipse, draw_polygon))(draws, radius)

    def outline(x: Tensor, y: Tensor) -> Tensor:
        slats = half_slat - ((x / period + phase).frac_().abs_() - 0.5).abs_() * period
        return torch.minimum(slats, within(x, y))

    return turned(outline, draws.angle())


def draw_wires(draws: Draws, radius: float) -> Outline:
    """A few lines 1 to 4 px thin, or a net of them, far apart: cables, railings, branches before the sky."""
    period, half_width = max(draws.uniform(0.2, 1.2) * radius, 12.0), draws.log_uniform(0.5, 2.0)
    phases, net = (draws.uniform(), draws.uniform()), draws.chance(0.4)

    def lines(along: Tensor, phase: float) -> Tensor:
        return half_width - ((along / period + phase).frac_().abs_() - 0.5).abs_() * period

    def outline(x: Tensor, y: Tensor) -> Tensor:
        wires = torch.maximum(lines(x, phases[0]), lines(y, phases[1])) if net else lines(x, phases[0])
        return torch.minimum(wires, radius - torch.hypot(x, y))

    return turned(outline, draws.angle())


def with_hole(outline: Outline, hole: Outline, x_hole: float, y_hole: float) -> Outline:
    return lambda x, y: torch.minimum(outline(x, y), -hole(x - x_hole, y - y_hole))


KINDS = (draw_ellipse, draw_blob, draw_blob, draw_polygon, draw_polygon, draw_bar, draw_ring, draw_branches, draw_fence)
SOLID_KINDS = (draw_ellipse, draw_blob, draw_polygon)


def draw_shape(
    draws: Draws, height: int, width: int, radius_range: tuple[float, float], holes: float, thin: float = 0.0
) -> Shape:
    """A shape with its centre in or just around the picture.

    `thin` of the shapes are large bundles of wires, `holes` of the solid ones have a hole.
    """
    radius = draws.log_uniform(*radius_range)
    kind = draws.choice(KINDS)
    if thin and draws.chance(thin):
        kind, radius = draw_wires, max(radius, draws.uniform(0.3, 1.0) * radius_range[1])
    outline = kind(draws, radius)
    if kind in SOLID_KINDS:
        outline = turned(outline, draws.angle())
        if draws.chance(holes):
            away, angle = radius * draws.uniform(0.0, 0.3), draws.angle()
            hole = draws.choice(SOLID_KINDS)(draws, radius * draws.uniform(0.2, 0.5))
            outline = with_hole(outline, hole, away * math.cos(angle), away * math.sin(angle))
    centre = draws.uniform(-0.05, 1.05) * width, draws.uniform(-0.05, 1.05) * height
    return Shape(centre, radius, outline)
