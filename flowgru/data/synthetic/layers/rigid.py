"""The layers of a rigid scene: a room of planes in perspective, things that stand in it, and a camera that moves through it.

The camera's turn R and shift t bring a point X of the world, seen from its first place, to R X + t. All points with
plane @ X = 1 then move by the homography K (R + t plane^T) K^-1, where K has the focal length and the middle of the picture
(Hartley and Zisserman 2004, "Multiple View Geometry in Computer Vision", equation 13.2). At a pixel, whose ray is K^-1 of
it, a plane has the inverse depth plane @ ray: it is linear there, so a plane of the room is seen in a convex polygon.
x is to the right, y down and z forward. The unit of length is how high the camera is above the ground.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from flowgru.config import SyntheticSettings
from flowgru.data.draws import Draws
from flowgru.data.synthetic.layers import outlines
from flowgru.data.synthetic.layers.collage import draw_count, draw_speed, limited, radii_of
from flowgru.data.synthetic.layers.outlines import Outline, Part
from flowgru.data.synthetic.layers.shapes import Shape, draw_shape
from flowgru.data.synthetic.motion import Motion
from flowgru.data.synthetic.paint import draw_paint
from flowgru.data.synthetic.rendering import Layer
from flowgru.data.synthetic.textures import TextureBank

Vector = Float64[Tensor, "3"]
Plane = Float64[Tensor, "3"]
"""The points X of the world with plane @ X = 1."""

Place = tuple[float, float]
"""x and y of a pixel."""

LEAST_DEPTH = 0.3
"""No seen point comes nearer to the camera than this share of its depth, and none goes further away than its inverse."""

SHORTENED = 0.75
"""What a camera's move is multiplied by, again and again, where it goes too far."""

LEAST_FURTHEST = 1e-6
"""In pixels: what a camera that stands still may seem to move by rounding."""

MAX_LAYERS = 256
"""Their numbers have 8 bits."""

MARGIN = 40.0
"""Pixels around a layer's box in which its motion must be one-to-one: they may be looked at, and cover nothing."""


class Lens(NamedTuple):
    """A pinhole camera."""

    focal_length: float
    """In pixels."""
    centre: tuple[float, float]

    @property
    def matrix(self) -> Float64[Tensor, "3 3"]:
        (x, y), f = self.centre, self.focal_length
        return torch.tensor([[f, 0.0, x], [0.0, f, y], [0.0, 0.0, 1.0]], dtype=torch.float64)

    def ray(self, x: float, y: float) -> Vector:
        """Through a pixel, as far as 1 forward."""
        return vector((x - self.centre[0]) / self.focal_length, (y - self.centre[1]) / self.focal_length, 1.0)


class Surface(NamedTuple):
    """A plane of the world and the part of it that is there; without a shape it covers everything."""

    plane: Plane
    shape: Shape | None
    own_shift: Vector
    """How it moves through the world itself."""


Seen = list[tuple[Surface, list[Place]]]
"""Planes of the room, each with some of the pixels in which it is the nearest."""


class Move(NamedTuple):
    """How the camera moves between the pictures."""

    turn: Vector
    """Around x, y and z, in rad."""
    rotation: Float64[Tensor, "3 3"]
    """The same as a matrix."""
    shift: Vector

    @classmethod
    def of(cls, turn: Vector, shift: Vector) -> "Move":
        x, y, z = turn.tolist()
        skew = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
        return cls(turn, torch.linalg.matrix_exp(skew), shift)

    def homography(self, lens: Lens, surface: Surface) -> Float64[Tensor, "3 3"]:
        """How a surface moves in the picture; the third number of what it makes of (x, y, 1) is the depth's growth."""
        around = self.rotation + torch.outer(self.shift + surface.own_shift, surface.plane)
        return torch.linalg.solve(lens.matrix, lens.matrix @ around, left=False)


