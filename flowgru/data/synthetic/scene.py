"""A generated collage whose layers go on moving, seen at any time and size, with the exact way of every point."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from flowgru.config import SyntheticSettings
from flowgru.data.draws import Draws
from flowgru.data.synthetic.layers.collage import draw_layers
from flowgru.data.synthetic.motion import Motion, project
from flowgru.data.synthetic.rendering import Layer, paint_over, pixel_grid, whole_pixels
from flowgru.data.synthetic.textures import bank_of


class SceneFrame(NamedTuple):
    """What is seen at one time."""

    picture: Float[Tensor, "3 H W"]
    """RGB in [0, 1], on the levels of 8 bits."""
    flow: Float[Tensor, "2 H W"]
    """To the next time, in pixels of this frame."""
    tops: UInt8[Tensor, "H W"]
    """The number of the topmost layer."""


class Scene:
    """Layers from back to front; after t frames a layer has made its projective motion t times and bends t times as much.

    With x = phi_t(p) the flow of the topmost layer at x is phi_{t+1}(phi_t^-1(x)) - x.
    """

    def __init__(self, layers: Sequence[Layer], height: int, width: int) -> None:
        self.layers, self.height, self.width = layers, height, width

    @classmethod
    def draw(cls, settings: SyntheticSettings, index: int) -> "Scene":
        """The collage of generated pair `index`, without noise and blur."""
        layers, _ = draw_layers(Draws(settings.seed, index), settings, bank_of(settings, torch.device("cpu")))
        return cls(layers, settings.height, settings.width)

    def with_constant_motion(self) -> "Scene":
        """The same layers, each of which is shifted by the same vector from every frame to the next."""
        layers = [layer._replace(motion=_shift(layer, self.height, self.width)) for layer in self.layers]
        return Scene(layers, self.height, self.width)

    def frame(self, time: int, size: tuple[int, int] | None = None) -> SceneFrame:
        """The scene after so many frames, at its own size or with another (height, width) laid over the same field of view.

        At another size the picture shows the points at the middle of its pixels, and the flow is as exact as at its own.
        """
        height, width = size or (self.height, self.width)
        grid = pixel_grid(height, width, torch.device("cpu"))
        scale = torch.tensor([self.width / width, self.height / height])[:, None, None]
        whole = grid if size is None else (grid + 0.5) * scale - 0.5
        picture, flow = torch.zeros(3, height, width), torch.zeros_like(grid)
        tops = torch.zeros(height, width, dtype=torch.uint8)
        for number, layer in enumerate(self.layers):
            now, then = after(layer.motion, time), after(layer.motion, time + 1)
            box = _scaled(now.box_after(*layer.shape.box), scale.flatten().tolist()) if layer.shape else None
            box = whole_pixels(box, height, width)
            if box is None:
                continue
            places = whole[:, *box]
            plane = now.inverse(places)
            top = paint_over(picture, tops, Layer(layer.shape, now, layer.paint), number, box, plane)
            moved = then.forward(plane) - places
            flow[:, *box] = torch.where(top, moved if size is None else moved / scale, flow[:, *box])
        return SceneFrame((picture.clamp(0, 1) * 255).round() / 255, flow, tops)

    def places(self, tops: UInt8[Tensor, "H W"], time: int) -> Float[Tensor, "2 H W"]:
        """Where what the pixels of frame 0 show is after so many frames; `tops` are those of frame 0."""
        places = pixel_grid(self.height, self.width, torch.device("cpu"))
        grid = places.clone()
        for number, layer in enumerate(self.layers):
            inside = tops == number
            places[:, inside] = after(layer.motion, time).forward(grid[:, inside])
        return places

    def seen(
        self, places: Float[Tensor, "2 H W"], tops: UInt8[Tensor, "H W"], then: UInt8[Tensor, "H W"]
    ) -> Bool[Tensor, "H W"]:
        """Whether those points are in the picture and on top where `then` are the topmost layers."""
        x, y = places.round().long()
        inside = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        return inside & (then[y.clamp(0, self.height - 1), x.clamp(0, self.width - 1)] == tops)


def after(motion: Motion, times: int) -> Motion:
    """The motion made several times over."""
    waves = motion.waves
    if waves is not None:
        waves = waves._replace(amplitudes=waves.amplitudes * times, reach=waves.reach * times) if times else None
    return Motion(torch.linalg.matrix_power(motion.projection, times), waves)


def _shift(layer: Layer, height: int, width: int) -> Motion:
    """The shift by which the middle of a layer moves from the first frame to the second."""
    x, y = layer.shape.centre if layer.shape else (width / 2, height / 2)
    middle = torch.tensor([[x], [y]], dtype=torch.float64)
    shift = torch.eye(3, dtype=torch.float64)
    shift[:2, 2:] = project(layer.motion.projection, middle) - middle
    return Motion(shift)


def _scaled(box: tuple[float, float, float, float], scale: list[float]) -> tuple[float, float, float, float]:
    """A box in pixels of a frame of another size."""
    left, top, right, bottom = ((edge + 0.5) / scale[number % 2] - 0.5 for number, edge in enumerate(box))
    return left, top, right, bottom
