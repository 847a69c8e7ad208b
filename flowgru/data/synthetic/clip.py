"""A generated clip: one collage whose layers go on moving, with exact flow between neighbours and exact tracks of points."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data import Dataset

from flowgru.config import SyntheticSettings
from flowgru.data.draws import Draws
from flowgru.data.sample import FlowSample
from flowgru.data.synthetic.exposure import draw_exposure, expose
from flowgru.data.synthetic.motion import Motion
from flowgru.data.synthetic.photos import photo_paths
from flowgru.data.synthetic.rendering import Layer
from flowgru.data.synthetic.scene import Scene, after
from flowgru.grid import in_picture

_EXPOSURES = 5 << 64
"""Light, lens and sensor of a clip are drawn from stream `index` of the seed plus this: others have streams of their own."""

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


class PairsOfClips(Dataset[FlowSample]):
    """The pairs of generated clips of settings.clip_frames frames, clip after clip, each clip in its order.

    Clip i shows the layers of generated pair i, which go on moving, see Scene; they bend over the whole clip as far as over
    a pair, which keeps their motion one-to-one. Each pair is a pure function of the settings and its index. `length` is what
    len() says, in pairs. The last clip is kept for its further pairs. RequestError when settings.photos are missing.
    """

    def __init__(self, settings: SyntheticSettings, *, length: int = 2**32) -> None:
        photo_paths(settings.photos)
        self.settings, self.length = settings, length
        self._last: tuple[int, SyntheticClip] | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> FlowSample:
        number, place = divmod(index, self.settings.clip_frames - 1)
        if self._last is None or self._last[0] != number:
            self._last = number, self._clip(number)
        frames, flows = self._last[1]
        flow = flows[place]
        return FlowSample(
            frames[place],
            frames[place + 1],
            flow,
            torch.ones_like(flow[0], dtype=torch.bool),
            None,
            f"synthetic/{self.settings.seed}/clip {number}/{place}",
        )

    def _clip(self, number: int) -> SyntheticClip:
        settings, pairs = self.settings, self.settings.clip_frames - 1
        scene = Scene.draw(settings, number)
        scene = Scene([_bent_less(layer, pairs) for layer in scene.layers], scene.height, scene.width)
        shown = [scene.frame(time) for time in range(pairs + 1)]
        draws = Draws(settings.seed + _EXPOSURES, number)
        noise_generator = torch.Generator().manual_seed(draws.integer(0, 2**32 - 1))
        exposure = draw_exposure(
            draws,
            colour=settings.colour,
            shadow=0.0,
            blurred=settings.blur,
            noise=settings.noise,
            steady=True,
            fog=settings.fog,
            grey=settings.grey,
        )
        exposed = expose(torch.stack([frame.picture for frame in shown]), exposure, noise_generator)
        return SyntheticClip([*exposed], [frame.flow for frame in shown[:-1]])


def _bent_less(layer: Layer, times: int) -> Layer:
    """The layer, which bends as far in so many frames as it did in one."""
    motion = layer.motion
    if motion.waves is None:
        return layer
    waves = motion.waves._replace(amplitudes=motion.waves.amplitudes / times, reach=motion.waves.reach / times)
    return layer._replace(motion=Motion(motion.projection, waves))


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
        seen = in_picture(places[0], places[1], settings.height, settings.width)
        for number, (layer, motion) in enumerate(zip(layers, motions, strict=True)):
            if layer.shape is not None:
                seen &= (owners >= number) | (layer.shape.alpha(motion.inverse(places)) <= 0.5)
        positions.append(places.T)
        visible.append(seen)
    return ExactTracks(torch.stack(positions), torch.stack(visible))
