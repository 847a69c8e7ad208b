"""A generated clip: one collage whose layers go on moving, with exact flow between neighbours and exact tracks of points."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from flowgru.config import SyntheticSettings
from flowgru.data.synthetic.scene import Scene, after

LARGEST_ROUND_TRIP = 0.01
"""Pixels by which a point may be off once it was moved and moved back, where its motion is one-to-one."""


class SyntheticClip(NamedTuple):
    """Frames in [0, 1], on the levels of 8 bits, and the flow from each to the next."""

    frames: list[Float[Tensor, "3 H W"]]
    flows: list[Float[Tensor, "2 H W"]]


def render_clip(settings: SyntheticSettings, index: int, num_frames: int) -> SyntheticClip:
    """The collage of pair `index`, without noise and blur, carried on over `num_frames` frames, see Scene."""
    scene = Scene.draw(settings, index)
    frames = [scene.frame(time) for time in range(num_frames)]
    return SyntheticClip([frame.picture for frame in frames], [frame.flow for frame in frames[:-1]])


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
    layers = Scene.draw(settings, index).layers
    planes = points.T.contiguous()  # the first frame shows each plane as it is
    owners = torch.zeros(len(points), dtype=torch.int64)
    for number, layer in enumerate(layers):
        if layer.shape is not None:
            owners[layer.shape.alpha(planes) > 0.5] = number
    positions, visible = [], []
    for time in range(num_frames):
        motions = [after(layer.motion, time) for layer in layers]
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