def draw_rigid_layers(draws: Draws, settings: SyntheticSettings, bank: TextureBank) -> tuple[list[Layer], bool]:
    """The room from its back on, the things in it from the furthest on, and whether (almost) nothing moves.

    A move that would be too far for the room is shortened; what would still go too far in it is left out.
    """
    height, width = settings.height, settings.width
    lens = Lens(draws.log_uniform(0.6, 2.0) * width, (width / 2, height / 2))
    furthest = max(settings.furthest * math.hypot(height, width), LEAST_FURTHEST)
    speed, still = draw_speed(draws, settings)
    room = draw_room(draws, lens)
    seen = _seen(room, lens)
    move = draw_move(draws, lens, speed, seen)
    while not _is_possible(move, lens, room, seen, furthest):
        move = Move.of(SHORTENED * move.turn, SHORTENED * move.shift)
    things = [
        thing
        for thing in draw_things(draws, settings, lens, room, 0.0 if still else speed)
        if max(_lengths(move.homography(lens, thing), _grown(thing.shape, lens, MARGIN))) <= furthest
    ]
    return [
        Layer(surface.shape, Motion(move.homography(lens, surface)), draw_paint(draws, bank))
        for surface in (*room, *things)
    ], still


def draw_room(draws: Draws, lens: Lens) -> list[Surface]:
    """A wall at the back and what there is of ground, ceiling and walls at the sides; together they are convex."""
    roll, pitch = limited(draws.normal(0.05)), 0.3 * limited(draws.normal(0.5))
    aside, tilted = 0.45 * limited(draws.normal(0.5)), 0.1 * limited(draws.normal(0.5))
    planes = [vector(math.sin(aside), tilted, math.cos(aside)) / draws.log_uniform(2.5, 40.0)]
    if draws.chance(0.85):
        planes.append(vector(math.sin(roll), math.cos(roll), math.sin(pitch)))
    if draws.chance(0.25):
        planes.append(vector(-math.sin(roll), -math.cos(roll), 0.2 * draws.normal(0.5)) / draws.log_uniform(0.8, 4.0))
    for side in (-1.0, 1.0):
        if draws.chance(0.4):
            planes.append(vector(side, 0.0, 0.3 * limited(draws.normal(0.5))) / draws.log_uniform(0.8, 6.0))
    surfaces = [Surface(planes[0], None, torch.zeros(3, dtype=torch.float64))]
    for number, plane in enumerate(planes[1:], 1):
        sides = [_nearer(plane, behind, lens) for behind in planes[:number]]
        outline = Outline((Part(outlines.polygon, (math.inf, *(each for side in sides for each in side))),))
        reach = 1.2 * math.hypot(*lens.centre)
        surfaces.append(surfaces[0]._replace(plane=plane, shape=Shape(lens.centre, reach, outline)))
    return surfaces


def draw_things(
    draws: Draws, settings: SyntheticSettings, lens: Lens, room: list[Surface], speed: float
) -> list[Surface]:
    """Flat cut-outs in front of the room; some move by themselves, as fast as `speed` or at another speed."""
    height, width = settings.height, settings.width
    radii = radii_of(settings)
    found: list[tuple[float, Surface]] = []
    planes = torch.stack([surface.plane for surface in room])
    for _ in range(min(draw_count(draws, settings), MAX_LAYERS - len(room))):
        shape = draw_shape(draws, height, width, radii, settings.holes, settings.thin)
        ray = lens.ray(*shape.centre)
        inverse_depth = float((planes @ ray).max()) * draws.log_uniform(1.05, 4.0)
        facing = vector(limited(draws.normal(0.5)), limited(draws.normal(0.3)), 1.0)
        around = torch.stack([lens.ray(*corner) for corner in _grown(shape, lens, MARGIN)])
        while float((around @ facing).min()) < 0.4 * float(facing @ ray):
            facing = facing * vector(0.5, 0.5, 1.0)
        plane = facing * inverse_depth / (facing @ ray)
        own_shift = torch.zeros(3, dtype=torch.float64)
        if speed and draws.chance(0.35):
            own_speed = speed * math.exp(draws.normal(0.8)) if draws.chance(0.5) else draw_speed(draws, settings)[0]
            direction = draws.angle()
            way = vector(math.cos(direction), 0.3 * draws.normal(0.5), math.sin(direction))
            own_shift = way * own_speed / (lens.focal_length * inverse_depth)
        found.append((inverse_depth, Surface(plane, shape, own_shift)))
    return [surface for _, surface in sorted(found, key=lambda each: each[0])]


