"""Endless generated pairs of moving collages, with exact flow and occlusion.

Cut-outs of textures and photographs move, turn, grow and bend over a background (Kwon et al., arXiv 2308.07378: pairs
like these are enough to learn from; Mayer et al., arXiv 1801.06397: displacements must cover those of the target, and
diversity counts more than realism). Each layer's plane is painted once and looked at from both pictures: from the first
directly, from the second through the inverse of the layer's motion. So the flow has no error of its own.

Everything of a pair is drawn before anything of it is painted: here one pair after the other, in `batched` many at once.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from flowgru.config import SyntheticSettings
from flowgru.data.draws import Draws
from flowgru.data.sample import FlowSample
from flowgru.data.synthetic.exposure import Exposure, draw_exposure, expose, in_levels
from flowgru.data.synthetic.layers.collage import draw_layers, draw_plain_layers
from flowgru.data.synthetic.layers.rigid import draw_rigid_layers
from flowgru.data.synthetic.paint import draw_colour
from flowgru.data.synthetic.photos import photo_paths
from flowgru.data.synthetic.rendering import Layer, render
from flowgru.data.synthetic.textures import TextureBank, bank_of


class DrawnPair(NamedTuple):
    """Everything of a pair that is drawn, which is all that it depends on."""

    name: str
    layers: list[Layer]
    """From back to front."""
    open_for: float
    """Share of the time between the pictures for which each is exposed; 0: a moment."""
    fade: Float[Tensor, "3 1"] | None
    """The colour that the whole second picture has."""
    exposure: Exposure | None
    """None where a pair is drawn, not photographed."""
    noise_seed: int


def draw_pair(settings: SyntheticSettings, number: int, bank: TextureBank) -> DrawnPair:
    """Pair `number` of the settings: a pure function of both."""
    draws = Draws(settings.seed, number)
    plain = bool(settings.plain) and draws.chance(settings.plain)
    rigid = not plain and bool(settings.rigid) and draws.chance(settings.rigid)
    draw = draw_plain_layers if plain else draw_rigid_layers if rigid else draw_layers
    layers, still = draw(draws, settings, bank)
    blurred = bool(settings.motion_blur) and draws.chance(settings.motion_blur)
    open_for = draws.uniform(0.1, 0.5) if blurred else 0.0
    fades = plain and len(layers) == 1 and draws.chance(0.5)
    fade = draw_colour(draws).to(bank.device) if fades else None
    name = f"synthetic/{settings.seed}/{number}"
    if plain and draws.chance(0.5):  # drawn, not photographed
        return DrawnPair(name, layers, open_for, fade, None, 0)
    noise_seed = draws.integer(0, 2**32 - 1)
    exposure = draw_exposure(
        draws,
        colour=settings.colour,
        shadow=settings.shadow,
        blurred=settings.blur,
        noise=settings.noise,
        steady=still and draws.chance(0.5),
        fog=settings.fog,
        grey=settings.grey,
    )
    return DrawnPair(name, layers, open_for, fade, exposure, noise_seed)


class SyntheticPairs(Dataset[FlowSample]):
    """Generated pairs, each a pure function of the settings and its index.

    `length` is what len() and iteration say; any index from 0 on can be asked for, and pairs repeat after 2^32. Noise
    is drawn on the device, so another kind of device gives other noise. Raises RequestError when settings.photos are
    missing.
    """

    def __init__(
        self,
        settings: SyntheticSettings,
        *,
        length: int = 2**32,
        device: str | torch.device = "cpu",
    ) -> None:
        photo_paths(settings.photos)
        self.settings, self.length = settings, length
        self.device = torch.device(device)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[FlowSample]:
        return (self[index] for index in range(self.length))

    def drawn(self, index: int, bank: TextureBank) -> DrawnPair:
        """What there is to paint of a pair, from a bank of the settings' textures. IndexError where there is none."""
        if index < 0:
            raise IndexError(f"synthetic pair {index}: they are numbered from 0")
        return draw_pair(self.settings, index, bank)

    def __getitem__(self, index: int) -> FlowSample:
        height, width = self.settings.height, self.settings.width
        drawn = self.drawn(index, bank_of(self.settings, self.device))
        pair, flow, occlusion = render(drawn.layers, height, width, self.device, exposure=drawn.open_for)
        if drawn.fade is not None:
            pair[1] = drawn.fade[..., None]
        if drawn.exposure is None:
            pair = in_levels(pair)
        else:
            pair = expose(pair, drawn.exposure, torch.Generator(self.device).manual_seed(drawn.noise_seed))
        return FlowSample(pair[0], pair[1], flow, torch.ones_like(occlusion), occlusion, drawn.name)
