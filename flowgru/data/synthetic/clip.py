"""A generated clip: one collage whose layers go on moving, with exact flow between neighbours and exact tracks of points."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from flowgru.config import SyntheticSettings
from flowgru.data.draws import Draws
from flowgru.data.synthetic.motion import Motion
from flowgru.data.synthetic.pairs import draw_layers
from flowgru.data.synthetic.rendering import Layer, paint_over, pixel_grid, whole_pixels

LARGEST_ROUND_TRIP = 0.01
"""Pixels by which a point may be off once it was moved and moved back, where its motion is one-to-one."""


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


class ExactTracks(NamedTuple):
    """Where points of a clip's first frame are in each of its frames."""

    positions: Float[Tensor, "T P 2"]
    """x to the right and y down, in pixels; also where they are hidden or outside."""
    visible: Bool[Tensor, "T P"]
    """Whether a point is in the frame's area and no layer over its own covers more than half of it."""


def exact_tracks(settings: SyntheticSettings, index: int, num_frames: int, points: Float[Tensor, "P 2"]) -> ExactTracks:
    """The tracks of points of the first frame of render_clip: each moves with the topmost layer at its place there.

    ValueError where a layer bends so far in that time that its motion is no longer one-to-one, and tracks would be
    ambiguous: give a smaller settings.nonrigidity.
    """
    layers, _ = draw_layers(Draws(settings.seed, index), settings, torch.device("cpu"))
    planes = points.T.contiguous()  # the first frame shows each plane as it is
    owners = torch.zeros(len(points), dtype=torch.int64)
    for number, layer in enumerate(layers):
        if layer.shape is not None:
            owners[layer.shape.alpha(planes) > 0.5] = number
    positions, visible = [], []
    for time in range(num_frames):
        motions = [_after(layer.motion, time) for layer in layers]
        places = torch.zeros_like(planes)
        for number in owners.unique().tolist():
            mine = owners == number
            places[:, mine] = motions[number].forward(planes[:, mine])
            if float((motions[number].inverse(places[:, mine]) - planes[:, mine]).abs().max()) > LARGEST_ROUND_TRIP:
                raise ValueError(f"clip {index}: layer {number} bends too far in {time} frames for exact tracks")
        limit = torch.tensor([[settings.width - 0.5], [settings.height - 0.5]])
        seen = ((places >= -0.5) & (places <= limit)).all(dim=0)
        for number, (layer, motion) in enumerate(zip(layers, motions, strict=True)):
            if layer.shape is not None:
                seen &= (owners >= number) | (layer.shape.alpha(motion.inverse(places)) <= 0.5)
        positions.append(places.T)
        visible.append(seen)
    return ExactTracks(torch.stack(positions), torch.stack(visible))


def _after(motion: Motion, times: int) -> Motion:
    """The motion made several times over."""
    waves = motion.waves
    if waves is not None:
        waves = waves._replace(amplitudes=waves.amplitudes * times) if times else None
    return Motion(torch.linalg.matrix_power(motion.projection, times), waves)
