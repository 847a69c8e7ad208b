"""The layers of a collage and how they move: a background with cut-outs over it, seen by a moving camera."""

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from flowgru.config import SyntheticSettings
from flowgru.data.draws import Draws
from flowgru.data.synthetic.layers.shapes import Shape, draw_shape
from flowgru.data.synthetic.motion import Motion, about, draw_waves, tempered
from flowgru.data.synthetic.paint import draw_colour, draw_paint, draw_shade, flat_paint
from flowgru.data.synthetic.rendering import Layer
from flowgru.data.synthetic.textures import TextureBank

REFERENCE_DIAGONAL = 320.0
"""Of a picture of 192x256 px: speeds are given for it and grow with the diagonal."""


def draw_plain_layers(draws: Draws, settings: SyntheticSettings, bank: TextureBank) -> tuple[list[Layer], bool]:
    """A background of one colour that stands still, with nothing or a few cut-outs on it, and whether those stand too.

    Cut-outs of one colour do not bend, which nothing would show, and have another colour than the background.
    """
    behind = draw_colour(draws)
    background = Layer(None, Motion(torch.eye(3, dtype=torch.float64)), flat_paint(behind.to(bank.device)))
    if draws.chance(0.3):
        return [background], True
    still = draws.chance(0.5)
    (_, *cut_outs), _ = draw_layers(draws, replace(settings, static_share=0.0, still_background_share=1.0), bank)
    if still:
        cut_outs = [layer._replace(motion=background.motion) for layer in cut_outs]
    layers = [background]
    for layer in cut_outs:
        colour = draw_colour(draws) if draws.chance(0.7) else behind
        if not colour.equal(behind):
            layer = Layer(layer.shape, replace(layer.motion, waves=None), flat_paint(colour.to(bank.device)))
        layers.append(layer)
    return layers, still


def draw_layers(draws: Draws, settings: SyntheticSettings, bank: TextureBank) -> tuple[list[Layer], bool]:
    """The background and the cut-outs over it, from back to front, and whether (almost) nothing moves."""
    height, width = settings.height, settings.width
    diagonal = math.hypot(height, width)

    speed, still = draw_speed(draws, settings)
    still_background = not still and draws.chance(settings.still_background_share)
    camera = Camera.draw(draws, 0.0 if still_background else speed, (width / 2, height / 2))
    furthest = settings.furthest * diagonal
    strength = 0.25 * settings.nonrigidity

    waves = None
    if strength and not still_background and draws.chance(0.5):
        waves = draw_waves(draws, 0.3 * diagonal, 1.5 * diagonal, strength * speed, bank.device)
    whole = (0.0, 0.0, float(width), float(height))
    background = tempered(camera.seen_at(1.0, tilted=True), whole, furthest)
    layers = [Layer(None, Motion(background, waves), draw_paint(draws, bank))]

    radii = radii_of(settings)
    for _ in range(draw_count(draws, settings)):
        untextured = bool(settings.untextured) and draws.chance(settings.untextured)
        shape = draw_shape(draws, height, width, radii, settings.holes, settings.thin, large=untextured)
        own_speed = speed * math.exp(draws.normal(0.8)) if draws.chance(0.5 if still_background else 0.75) else 0.0
        if still:
            own_speed = min(own_speed, speed)
        projection = camera.seen_at(draws.log_uniform(0.6, 1.7)) @ draw_local(draws, own_speed, shape)
        waves = None
        if strength and own_speed and not untextured and draws.chance(0.5):  # how one colour bends, nothing shows
            shortest = max(1.5 * shape.radius, 24.0)
            waves = draw_waves(draws, shortest, 4 * shortest, strength * own_speed, bank.device)
        motion = Motion(tempered(projection, shape.box, furthest), waves)
        paint = draw_shade(draws, bank, shape.radius) if untextured else draw_paint(draws, bank)
        layers.append(Layer(shape, motion, paint))
    return layers, still


def draw_speed(draws: Draws, settings: SyntheticSettings) -> tuple[float, bool]:
    """A pair's typical displacement in pixels, and whether (almost) nothing moves."""
    diagonal, (slowest, fastest) = math.hypot(settings.height, settings.width), settings.speed
    speed = draws.log_uniform(slowest, max(slowest, min(fastest * diagonal / REFERENCE_DIAGONAL, settings.most_speed)))
    still = draws.chance(settings.static_share)
    return (draws.choice((0.0, draws.uniform(0.02, 0.06))) if still else speed), still


def draw_count(draws: Draws, settings: SyntheticSettings) -> int:
    """How many cut-outs there are; few are more likely than many."""
    fewest, most = settings.layers
    return int(draws.log_uniform(fewest + 1.0, most + 1.999)) - 1


def radii_of(settings: SyntheticSettings) -> tuple[float, float]:
    """The smallest and the largest radius of a cut-out, in pixels."""
    shorter, (smallest, largest) = min(settings.height, settings.width), settings.radius
    return max(smallest * shorter, 2.0), max(largest * shorter, 2.0)


class Camera(NamedTuple):
    """How the camera moves between the pictures; what is nearer pans and grows more."""

    centre: tuple[float, float]
    pan: tuple[float, float]
    zoom: float
    roll: float
    tilt: tuple[float, float]

    @classmethod
    def draw(cls, draws: Draws, speed: float, centre: tuple[float, float]) -> "Camera":
        """A move that displaces the picture by about `speed` px; more often sideways than up or down."""
        reach = math.hypot(*centre)
        pan, direction = speed * draws.uniform(0.4, 1.6), draws.angle()
        per_pixel = min(speed / reach, 0.3)
        moving = draws.chance(0.6)
        return cls(
            centre,
            pan=(pan * math.cos(direction), 0.6 * pan * math.sin(direction)),
            zoom=per_pixel * limited(draws.normal(0.5)) * moving,
            roll=per_pixel * limited(draws.normal(0.3)) * draws.chance(0.5),
            tilt=(
                per_pixel * limited(draws.normal(0.2)) / reach * moving,
                per_pixel * limited(draws.normal(0.2)) / reach * moving,
            ),
        )

    def seen_at(self, nearness: float, *, tilted: bool = False) -> Tensor:
        """The projective map of a plane; 1 is the background's nearness."""
        return about(
            self.centre,
            (nearness * self.pan[0], nearness * self.pan[1]),
            turn=self.roll,
            zoom=nearness * self.zoom,
            tilt=self.tilt if tilted else (0.0, 0.0),
        )


def draw_local(draws: Draws, speed: float, shape: Shape) -> Tensor:
    """A cut-out's own move by about `speed` px, turn, zoom and shear included."""
    length, direction = speed * draws.uniform(0.3, 1.4), draws.angle()
    per_pixel = min(speed / shape.radius, 0.6)
    return about(
        shape.centre,
        (length * math.cos(direction), 0.7 * length * math.sin(direction)),
        turn=per_pixel * limited(draws.normal(0.5)),
        zoom=per_pixel * limited(draws.normal(0.25)),
        shear=per_pixel * limited(draws.normal(0.15)),
    )


def limited(number: float) -> float:
    return max(-1.0, min(number, 1.0))
