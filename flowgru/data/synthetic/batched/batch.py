"""A batch of generated pairs: what is drawn of it on the CPU, and what a device makes of that."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.utils.data import Dataset

from flowgru.config import StartShares, SyntheticSettings
from flowgru.data.starts import Start, draw_start
from flowgru.data.synthetic.batched.atlas import atlas, places
from flowgru.data.synthetic.batched.exposure import Changes, Exposures, Surfaces, expose_batch
from flowgru.data.synthetic.batched.packing import Packed
from flowgru.data.synthetic.batched.rendering import render_tables
from flowgru.data.synthetic.batched.tables import Tables, tables_of
from flowgru.data.synthetic.exposure import ColourChange, in_levels
from flowgru.data.synthetic.pairs import DrawnPair, SyntheticPairs
from flowgru.data.synthetic.rendering import INSTANTS
from flowgru.data.synthetic.reuse import Use, draw_use

MAX_PIXELS = 2**23
"""Of the frames that are painted at once; a batch of more is painted in parts. A pixel takes about half a kilobyte then."""


class DrawnSample(NamedTuple):
    """A generated pair before it is painted."""

    pair: DrawnPair
    use: Use | None
    start: Start


class DrawnPairs(Dataset[DrawnSample]):
    """What StartedPairs of ReusedPairs of SyntheticPairs would give, before anything is painted.

    No texture is made for it: a process that draws takes little time and memory.
    """

    def __init__(self, pairs: SyntheticPairs, *, uses: int, shares: StartShares, seed: int) -> None:
        self.pairs, self.uses, self.shares, self.seed = pairs, uses, shares, seed
        self._places = places(pairs.settings)

    def __len__(self) -> int:
        return self.uses * len(self.pairs)

    def __getitem__(self, index: int) -> DrawnSample:
        pair = self.pairs.drawn(index // self.uses, self._places)
        return DrawnSample(pair, draw_use(self.seed, index, self.uses), draw_start(self.shares, self.seed, index))


class PaintedBatch(NamedTuple):
    """Generated pairs on the device that painted them."""

    pictures: Float[Tensor, "B 2 3 H W"]
    """First and second of each pair, in [0, 1] on the levels of 8 bits."""
    flow: Float[Tensor, "B 2 H W"]
    occlusion: Bool[Tensor, "B H W"]
    start: Float[Tensor, "B 2 H W"]
    """Where refinement begins; 0 where it is to begin at the flow of DIS."""


class Contents(NamedTuple):
    """What is to be painted of B samples, in tables of numbers."""

    parts: tuple[tuple[Tables, Exposures], ...]
    """Each pair once, however often it is used."""
    sources: Int64[Tensor, "B"]
    """Which of these pairs each sample shows."""
    recoloured: Changes
    """Of the pictures of the samples."""
    mirrored: Bool[Tensor, "2 B"]
    """Whether a sample is mirrored sideways, and whether upside down."""
    truths: Int64[Tensor, "_"]
    """The samples that begin at true flow with an error."""
    errors: Surfaces

    @classmethod
    def of(cls, samples: Sequence[DrawnSample], height: int, width: int) -> "Contents":
        pairs = {sample.pair.name: sample.pair for sample in samples}
        numbers = {name: number for number, name in enumerate(pairs)}
        uses = [(number, sample.use) for number, sample in enumerate(samples) if sample.use is not None]
        errors = [
            (number, sample.start.size * sample.start.error[0])
            for number, sample in enumerate(samples)
            if sample.start.error is not None
        ]
        axes = [sample.use.axes if sample.use is not None else () for sample in samples]
        return cls(
            parts=tuple(
                (tables_of(part, height, width), Exposures.of(part, height, width))
                for part in _parts([*pairs.values()], height, width)
            ),
            sources=torch.tensor([numbers[sample.pair.name] for sample in samples]),
            recoloured=Changes.of([(2 * number + k, _in_order(use)) for number, use in uses for k in (0, 1)]),
            mirrored=torch.tensor([[-1 in each for each in axes], [-2 in each for each in axes]]),
            truths=torch.tensor([number for number, _ in errors], dtype=torch.int64),
            errors=Surfaces.of([error for _, error in errors], height, width),
        )


class DrawnBatch(NamedTuple):
    """B samples before they are painted, as the processes that draw hand them over."""

    settings: SyntheticSettings
    names: Sequence[str]
    starts: Sequence[str]
    """The kind of each sample's start, see Start."""
    packed: Packed
    """The Contents."""

    @classmethod
    def of(cls, samples: Sequence[DrawnSample], settings: SyntheticSettings) -> "DrawnBatch":
        names = [sample.pair.name + (sample.use.name if sample.use else "") for sample in samples]
        contents = Contents.of(samples, settings.height, settings.width)
        return cls(settings, names, [sample.start.kind for sample in samples], Packed.of(contents))

    def painted(self, device: torch.device) -> PaintedBatch:
        """The pairs that SyntheticPairs gives one by one, up to rounding; what a device computes, nobody waits for here."""
        contents: Contents = self.packed.on_device(device)
        textures = atlas(self.settings, device)
        painted = []
        for tables, exposures in contents.parts:
            pictures, flow, occlusion = render_tables(tables, textures)
            painted.append((expose_batch(pictures.flatten(0, 1), exposures), flow, occlusion))
        pictures, flow, occlusion = (torch.cat(each) for each in zip(*painted, strict=True))
        pictures = pictures.unflatten(0, (-1, 2))
        if len(contents.recoloured.which):
            pictures, flow, occlusion = _used(pictures, flow, occlusion, contents)
        start = torch.zeros_like(flow)
        if len(contents.truths):
            near = flow.index_select(0, contents.truths) + contents.errors.at_full_size()
            start = start.index_copy_(0, contents.truths, near)
        return PaintedBatch(pictures, flow, occlusion, start)


