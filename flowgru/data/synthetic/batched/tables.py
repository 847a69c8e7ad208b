"""What is to be painted of several drawn pairs, as a few tables of numbers, so that many layers are painted at once.

A frame is one picture at one moment. It is painted in tiles of TILE x TILE px. An item is a layer in one of the tiles that
it touches: as much is painted as in pair after pair, apart from what lies in a tile and outside of the layer's box, where it
covers nothing.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from flowgru.data.synthetic.layers.outlines import SPARE, Outline, Part
from flowgru.data.synthetic.motion import NUM_WAVES, Projection
from flowgru.data.synthetic.pairs import DrawnPair
from flowgru.data.synthetic.rendering import INSTANTS, Layer, moments, moved_box, whole_pixels
from flowgru.data.synthetic.textures import Place

TILE = 32
"""Side of a tile in pixels."""

FIELDS = {
    "forward": (3, 3),
    "vectors": (NUM_WAVES, 2),
    "phases": (NUM_WAVES, 1),
    "amplitudes": (2, NUM_WAVES),
    "inverse": (3, 3),
    "axes": (2, 2),
    "origin": (2, 1),
    "place": (3, 1),
    "mix": (4, 3),
    "offset": (4, 1),
}
"""What the table of layers says of each: matrices, row by row. The fourth channel of its paint is the layer's number."""


class Glances(NamedTuple):
    """Items whose points a motion moves, all in the same way."""

    items: Int64[Tensor, "M"]
    layers: Int64[Tensor, "M"]
    """Their rows in the table of layers."""
    bent: Int64[Tensor, "_"]
    """Which of the M have waves."""


class Cuts(NamedTuple):
    """All parts of outlines that have one form."""

    form: Callable[..., Tensor]
    numbers: Float[Tensor, "parts _"]
    """Of each part: its centre, cosine and sine of its turn, a sign, and the numbers of its form."""
    rows: Int64[Tensor, "_"]
    """The row of `numbers` for each item that is cut so, those of items[0] first."""
    items: tuple[Int64[Tensor, "_"], ...]
    """The items, counted from the first that has a shape. An item with two parts of this form is in two of the groups."""


class Tables(NamedTuple):
    """Everything of B pairs that is painted."""

    size: tuple[int, int]
    layers: Float[Tensor, "N _"]
    """See FIELDS."""
    affine: tuple[bool, bool]
    """Whether all projections forward are affine, and whether all inverse ones are."""
    backgrounds: Int64[Tensor, "B"]
    """The row of each pair's background; its other layers follow."""
    ends: tuple[int, ...]
    """Items are sorted by the number of their layer: where those of layer 0, 1, ... end."""
    item_layers: Int64[Tensor, "T"]
    tiles: Int64[Tensor, "T"]
    """The tile of each item, counted through all frames."""
    corners: Float[Tensor, "T 2"]
    """x and y of the first pixel of each item's tile."""
    moments: Float[Tensor, "T"]
    first_blurred: Glances
    second_blurred: Glances
    second: Glances
    """All that look at a second picture, blurred or not."""
    cuts: tuple[Cuts, ...]
    blurred: Int64[Tensor, "_"]
    """The pairs that are seen at INSTANTS moments too. Frames are first those of both pictures of all pairs, then these."""


