"""Generated pairs that are used several times, each time as another view of the same collage: making one costs the most."""

from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import Dataset

from flowgru.config.training import MAX_USES
from flowgru.data.draws import Draws
from flowgru.data.sample import FlowSample
from flowgru.data.synthetic.exposure import ColourChange, Pair, change_colour, draw_colour_change, in_levels

_USES = 4 << 64
"""Changes are drawn from stream `index` of the seed plus this: pairs, augmentation and starts have streams of their own."""

MIRRORED = ((-1,), (-2,), (-1, -2))
"""The axes along which further uses of a pair are mirrored: sideways, upside down, and both, which is half a turn."""

COLOUR = 0.3
"""By about so much further uses change saturation, contrast, brightness and gamma of both pictures alike."""


class Use(NamedTuple):
    """What makes another view of a pair."""

    order: Int64[Tensor, "3"]
    """Which colour takes the place of red, green and blue."""
    change: ColourChange
    """Of both pictures afterwards."""
    axes: tuple[int, ...]
    """Along which everything is mirrored, counted from the last."""
    name: str
    """What follows the pair's name."""


def draw_use(seed: int, index: int, uses: int) -> Use | None:
    """What is changed of pair index // uses; nothing the first time."""
    use = index % uses
    if not use:
        return None
    turn = Draws(seed + _USES, index - use).integer(0, len(MIRRORED) - 1)
    draws = Draws(seed + _USES, index)
    order = torch.randperm(3, generator=draws.generator)
    change = draw_colour_change(draws, COLOUR)
    return Use(order, change, MIRRORED[(turn + use) % len(MIRRORED)], f"/use{use + 1}")


class ReusedPairs(Dataset[FlowSample]):
    """Each pair of another data set `uses` times in a row: as it is, then mirrored another way each time, in other colours.

    A pure function of seed and index. The flow is mirrored exactly. The last pair is kept for its further uses.
    """

    def __init__(self, pairs: Dataset[FlowSample], uses: int, *, seed: int) -> None:
        assert 1 <= uses <= MAX_USES
        self.pairs, self.uses, self.seed = pairs, uses, seed
        self._last: tuple[int, FlowSample] | None = None

    def __len__(self) -> int:
        return self.uses * len(self.pairs)  # pyright: ignore[reportArgumentType]

    def __getitem__(self, index: int) -> FlowSample:
        number = index // self.uses
        if self._last is None or self._last[0] != number:
            self._last = number, self.pairs[number]
        use = draw_use(self.seed, index, self.uses)
        return self._last[1] if use is None else _used(self._last[1], use)


def _used(sample: FlowSample, use: Use) -> FlowSample:
    """Mirrored, and in other colours, on the levels of 8 bits."""

    def turned(values: Tensor) -> Tensor:
        return values.flip(use.axes)

    pair: Pair = torch.stack(
        [change_colour(picture[use.order], use.change) for picture in (sample.first, sample.second)]
    )
    first, second = in_levels(pair)
    sign = sample.flow.new_tensor([-1.0 if -1 in use.axes else 1.0, -1.0 if -2 in use.axes else 1.0])
    return FlowSample(
        turned(first),
        turned(second),
        turned(sample.flow) * sign[:, None, None],
        turned(sample.valid),
        None if sample.occlusion is None else turned(sample.occlusion),
        sample.name + use.name,
    )
