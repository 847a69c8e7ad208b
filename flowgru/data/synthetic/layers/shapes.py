"""Outlines of cut-out layers, as smooth signed functions that can be evaluated at any point.

Each is about the distance in pixels to the outline, positive inside, of points relative to the shape's centre. So a
warped shape is the same function at warped points, and a band of one pixel around zero makes the edge's antialiasing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from flowgru.data.draws import Draws
from flowgru.data.synthetic.layers import outlines
from flowgru.data.synthetic.layers.outlines import Outline, Part


@dataclass(frozen=True)
class Shape:
    """An outline somewhere in the first picture, inside a circle of `radius` px around `centre`."""

    centre: tuple[float, float]
    radius: float
    outline: Callable[[Tensor, Tensor], Tensor]
    """Of x and y in pixels from the centre; those that are drawn are of the class Outline."""

    def alpha(self, points: Float[Tensor, "2 *shape"]) -> Float[Tensor, "*shape"]:
        """How much of each pixel the shape covers, 0 to 1."""
        x, y = self.centre
        return (self.outline(points[0] - x, points[1] - y) + 0.5).clamp_(0, 1)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in pixels; the antialiased edge of a sharp corner reaches up to 3 px further."""
        (x, y), reach = self.centre, self.radius + 3
        return x - reach, y - reach, x + reach, y + reach


def cut(form: Callable[..., Tensor], *numbers: float) -> Outline:
    """An outline of one form."""
    return Outline((Part(form, numbers),))


def draw_ellipse(draws: Draws, radius: float) -> Outline:
    return cut(outlines.ellipse, radius, radius * draws.uniform(0.25, 1.0))


def draw_blob(draws: Draws, radius: float) -> Outline:
    """A radius that depends on the angle: leaves, stars, potatoes."""
    spikes, lobes = draws.choice((0.05, 0.2, 0.5)), []
    for _ in range(draws.integer(1, 3)):
        lobes.append((draws.uniform(0.3, 1.0) * spikes, float(draws.integer(2, 9)), draws.angle()))
    mean_radius = radius / (1 + sum(size for size, _, _ in lobes))
    return cut(outlines.blob, mean_radius, *(number for lobe in lobes for number in lobe))


def draw_polygon(draws: Draws, radius: float) -> Outline:
    """Convex, three to eight sides."""
    number, turn = draws.integer(3, 8), draws.angle()
    corners = [turn + 2 * math.pi * (k + draws.uniform(-0.3, 0.3)) / number for k in range(number)]
    sides = []
    for here, there in zip(corners, [*corners[1:], corners[0] + 2 * math.pi], strict=True):
        middle, half = (here + there) / 2, (there - here) / 2
        sides += [math.cos(middle), math.sin(middle), radius * math.cos(half)]
    return cut(outlines.polygon, radius, *sides)


def draw_bar(draws: Draws, radius: float) -> Outline:
    """A straight bar, often only a few pixels thin."""
    half_width = min(draws.log_uniform(0.8, 8.0), radius / 2)
    half_length = math.sqrt(radius**2 - half_width**2)
    return cut(outlines.bar, half_width, half_length).turned(draws.angle())


def draw_ring(draws: Draws, radius: float) -> Outline:
    half_width = min(draws.log_uniform(0.8, 8.0), radius / 3)
    return cut(outlines.ring, half_width, radius - half_width)


def draw_branches(draws: Draws, radius: float) -> Outline:
    """A few strokes that start at one point."""
    half_width = min(draws.log_uniform(0.8, 5.0), radius / 4)
    tips = []
    for _ in range(draws.integer(3, 6)):
        length, angle = (radius - half_width) * draws.uniform(0.5, 1.0), draws.angle()
        tips += [length * math.cos(angle), length * math.sin(angle), length * length]
    return cut(outlines.branches, half_width, *tips)


def draw_fence(draws: Draws, radius: float) -> Outline:
    """Parallel slats cut out of a disc or a square: what is behind shows through."""
    period = max(draws.uniform(0.15, 0.5) * radius, 5.0)
    half_slat, phase = period * draws.uniform(0.15, 0.4), draws.uniform()
    within = draws.choice((draw_ellipse, draw_polygon))(draws, radius)
    slats = Part(outlines.slats, (half_slat, period, phase))
    return Outline((slats, *within.parts)).turned(draws.angle())


def draw_wires(draws: Draws, radius: float) -> Outline:
    """A few lines 1 to 4 px thin, or a net of them, far apart: cables, railings, branches before the sky."""
    period, half_width = max(draws.uniform(0.2, 1.2) * radius, 12.0), draws.log_uniform(0.5, 2.0)
    phases, is_net = (draws.uniform(), draws.uniform()), draws.chance(0.4)
    if is_net:
        return cut(outlines.net, half_width, period, *phases, radius).turned(draws.angle())
    return cut(outlines.wires, half_width, period, phases[0], radius).turned(draws.angle())


def with_hole(outline: Outline, hole: Outline, x_hole: float, y_hole: float) -> Outline:
    (part,) = hole.parts
    return Outline((*outline.parts, part._replace(shift=(x_hole, y_hole), outside=True)))


KINDS = (draw_ellipse, draw_blob, draw_blob, draw_polygon, draw_polygon, draw_bar, draw_ring, draw_branches, draw_fence)
SOLID_KINDS = (draw_ellipse, draw_blob, draw_polygon)


def draw_shape(
    draws: Draws,
    height: int,
    width: int,
    radius_range: tuple[float, float],
    holes: float,
    thin: float = 0.0,
    *,
    large: bool = False,
) -> Shape:
    """A shape with its centre in or just around the picture; a solid one of the upper half of the sizes where it is `large`.

    `thin` of the others are large bundles of wires, `holes` of the solid ones have a hole.
    """
    radius = draws.log_uniform(*radius_range)
    kind = draws.choice(KINDS)
    if large:
        kind, radius = draws.choice(SOLID_KINDS), max(radius, draws.uniform(0.5, 1.0) * radius_range[1])
    elif thin and draws.chance(thin):
        kind, radius = draw_wires, max(radius, draws.uniform(0.3, 1.0) * radius_range[1])
    outline = kind(draws, radius)
    if kind in SOLID_KINDS:
        outline = outline.turned(draws.angle())
        if draws.chance(holes):
            away, angle = radius * draws.uniform(0.0, 0.3), draws.angle()
            hole = draws.choice(SOLID_KINDS)(draws, radius * draws.uniform(0.2, 0.5))
            outline = with_hole(outline, hole, away * math.cos(angle), away * math.sin(angle))
    centre = draws.uniform(-0.05, 1.05) * width, draws.uniform(-0.05, 1.05) * height
    return Shape(centre, radius, outline)
