"""A short generated clip: one collage whose layers go on moving, with the exact flow between neighbouring frames."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.config import SyntheticSettings
from flowgru.data.draws import Draws
from flowgru.data.synthetic.motion import Motion
from flowgru.data.synthetic.pairs import draw_layers
from flowgru.data.synthetic.rendering import Layer, paint_over, pixel_grid, whole_pixels


class SyntheticClip(NamedTuple):
    """Frames in [0, 1], on the levels of 8 bits, and the flow from each to the next."""

    frames: list[Float[Tensor, "3 H W"]]
    flows: list[Float[Tensor, "2 H W"]]


def render_clip(settings: SyntheticSettings, index: int, num_frames: int) -> SyntheticClip:
    """The collage of pair `index`, without noise and blur, carried on over `num_frames` frames.

    After t frames a layer has made its projective motion t times and bends t times as much: phi_t. With x = phi_t(p) the
    flow of the topmost layer is phi_{t+1}(phi_t^-1(x)) - x.
    """
    layers, _ = draw_layers(Draws(settings.seed, index), settings, torch.device("cpu"))
    grid = pixel_grid(settings.height, settings.width, torch.device("cpu"))
    frames, flows = [], []
    for time in range(num_frames):
        frame, flow = torch.zeros(3, *grid.shape[1:]), torch.zeros_like(grid)
        tops = torch.zeros(grid.shape[1:], dtype=torch.uint8)
        for number, layer in enumerate(layers):
            now, then = _after(layer.motion, time), _after(layer.motion, time + 1)
            box = whole_pixels(now.box_after(*layer.shape.box) if layer.shape else None, *grid.shape[1:])
            if box is None:
                continue
            places = grid[:, *box]
            plane = now.inverse(places)
            top = paint_over(frame, tops, Layer(layer.shape, now, layer.paint), number, box, plane)
            flow[:, *box] = torch.where(top, then.forward(plane) - places, flow[:, *box])
        frames.append((frame.clamp(0, 1) * 255).round() / 255)
        flows.append(flow)
    return SyntheticClip(frames, flows[:-1])


def _after(motion: Motion, times: int) -> Motion:
    """The motion made several times over."""
    waves = motion.waves
    if waves is not None:
        waves = waves._replace(amplitudes=waves.amplitudes * times) if times else None
    return Motion(torch.linalg.matrix_power(motion.projection, times), waves)
