"""Paints the tables of several pairs at once, on the device that they are on."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from flowgru.data.synthetic.batched.tables import FIELDS, TILE, Cuts, Glances, Tables
from flowgru.data.synthetic.motion import Projection, Waves, mapped
from flowgru.data.synthetic.rendering import INSTANTS, find_occlusion, pixel_grid
from flowgru.grid import sample

Points = Float[Tensor, "M 2 N"]
"""The points of M items: N of each, x in row 0 and y in row 1."""


def render_tables(
    tables: Tables, textures: Float[Tensor, "1 3 H2 W2"]
) -> tuple[Float[Tensor, "B 2 3 H W"], Float[Tensor, "B 2 H W"], Bool[Tensor, "B H W"]]:
    """Both pictures of all pairs, their flow, and what of the first is hidden in the second; see Rendering.

    textures: the atlas that the tables' places belong to.
    """
    tiles = _painted_tiles(tables, textures)
    frames = _put_together(tiles, *tables.size)
    num_pairs, (height, width) = len(tables.backgrounds), tables.size
    sharp = frames[: 2 * num_pairs].unflatten(0, (num_pairs, 2))
    pictures, tops = sharp[:, :, :3], sharp[:, :, 3]
    if len(tables.blurred):
        seen = frames[2 * num_pairs :, :3].unflatten(0, (len(tables.blurred), INSTANTS, 2))
        pictures = pictures.index_copy(0, tables.blurred, seen.mean(dim=1))
    flow = _flow(tables, tops[:, 0])
    grid = pixel_grid(height, width, flow.device)
    first, second = tops.to(torch.uint8).unbind(1)
    return pictures, flow, find_occlusion(grid + flow, first, second)


def _painted_tiles(tables: Tables, textures: Float[Tensor, "1 3 H2 W2"]) -> Float[Tensor, "tiles 4 N"]:
    """Every tile of every frame: its colours, and the number of the layer on top."""
    within = pixel_grid(TILE, TILE, tables.corners.device).flatten(1)
    points = _seen_points(tables, tables.corners[:, :, None] + within)
    colours = _colours(tables, textures, points)
    shaped = tables.ends[0]
    weights = _weights(tables.cuts, points[shaped:])
    painted = torch.empty_like(colours[:shaped]).index_copy_(0, tables.tiles[:shaped], colours[:shaped])
    for begin, end in pairwise(tables.ends):
        which = tables.tiles[begin:end]
        over = torch.lerp(painted.index_select(0, which), colours[begin:end], weights[begin - shaped : end - shaped])
        painted.index_copy_(0, which, over)
    return painted


def _seen_points(tables: Tables, places: Points) -> Points:
    """The points of the layers' planes, which are the first picture's, that are seen at these places of their frames."""
    for glances, look in ((tables.first_blurred, _forward), (tables.second_blurred, _inverse)):
        if len(glances.items):
            here = places.index_select(0, glances.items)
            way = look(tables, glances, here).sub_(here)
            moment = tables.moments.index_select(0, glances.items)[:, None, None]
            sign = -1 if look is _forward else 1  # the way of the one leads into the future, that of the other back
            places = places.index_copy(0, glances.items, here.addcmul_(way, sign * moment))
    looked = places.index_select(0, tables.second.items)
    return places.index_copy(0, tables.second.items, _inverse(tables, tables.second, looked))


def _forward(tables: Tables, glances: Glances, points: Points) -> Points:
    rows = tables.layers.index_select(0, glances.layers)
    if len(glances.bent):
        bending = points.index_select(0, glances.bent)
        bent = bending + _waves(rows.index_select(0, glances.bent)).displacement(bending)
        points = points.index_copy(0, glances.bent, bent)
    return Projection(_field(rows, "forward"), tables.affine[0])(points)


def _inverse(tables: Tables, glances: Glances, points: Points) -> Points:
    rows = tables.layers.index_select(0, glances.layers)
    flat = Projection(_field(rows, "inverse"), tables.affine[1])(points)
    if not len(glances.bent):
        return flat
    solution = _waves(rows.index_select(0, glances.bent)).solution(flat.index_select(0, glances.bent))
    return flat.index_copy_(0, glances.bent, solution)


def _waves(rows: Float[Tensor, "M F"]) -> Waves:
    return Waves(_field(rows, "vectors"), _field(rows, "phases"), _field(rows, "amplitudes"), math.inf)


def _field(rows: Float[Tensor, "M F"], name: str) -> Float[Tensor, "M R C"]:
    begin = 0
    for field, shape in FIELDS.items():
        size = math.prod(shape)
        if field == name:
            return rows[:, begin : begin + size].unflatten(1, shape)
        begin += size
    raise KeyError(name)


def _colours(tables: Tables, textures: Float[Tensor, "1 3 H2 W2"], points: Points) -> Float[Tensor, "M 4 N"]:
    """RGB, and the number of the layer, at points of the layers' planes."""
    rows = tables.layers.index_select(0, tables.item_layers)
    texels = mapped(_field(rows, "axes"), points, _field(rows, "origin"))
    texels = 1 - texels.remainder_(2).sub_(1).abs_()  # mirrored at the texture's borders, again and again
    corner, side = _field(rows, "place").split((2, 1), dim=1)
    texels = texels.mul_(side).sub_(0.5).clamp_(min=0).minimum(side - 1).add_(corner)
    found = sample(textures, texels.permute(0, 2, 1)[None])
    return mapped(_field(rows, "mix"), found[0].transpose(0, 1), _field(rows, "offset"))