def draw_move(draws: Draws, lens: Lens, speed: float, seen: Seen) -> Move:
    """A move that displaces what is seen of the room by about `speed` px: half of them forward or back, along a line that is
    seen as a point in the picture."""
    (x, y), f = lens.centre, lens.focal_length
    if draws.chance(0.5):
        way = vector(draws.uniform(-0.9, 0.9) * x / f, draws.uniform(-0.6, 0.6) * y / f, 1.0)
        way = way * draws.choice((1.0, 1.0, 1.0, -1.0))
    else:
        direction = draws.angle()
        way = vector(math.cos(direction), 0.4 * math.sin(direction), limited(draws.normal(0.3)))
    turning, rate = draws.chance(0.6), speed / f
    turn = vector(
        rate * 0.5 * limited(draws.normal(0.5)) * turning,
        rate * limited(draws.normal(0.5)) * turning,
        speed / math.hypot(x, y) * 0.5 * limited(draws.normal(0.5)) * draws.chance(0.4),
    )
    little = Move.of(torch.zeros_like(turn), -1e-4 * way)
    lengths = [each for surface, places in seen for each in _lengths(little.homography(lens, surface), places)]
    return Move.of(turn, little.shift * speed * draws.uniform(0.6, 1.4) * len(lengths) / sum(lengths))


def vector(x: float, y: float, z: float) -> Vector:
    return torch.tensor([x, y, z], dtype=torch.float64)


def _nearer(plane: Plane, behind: Plane, lens: Lens) -> tuple[float, float, float]:
    """The side of a polygon, from the lens' centre: where one plane is nearer than the other."""
    x, y, middle = (plane - behind).tolist()
    slope = max(math.hypot(x, y) / lens.focal_length, 1e-9)
    return -x / (lens.focal_length * slope), -y / (lens.focal_length * slope), middle / slope


def _seen(room: list[Surface], lens: Lens) -> Seen:
    """The planes of the room that are the nearest at some pixels all over the picture, its corners among them, and these."""
    (x, y), steps = lens.centre, [0.0, 0.5, 1.0, 1.5, 2.0]
    places = [(column * x, row * y) for row in steps for column in steps]
    rays = torch.stack([lens.ray(*place) for place in places], dim=1)
    nearest = (torch.stack([surface.plane for surface in room]) @ rays).argmax(dim=0).tolist()
    return [
        (room[number], [place for place, shown in zip(places, nearest, strict=True) if shown == number])
        for number in sorted({*nearest})
    ]


def _is_possible(move: Move, lens: Lens, room: list[Surface], seen: Seen, furthest: float) -> bool:
    """Whether the room stays in front of the camera, fills the second picture, and goes nowhere further than so many px."""
    corners = _grown(None, lens, 0.0)
    for surface in room:
        homography = move.homography(lens, surface)
        if math.isinf(max(_lengths(homography, _grown(surface.shape, lens, MARGIN)))):
            return False
        *before, growth = torch.linalg.inv(homography) @ _columns(corners)
        if not (growth > LEAST_DEPTH).all():
            return False
        places = (torch.stack(before) / growth).float()
        if (
            surface.shape is not None
            and (surface.shape.alpha(places) > 0).logical_and(~_inside(surface.shape, places)).any()
        ):
            return False
    return all(max(_lengths(move.homography(lens, surface), places)) <= furthest for surface, places in seen)


def _inside(shape: Shape, places: Float[Tensor, "2 N"]) -> Bool[Tensor, "N"]:
    """Whether the shape's box holds them."""
    left, top, right, bottom = shape.box
    x, y = places
    return (x >= left) & (x <= right) & (y >= top) & (y <= bottom)


def _grown(shape: Shape | None, lens: Lens, margin: float) -> list[Place]:
    """The corners of a box with so many pixels more around it; of the picture where there is no shape."""
    left, top, right, bottom = shape.box if shape is not None else (0.0, 0.0, 2 * lens.centre[0], 2 * lens.centre[1])
    return [(x, y) for x in (left - margin, right + margin) for y in (top - margin, bottom + margin)]


def _lengths(homography: Float64[Tensor, "3 3"], places: list[Place]) -> list[float]:
    """How far each of the places goes, in pixels; infinite where one comes too near to the camera, or goes too far away."""
    points = _columns(places)
    *moved, growth = homography @ points
    length = (torch.stack(moved) / growth - points[:2]).norm(dim=0)
    return torch.where((growth > LEAST_DEPTH) & (growth < 1 / LEAST_DEPTH), length, math.inf).tolist()


def _columns(places: list[Place]) -> Float64[Tensor, "3 N"]:
    """(x, y, 1) of each."""
    return torch.tensor([(x, y, 1.0) for x, y in places], dtype=torch.float64).T
