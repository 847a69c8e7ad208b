"""Endless generated pairs of moving collages, with exact flow and occlusion.

Cut-outs of textures and photographs move, turn, grow and bend over a background (Kwon et al., arXiv 2308.07378: pairs
like these are enough to learn from; Mayer et al., arXiv 1801.06397: displacements must cover those of the target, and
diversity counts more than realism). Each layer's plane is painted once and looked at from both pictures: from the first
directly, from the second through the inverse of the layer's motion. So the flow has no error of its own.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from flowgru.config import SyntheticSettings
from flowgru.data.draws import Draws
from flowgru.data.sample import FlowSample
from flowgru.data.synthetic.exposure import Pair, expose
from flowgru.data.synthetic.motion import Motion, about, draw_waves, tempered
from flowgru.data.synthetic.photos import photo_paths
from flowgru.data.synthetic.rendering import Layer, Rendering, render
from flowgru.data.synthetic.shapes import Shape, draw_shape
from flowgru.data.synthetic.textures import draw_flat_paint, draw_paint, texture_bank

REFERENCE_DIAGONAL = 320.0
"""Of a picture of 192x256 px: speeds are given for it and grow with the diagonal."""


class SyntheticPairs(Dataset[FlowSample]):
    """Generated pairs `first_index`, `first_index + 1`, ...: each a pure function of the settings and its index.

    `length` is what len() and iteration say; any index from 0 on can be asked for, and pairs repeat after 2^32. Noise
    is drawn on the device, so another kind of device gives other noise. Raises RequestError when settings.photos are
    missing.
    """

    def __init__(
        self,
        settings: SyntheticSettings,
        *,
        length: int = 2**32,
        first_index: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        photo_paths(settings.photos)
        self.settings, self.length, self.first_index = settings, length, first_index
        self.device = torch.device(device)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[FlowSample]:
        return (self[index] for index in range(self.length))

    def __getitem__(self, index: int) -> FlowSample:
        if index < 0:
            raise IndexError(f"synthetic pair {index}: they are numbered from 0")
        settings, number = self.settings, self.first_index + index
        draws = Draws(settings.seed, number)
        plain = bool(settings.plain) and draws.chance(settings.plain)
        layers, still = (draw_plain_layers if plain else draw_layers)(draws, settings, self.device)
        blurred = bool(settings.motion_blur) and draws.chance(settings.motion_blur)
        exposure = draws.uniform(0.1, 0.5) if blurred else 0.0
        rendering = render(layers, settings.height, settings.width, self.device, exposure=exposure)
        pair = rendering.pair
        if plain and len(layers) == 1 and draws.chance(0.5):  # a fade
            pair[1] = draw_flat_paint(draws, self.device).offset[..., None]
        if plain and draws.chance(0.5):  # drawn, not photographed
            return _sample(settings, number, rendering, pair.clamp(0, 1).mul_(255).round_().div_(255))
        pair = expose(
            pair,
            draws,
            torch.Generator(self.device).manual_seed(draws.integer(0, 2**32 - 1)),
            colour=settings.colour,
            shadow=settings.shadow,
            blurred=settings.blur,
            noise=settings.noise,
            steady=still and draws.chance(0.5),
            fog=settings.fog,
        )
        return _sample(settings, number, rendering, pair)


def _sample(settings: SyntheticSettings, number: int, rendering: Rendering, pair: Pair) -> FlowSample:
    return FlowSample(
        first=pair[0],
        second=pair[1],
        flow=rendering.flow,
        valid=torch.ones_like(rendering.occlusion),
        occlusion=rendering.occlusion,
        name=f"synthetic/{settings.seed}/{number}",
    )


def draw_plain_layers(draws: Draws, settings: SyntheticSettings, device: torch.device) -> tuple[list[Layer], bool]:
    """A background of one colour that stands still, with nothing or a few cut-outs on it, and whether those stand too."""
    background = Layer(None, Motion(torch.eye(3, dtype=torch.float64)), draw_flat_paint(draws, device))
    if draws.chance(0.3):
        return [background], True
    still = draws.chance(0.5)
    (_, *cut_outs), _ = draw_layers(draws, replace(settings, static_share=0.0, still_background_share=1.0), device)
    if still:
        cut_outs = [layer._replace(motion=background.motion) for layer in cut_outs]
    flat = [layer._replace(paint=draw_flat_paint(draws, device)) if draws.chance(0.7) else layer for layer in cut_outs]
    return [background, *flat], still


def draw_layers(draws: Draws, settings: SyntheticSettings, device: torch.device) -> tuple[list[Layer], bool]:
    """The background and the cut-outs over it, from back to front, and whether (almost) nothing moves."""
    height, width = settings.height, settings.width
    shorter, diagonal = min(height, width), math.hypot(height, width)
    num_patterns = round(settings.patterns * settings.num_textures)
    bank = texture_bank(settings.seed, settings.num_textures, settings.photos, device, num_patterns)

    slowest, fastest = settings.speed
    speed = draws.log_uniform(slowest, max(slowest, min(fastest * diagonal / REFERENCE_DIAGONAL, settings.most_speed)))
    still = draws.chance(settings.static_share)
    if still:
        speed = draws.choice((0.0, draws.uniform(0.02, 0.06)))
    still_background = not still and draws.chance(settings.still_background_share)
    camera = Camera.draw(draws, 0.0 if still_background else speed, (width / 2, height / 2))
    furthest = settings.furthest * diagonal
    strength = 0.25 * settings.nonrigidity

    waves = None
    if strength and not still_background and draws.chance(0.5):
        waves = draw_waves(draws, 0.3 * diagonal, 1.5 * diagonal, strength * speed, device)
    whole = (0.0, 0.0, float(width), float(height))
    background = tempered(camera.seen_at(1.0, tilted=True), whole, furthest)
    layers = [Layer(None, Motion(background, waves), draw_paint(draws, bank))]

    fewest, most = settings.layers
    radii = (max(settings.radius[0] * shorter, 2.0), max(settings.radius[1] * shorter, 2.0))
    for _ in range(int(draws.log_uniform(fewest + 1.0, most + 1.999)) - 1):
        shape = draw_shape(draws, height, width, radii, settings.holes, settings.thin)
        own_speed = speed * math.exp(draws.normal(0.8)) if draws.chance(0.5 if still_background else 0.75) else 0.0
        if still:
            own_speed = min(own_speed, speed)
        projection = camera.seen_at(draws.log_uniform(0.6, 1.7)) @ draw_local(draws, own_speed, shape)
        waves = None
        if strength and own_speed and draws.chance(0.5):
            shortest = max(1.5 * shape.radius, 24.0)
            waves = draw_waves(draws, shortest, 4 * shortest, strength * own_speed, device)
        motion = Motion(tempered(projection, shape.box, furthest), waves)
        layers.append(Layer(shape, motion, draw_paint(draws, bank)))
    return layers, still


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
