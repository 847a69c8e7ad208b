"""Generated pairs that are used several times, each time as another view of the same collage: making one costs the most."""

import torch
from torch import Tensor
from torch.utils.data import Dataset

from flowgru.config.training import MAX_USES
from flowgru.data.draws import Draws
from flowgru.data.sample import FlowSample
from flowgru.data.synthetic.exposure import Pair, change_colour, draw_colour_change

_USES = 4 << 64
"""Changes are drawn from stream `index` of the seed plus this: pairs, augmentation and starts have streams of their own."""

MIRRORED = ((-1,), (-2,), (-1, -2))
"""The axes along which further uses of a pair are mirrored: sideways, upside down, and both, which is half a turn."""

COLOUR = 0.3
"""By about so much further uses change saturation, contrast, brightness and gamma of both pictures alike."""


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
        number, use = divmod(index, self.uses)
        if self._last is None or self._last[0] != number:
            self._last = number, self.pairs[number]
        sample = self._last[1]
        if not use:
            return sample
        turn = Draws(self.seed + _USES, index - use).integer(0, len(MIRRORED) - 1)
        axes = MIRRORED[(turn + use) % len(MIRRORED)]
        return _mirrored(_recoloured(sample, Draws(self.seed + _USES, index)), axes, f"{sample.name}/use{use + 1}")


def _recoloured(sample: FlowSample, draws: Draws) -> FlowSample:
    """In other colours, on the levels of 8 bits; red, green and blue change places."""
    order = torch.randperm(3, generator=draws.generator)
    change = draw_colour_change(draws, COLOUR)
    pair: Pair = torch.stack([change_colour(picture[order], change) for picture in (sample.first, sample.second)])
    first, second = pair.mul_(255).round_().div_(255)
    return sample._replace(first=first, second=second)


def _mirrored(sample: FlowSample, axes: tuple[int, ...], name: str) -> FlowSample:
    def turned(values: Tensor) -> Tensor:
        return values.flip(axes)

    sign = sample.flow.new_tensor([-1.0 if -1 in axes else 1.0, -1.0 if -2 in axes else 1.0])
    return FlowSample(
        turned(sample.first),
        turned(sample.second),
        turned(sample.flow) * sign[:, None, None],
        turned(sample.valid),
        None if sample.occlusion is None else turned(sample.occlusion),
        name,
    )