def _weights(cuts: Sequence[Cuts], points: Points) -> Float[Tensor, "M 4 N"]:
    """How much of each pixel the layers cover, for each channel of their paint; the number is covered or is not."""
    distance = torch.full_like(points[:, 0], math.inf)
    for form, numbers, rows, items in cuts:
        x, y, cosine, sine, sign, *rest = numbers.index_select(0, rows).split(1, dim=1)
        across, down = points.index_select(0, torch.cat([*items])).unbind(1)
        across, down = across - x, down - y
        found = sign * form(cosine * across + sine * down, cosine * down - sine * across, *rest)
        for which, part in zip(items, found.split([len(each) for each in items]), strict=True):
            distance.index_copy_(0, which, torch.minimum(distance.index_select(0, which), part))
    alpha = distance.add_(0.5).clamp_(0, 1)[:, None]
    return torch.cat([alpha.expand(-1, 3, -1), (alpha > 0.5).to(alpha)], dim=1)


def _put_together(tiles: Float[Tensor, "tiles 4 N"], height: int, width: int) -> Float[Tensor, "frames 4 H W"]:
    rows, columns = -(-height // TILE), -(-width // TILE)
    frames = tiles.view(-1, rows, columns, 4, TILE, TILE).permute(0, 3, 1, 4, 2, 5)
    return frames.reshape(len(frames), 4, rows * TILE, columns * TILE)[..., :height, :width]


def _flow(tables: Tables, tops: Float[Tensor, "B H W"]) -> Float[Tensor, "B 2 H W"]:
    """How each pixel of the first pictures moves, with the layer that is on top there."""
    num_pairs, height, width = tops.shape
    layers = (tops + tables.backgrounds[:, None, None]).long().flatten()
    used = sum(math.prod(FIELDS[name]) for name in ("forward", "vectors", "phases", "amplitudes"))
    rows = tables.layers[:, :used].T.contiguous().index_select(1, layers).T
    grid = pixel_grid(height, width, tops.device)
    points = grid.flatten(1).repeat(1, num_pairs).T[:, :, None]
    bent = points + _waves(rows).displacement(points)
    flow = Projection(_field(rows, "forward"), tables.affine[0])(bent).sub_(points)
    return flow.reshape(num_pairs, height, width, 2).permute(0, 3, 1, 2).contiguous()
