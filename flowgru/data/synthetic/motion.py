"""How a flat layer moves between two pictures, and the exact inverse.

A motion is a smooth bend followed by a projective map: phi(x) = P(x + d(x)), where d is a sum of a few plane sine waves
whose Jacobian stays below 0.3, so that phi is one-to-one. Points are [2, ...] in pixels, x right and y down. Several
motions may be stacked along a first axis; each then moves points of its own.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from flowgru.data.draws import Draws

STEEPEST_BEND = 0.3
NEWTON_STEPS = 4
NUM_WAVES = 3


def mapped(
    matrix: Float[Tensor, "*planes R C"], values: Float[Tensor, "*planes C N"], offset: Tensor | None = None
) -> Float[Tensor, "*planes R N"]:
    """matrix @ values + offset, where `offset` is [*planes, R, 1] or none.

    For several planes it is no matrix product: those of a GPU are made for far larger matrices, and may be rounded to TF32.
    """
    if matrix.dim() == 2:
        return matrix @ values if offset is None else torch.addmm(offset, matrix, values)
    columns, rows = matrix.split(1, dim=-1), values.split(1, dim=-2)
    total = columns[0] * rows[0] if offset is None else torch.addcmul(offset, columns[0], rows[0])
    for column, row in zip(columns[1:], rows[1:], strict=True):
        total = total.addcmul_(column, row)
    return total


class Waves(NamedTuple):
    """The displacement field d(x) = amplitudes @ sin(vectors @ x + phases), in pixels."""

    vectors: Float[Tensor, "*planes K 2"]
    phases: Float[Tensor, "*planes K 1"]
    amplitudes: Float[Tensor, "*planes 2 K"]
    reach: float
    """No point moves further than this, in pixels."""

    def displacement(self, points: Float[Tensor, "*planes 2 N"]) -> Float[Tensor, "*planes 2 N"]:
        return mapped(self.amplitudes, mapped(self.vectors, points, self.phases).sin_())

    def newton_step(
        self, points: Float[Tensor, "*planes 2 N"], bent: Float[Tensor, "*planes 2 N"]
    ) -> Float[Tensor, "*planes 2 N"]:
        """A better solution x of x + d(x) = bent than `points`."""
        angles = mapped(self.vectors, points, self.phases)
        miss_x, miss_y = (points + mapped(self.amplitudes, angles.sin()) - bent).unbind(-2)
        outer = self.amplitudes[..., :, None, :] * self.vectors.mT[..., None, :, :]
        xx, xy, yx, yy = mapped(outer.flatten(-3, -2), angles.cos_()).unbind(-2)
        xx, yy = xx + 1, yy + 1
        determinant = xx * yy - xy * yx
        step = torch.stack((yy * miss_x - xy * miss_y, xx * miss_y - yx * miss_x), dim=-2)
        return points - step / determinant.unsqueeze(-2)

    def solution(self, bent: Float[Tensor, "*planes 2 N"]) -> Float[Tensor, "*planes 2 N"]:
        """The points x with x + d(x) = bent, by Newton's method."""
        points = bent
        for _ in range(NEWTON_STEPS):
            points = self.newton_step(points, bent)
        return points


class Projection(NamedTuple):
    """The projective map of 3x3 matrices whose last number is 1."""

    matrix: Float[Tensor, "*planes 3 3"]
    affine: bool
    """Whether all of them are affine: that costs no division."""

    @classmethod
    def of(cls, matrix: Float64[Tensor, "*planes 3 3"]) -> "Projection":
        """Of any matrices, which are on the CPU: a GPU would be waited for when they are asked whether they are affine."""
        matrix = matrix / matrix[..., 2:, 2:]
        return cls(matrix, not bool(matrix[..., 2, :2].any()))

    def __call__(self, points: Float[Tensor, "*planes 2 N"]) -> Float[Tensor, "*planes 2 N"]:
        matrix = self.matrix.to(points)
        moved = mapped(matrix[..., :2, :2], points, matrix[..., :2, 2:])
        return moved if self.affine else moved / (mapped(matrix[..., 2:, :2], points) + 1)


