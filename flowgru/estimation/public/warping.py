"""What two pictures and the flow between them say of each other: `warp` and `occlusion`."""

import os
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowgru.data.formats.images import read_image
from flowgru.data.formats.picture_kinds import EXPECTED, is_pil, pil_picture, rgb_array
from flowgru.errors import RequestError
from flowgru.estimation.geometry import occlusion_mask
from flowgru.grid import backward_warp_of_any, forward_warp
from flowgru.kinds import (
    FIRST,
    LAST,
    UNKNOWN_ABOVE,
    Form,
    described,
    flow_tensor,
    given_back,
    given_path,
    numbers_of,
    usual_channels,
)
from flowgru.types import Flow, FlowLike, MaskLike, PictureLike, Valid


class Warped(NamedTuple):
    """A picture moved by a flow."""

    picture: Any
    """Of the kind and shape of the picture that was given; a PIL picture is one of RGB."""
    valid: Any
    """bool [H, W] or [B, H, W], an array or a tensor: where the result is known; elsewhere it is 0."""


def warp(picture: PictureLike, flow: FlowLike, *, forward: bool = False, occluded: MaskLike | None = None) -> Warped:
    """A picture moved by the flow, and where the result is known.

    Backward, the second picture is brought back onto the first: out[y, x] = picture[y + v, x + u], bilinear, with (u, v) the
    flow in pixels. It is known where the flow stays inside the picture.
    With `forward`, the first picture is carried along to where the second shows it: each pixel is shared among the four
    around the place that its flow leads to, and where several arrive they are averaged by their shares, whatever lies in
    front (average splatting, see flowgru.grid.forward_warp). It has holes where a quarter of a pixel or less arrives.

    picture: a path, a PIL picture, or an array or tensor [H, W], or with any number of channels, first or last; or a batch
    [B, C, H, W] or [B, H, W, C] with as many flows. flow: an array or tensor [2, H, W] or [H, W, 2], or a batch; a value
    that is not finite, or beyond 1e9, marks a pixel whose flow is unknown.
    occluded: bool [H, W] or [B, H, W], as `occlusion` gives it: pixels of the first picture that are hidden in the second.
    They, and pixels of unknown flow, are not looked up; forward, they do not take part.
    The picture comes back as it was given: whole numbers are rounded, a path gives an array of RGB, a PIL picture one of
    RGB, a tensor keeps its gradient.
    RequestError where they do not fit together, or are none of these.
    """
    vectors, flow_form = flow_tensor(flow)
    size = tuple(vectors.shape[2:])
    name = "picture"
    pil = is_pil(picture)
    if isinstance(picture, str | os.PathLike):
        picture = read_image(given_path(picture, name))
    elif pil:
        picture = rgb_array(picture, name)
    values, is_array = numbers_of(picture, name, EXPECTED)
    grey = values.dim() == 2 + flow_form.batched and tuple(values.shape[-2:]) == size
    values = values.unsqueeze(-3) if grey else values
    if values.dim() != 3 + flow_form.batched:
        batches = "as many pictures as flows" if flow_form.batched else "one picture for one flow"
        raise RequestError(f"{name} is {described(picture)} and flow {described(flow)}: expected {batches}")
    fits = [
        where
        for where, sides in ((FIRST, values.shape[-2:]), (LAST, values.shape[-3:-1]))
        if tuple(sides) == size and not (grey and where == LAST)
    ]
    of_batch = values if flow_form.batched else values[None]
    if not fits or len(of_batch) != len(vectors) or not values.numel():
        raise RequestError(f"{name} is {described(picture)} and flow {described(flow)}: expected one size for both")
    channels = fits[0] if len(fits) == 1 else usual_channels(picture, name, is_array=is_array)
    of_batch = of_batch if channels == FIRST else of_batch.permute(0, 3, 1, 2)
    exact = torch.float64 if values.dtype in (torch.float64, torch.int64, torch.uint64, torch.uint32) else torch.float32
    taken = _taken(vectors, occluded, flow_form).to(values.device)
    vectors = vectors.to(values.device, exact).where(taken[:, None], 0)
    of_batch = of_batch.to(exact)
    if forward:
        warped, valid = forward_warp(of_batch, vectors, taken)
    else:
        warped, inside = backward_warp_of_any(of_batch, vectors)
        warped, valid = torch.where(taken[:, None], warped, 0), inside & taken
    form = Form(is_array, channels, flow_form.batched)
    back = given_back(_in_type(warped, values.dtype), form)
    if grey:
        back = back[..., 0, :, :]
    return Warped(pil_picture(back) if pil else back, given_back(valid, form))


def _taken(vectors: Flow, occluded: MaskLike | None, form: Form) -> Valid:
    """Which pixels have a flow that can be followed."""
    taken = (vectors.abs() <= UNKNOWN_ABOVE).all(dim=1)
    if occluded is None:
        return taken
    mask, _ = numbers_of(occluded, "occluded", "an array or tensor of bool [H, W]")
    expected = taken if form.batched else taken[0]
    if mask.dtype != torch.bool or mask.shape != expected.shape:
        raise RequestError(
            f"occluded is {described(occluded)}: expected bool {list(expected.shape)}, as occlusion gives"
        )
    return taken & ~mask.to(taken.device)


def occlusion(forward: FlowLike, backward: FlowLike) -> Any:
    """True where a pixel of the first picture is not seen in the second: the two flows do not lead back to it.

    forward, backward: flows from the first picture to the second and back, arrays or tensors [2, H, W] or [H, W, 2], or
    batches of them, in pixels. Gives bool [H, W] or [B, H, W], an array or a tensor as `forward` is. The rule is that of
    Sundaram, Brox and Keutzer 2010, section 3: with b the backward flow at the place the forward flow f leads to,
    |f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5, or that place lies outside the picture, or a flow is not finite.
    """
    there, form = flow_tensor(forward, "forward")
    back, _ = flow_tensor(backward, "backward")
    if there.shape != back.shape:
        raise RequestError(
            f"forward is {described(forward)} and backward {described(backward)}: expected flows of one size, as many"
        )
    masks = [occlusion_mask(one, other) for one, other in zip(there, back.to(there.device), strict=True)]
    return given_back(torch.stack(masks), form)


def _in_type(values: Tensor, dtype: torch.dtype) -> Tensor:
    """The values in a picture's own type of numbers."""
    if dtype.is_floating_point:
        return values.to(dtype)
    if dtype == torch.bool:
        return values >= 0.5
    limits = torch.iinfo(dtype)
    return values.round().clamp(limits.min, limits.max).to(dtype)