def _used(
    pictures: Float[Tensor, "D 2 3 H W"],
    flow: Float[Tensor, "D 2 H W"],
    occlusion: Bool[Tensor, "D H W"],
    contents: Contents,
) -> tuple[Float[Tensor, "B 2 3 H W"], Float[Tensor, "B 2 H W"], Bool[Tensor, "B H W"]]:
    """Each pair as often as it is used, each time as another view."""
    pictures, flow, occlusion = (each.index_select(0, contents.sources) for each in (pictures, flow, occlusion))
    flat, which = pictures.flatten(0, 1), contents.recoloured.which
    changed = in_levels(contents.recoloured.change(flat.index_select(0, which)))
    pictures = flat.index_copy(0, which, changed).view_as(pictures)
    signs = 1 - 2 * contents.mirrored.T.to(flow)[:, :, None, None]
    return (
        _turned(pictures, contents.mirrored),
        _turned(flow, contents.mirrored) * signs,
        _turned(occlusion, contents.mirrored),
    )


def _turned(values: Tensor, mirrored: Bool[Tensor, "2 B"]) -> Tensor:
    for axis, which in zip((-1, -2), mirrored, strict=True):
        values = torch.where(which.view(-1, *[1] * (values.dim() - 1)), values.flip(axis), values)
    return values


def _in_order(use: Use) -> ColourChange:
    """The change of a use with its change of the colours' places."""
    mix = torch.empty_like(use.change.mix)
    mix[:, use.order] = use.change.mix
    return use.change._replace(mix=mix)


def _parts(pairs: Sequence[DrawnPair], height: int, width: int) -> list[list[DrawnPair]]:
    """The pairs in parts, each of so few that its frames have at most MAX_PIXELS, unless it is a single pair."""
    parts, used = [], MAX_PIXELS
    for pair in pairs:
        pixels = 2 * height * width * (1 + INSTANTS * bool(pair.open_for))
        if used + pixels > MAX_PIXELS:
            parts.append([])
            used = 0
        parts[-1].append(pair)
        used += pixels
    return parts