@dataclass(frozen=True)
class Motion:
    """Where a layer's points are in the second picture."""

    projection: Float64[Tensor, "3 3"]
    waves: Waves | None = None

    def forward(self, points: Float[Tensor, "2 *shape"]) -> Float[Tensor, "2 *shape"]:
        """First picture -> second picture."""
        flat = points.reshape(2, -1)
        if self.waves is not None:
            flat = flat + self.waves.displacement(flat)
        return project(self.projection, flat).view(points.shape)

    def inverse(self, points: Float[Tensor, "2 *shape"]) -> Float[Tensor, "2 *shape"]:
        """Second picture -> first picture: closed form for the projection, Newton's method for the bend."""
        flat = project(torch.linalg.inv(self.projection), points.reshape(2, -1))
        if self.waves is not None:
            flat = self.waves.solution(flat)
        return flat.view(points.shape)

    def box_after(self, left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of a box that holds all that the given box holds, once moved."""
        reach = self.waves.reach if self.waves is not None else 0.0
        xs, ys = (left - reach, right + reach), (top - reach, bottom + reach)
        corners = project(self.projection, torch.tensor([[x for x in xs for _ in ys], [y for _ in xs for y in ys]]))
        (left, top), (right, bottom) = corners.amin(1).tolist(), corners.amax(1).tolist()
        return left, top, right, bottom


def project(matrix: Float64[Tensor, "3 3"], points: Float[Tensor, "2 N"]) -> Float[Tensor, "2 N"]:
    """The projective map of a 3x3 matrix."""
    return Projection.of(matrix)(points)


def about(
    centre: tuple[float, float],
    shift: tuple[float, float] = (0.0, 0.0),
    *,
    turn: float = 0.0,
    zoom: float = 0.0,
    shear: float = 0.0,
    tilt: tuple[float, float] = (0.0, 0.0),
) -> Float64[Tensor, "3 3"]:
    """Turn by `turn` rad, grow by exp(zoom), shear and tilt (1/px) about `centre`, then shift (px)."""
    x, y = centre
    c, s, grow = math.cos(turn), math.sin(turn), math.exp(zoom)
    around = torch.tensor(
        [[grow * c, grow * (shear * c - s), 0.0], [grow * s, grow * (shear * s + c), 0.0], [*tilt, 1.0]],
        dtype=torch.float64,
    )
    to_centre = torch.tensor([[1.0, 0.0, -x], [0.0, 1.0, -y], [0.0, 0.0, 1.0]], dtype=torch.float64)
    back = torch.tensor([[1.0, 0.0, x + shift[0]], [0.0, 1.0, y + shift[1]], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return back @ around @ to_centre


def tempered(projection: Float64[Tensor, "3 3"], box: tuple[float, ...], furthest: float) -> Float64[Tensor, "3 3"]:
    """The projection, blended with standing still until no corner of the box moves further than `furthest` px."""
    left, top, right, bottom = box
    corners = torch.tensor([[left, left, right, right], [top, bottom, top, bottom]], dtype=torch.float64)
    longest = float((project(projection, corners) - corners).norm(dim=0).max())
    if longest <= furthest:
        return projection
    return torch.lerp(torch.eye(3, dtype=torch.float64), projection / projection[2, 2], furthest / longest)


def draw_waves(draws: Draws, shortest: float, longest: float, strength: float, device: torch.device) -> Waves:
    """NUM_WAVES waves of wavelengths shortest..longest px, together about `strength` px high, never too steep to invert."""
    vectors, amplitudes = [], []
    for _ in range(NUM_WAVES):
        number, direction = 2 * math.pi / draws.log_uniform(shortest, longest), draws.angle()
        vectors.append((number * math.cos(direction), number * math.sin(direction)))
        height, direction = strength * draws.uniform(0.1, 0.6), draws.angle()
        amplitudes.append((height * math.cos(direction), height * math.sin(direction)))
    steepness = sum(math.hypot(*a) * math.hypot(*v) for a, v in zip(amplitudes, vectors, strict=True))
    scale = min(1.0, STEEPEST_BEND / max(steepness, 1e-12))
    heights = torch.tensor(amplitudes).T.contiguous() * scale
    return Waves(
        vectors=torch.tensor(vectors, device=device),
        phases=torch.tensor([[draws.angle()] for _ in vectors], device=device),
        amplitudes=heights.to(device),
        reach=float(heights.norm(dim=0).sum()),
    )