def tables_of(pairs: Sequence[DrawnPair], height: int, width: int) -> Tables:
    """The tables of pairs whose paints have places in an atlas."""
    layers = [(layer, number) for pair in pairs for number, layer in enumerate(pair.layers)]
    firsts = torch.tensor([0, *(len(pair.layers) for pair in pairs)]).cumsum(0)[:-1]
    table, affine = _layer_table(layers)
    spans = _spans(pairs, firsts.tolist(), height, width)
    spans = spans[spans[:, Span.number].argsort(stable=True)]
    item, tile_x, tile_y = _tiles_of(spans)
    rows, columns = -(-height // TILE), -(-width // TILE)
    numbers, items = spans[:, Span.number][item], spans[item]
    item_layers, seconds = items[:, Span.layer], items[:, Span.second] == 1
    at = items[:, Span.instant]
    blurred_at = at >= 0
    opened = torch.tensor([moments(pair.open_for) for pair in pairs])
    bends = torch.tensor([layer.motion.waves is not None for layer, _ in layers])

    def glances(which: Tensor) -> Glances:
        found = which.nonzero().flatten()
        return Glances(found, item_layers[found], bends[item_layers[found]].nonzero().flatten())

    return Tables(
        size=(height, width),
        layers=table,
        affine=affine,
        backgrounds=firsts,
        ends=tuple(torch.bincount(numbers).cumsum(0).tolist()),
        item_layers=item_layers,
        tiles=(items[:, Span.frame] * rows + tile_y) * columns + tile_x,
        corners=TILE * torch.stack((tile_x, tile_y), dim=1).float(),
        moments=torch.where(blurred_at, opened[items[:, Span.pair], at.clamp(min=0)], 0.0),
        first_blurred=glances(blurred_at & ~seconds),
        second_blurred=glances(blurred_at & seconds),
        second=glances(seconds),
        cuts=_cuts([layer for layer, _ in layers], item_layers[numbers > 0]),
        blurred=torch.tensor([number for number, pair in enumerate(pairs) if pair.open_for], dtype=torch.int64),
    )


class Span:
    """The columns of a table of what each layer touches of each frame, in whole pixels."""

    pair, frame, second, instant, layer, number, left, top, right, bottom = range(10)


def _spans(pairs: Sequence[DrawnPair], firsts: list[int], height: int, width: int) -> Int64[Tensor, "_ 10"]:
    """`instant` is -1 for a picture at its own moment."""
    found, frame_of_blurred = [], 2 * len(pairs)
    for pair_number, (pair, first) in enumerate(zip(pairs, firsts, strict=True)):
        boxes = [_boxes(layer) for layer in pair.layers]
        seen = [(2 * pair_number + second, second, -1, 0.0) for second in (0, 1)]
        if pair.open_for:
            for instant, moment in enumerate(moments(pair.open_for)):
                seen += [(frame_of_blurred + 2 * instant + second, second, instant, moment) for second in (0, 1)]
            frame_of_blurred += 2 * INSTANTS
        for frame, second, instant, moment in seen:
            for number, both in enumerate(boxes):
                box = both and moved_box(both[second], *both, moment)
                whole = whole_pixels(box, height, width)
                if whole is not None:
                    down, across = whole
                    edges = (across.start, down.start, across.stop - 1, down.stop - 1)
                    found.append((pair_number, frame, second, instant, first + number, number, *edges))
    return torch.tensor(found)


def _boxes(layer: Layer) -> tuple[Any, Any] | None:
    """The box of the layer in each picture; None where it covers everything."""
    if layer.shape is None:
        return None
    return layer.shape.box, layer.motion.box_after(*layer.shape.box)


def _tiles_of(spans: Int64[Tensor, "S 10"]) -> tuple[Tensor, Tensor, Tensor]:
    """For each tile that a span touches, one span after the other: the span, the tile's column and its row."""
    left, top, right, bottom = (spans[:, [Span.left, Span.top, Span.right, Span.bottom]] // TILE).T
    across, down = right - left + 1, bottom - top + 1
    counts = across * down
    span = torch.arange(len(spans)).repeat_interleave(counts)
    within = torch.arange(len(span)) - (counts.cumsum(0) - counts)[span]
    return span, left[span] + within % across[span], top[span] + within // across[span]


def _layer_table(layers: Sequence[tuple[Layer, int]]) -> tuple[Tensor, tuple[bool, bool]]:
    """The table of layers and their numbers within their pairs, and whether their projections are affine."""
    matrices = torch.stack([layer.motion.projection for layer, _ in layers])
    forward, inverse = Projection.of(matrices), Projection.of(torch.linalg.inv(matrices))
    paints = [layer.paint for layer, _ in layers]
    waves = [layer.motion.waves for layer, _ in layers]
    fields: dict[str, Tensor] = {"forward": forward.matrix, "inverse": inverse.matrix}
    for name in ("vectors", "phases", "amplitudes"):
        nothing = torch.zeros(FIELDS[name])
        fields[name] = torch.stack([nothing if each is None else getattr(each, name) for each in waves])
    # grid_sample counts a texture from -1 to 1; here it is from 0 to 1.
    fields["axes"] = torch.stack([paint.axes for paint in paints]) / 2
    fields["origin"] = (torch.stack([paint.origin for paint in paints]) + 1) / 2
    fields["place"] = torch.tensor([p.texture if isinstance(p.texture, Place) else Place(0, 0, 1) for p in paints])
    fields["mix"] = torch.cat([torch.stack([paint.mix for paint in paints]), torch.zeros(len(paints), 1, 3)], dim=1)
    numbers = torch.tensor([number for _, number in layers]).float()[:, None, None]
    fields["offset"] = torch.cat([torch.stack([paint.offset for paint in paints]), numbers], dim=1)
    table = torch.cat([fields[name].reshape(len(layers), -1).float() for name in FIELDS], dim=1)
    return table, (forward.affine, inverse.affine)


def _cuts(layers: Sequence[Layer], of_items: Int64[Tensor, "M"]) -> tuple[Cuts, ...]:
    """The parts by their forms, and which of the M items with a shape, of these layers, each cuts."""
    parts: dict[Callable[..., Tensor], list[tuple[int, int, list[float]]]] = {}
    for row, layer in enumerate(layers):
        if layer.shape is not None:
            assert isinstance(layer.shape.outline, Outline), "drawn shapes have drawn outlines"
            for place, part in enumerate(layer.shape.outline.parts):
                numbers = [*_placing(layer.shape.centre, part), *part.numbers]
                parts.setdefault(part.form, []).append((place, row, numbers))
    found = []
    for form, of_form in parts.items():
        of_form.sort(key=lambda cut: cut[0])  # the first parts of outlines, then second ones
        longest, spare = max(len(numbers) for *_, numbers in of_form), SPARE.get(form, (0.0,))
        table = torch.tensor([[*numbers, *spare * ((longest - len(numbers)) // len(spare))] for *_, numbers in of_form])
        cut, items = (torch.tensor([row for _, row, _ in of_form])[:, None] == of_items).nonzero(as_tuple=True)
        at = torch.tensor([place for place, *_ in of_form])[cut]
        found.append(Cuts(form, table, cut, tuple(items[at == place] for place in at.unique().tolist())))
    return tuple(found)


def _placing(centre: tuple[float, float], part: Part) -> list[float]:
    """Where a part lies: its centre, cosine and sine of its turn, and -1 where all that is outside of it is meant."""
    shift, turn = part.shift or (0.0, 0.0), part.turn or 0.0
    return [centre[0] + shift[0], centre[1] + shift[1], math.cos(turn), math.sin(turn), -1.0 if part.outside else 1.0]
