"""Values that travel across the picture: which ways they take, and how much each pixel lets through."""

import math
from typing import Literal

import torch
from torch import Tensor

from flowgru.scan import scan_directions

RIGHT, LEFT, DOWN, UP = (3, False), (3, True), (2, False), (2, True)
"""(axis, from the last index to the first)."""

STRAIGHT = {4: ((RIGHT,), (LEFT,), (DOWN,), (UP,)), 2: ((RIGHT,), (DOWN,))}
"""The route of each group of channels, along its row or its column, by the number of directions."""

AROUND_THE_CORNER = {4: ((RIGHT, DOWN), (RIGHT, UP), (LEFT, DOWN), (LEFT, UP)), 2: ((RIGHT, DOWN), (LEFT, UP))}
"""Along the row, then along the column: a group reaches a whole quadrant."""

Gate = Literal["sigmoid", "exp"]
"""How a number becomes what a pixel lets through: see decay_of."""

MAX_SHUT_LOGIT = 4.0
"""Beyond it exp(-exp(4)) = 2e-24 is as good as 0, and exp(-a) could overflow and make the gradient 0 times infinity."""


def scan_over_space(decay: Tensor, value: Tensor, routes: tuple[tuple[tuple[int, bool], ...], ...]) -> Tensor:
    """Each group of channels scanned across the picture on its route; a pixel lets the share `decay` of it through.

    decay in [0, 1] and value are [B, C, h, w], C a multiple of the number of routes. Along each way of a route
    s_p = decay_p s_{p-1} + (1 - decay_p) value_p, and s = value in the pixels where a scan starts. The result has
    value's type; decay may be wider.
    """
    for ways in zip(*routes, strict=True):
        wide = value.to(torch.promote_types(value.dtype, decay.dtype))
        entering = torch.addcmul(wide, decay, wide, value=-1).to(value.dtype)
        size = value.shape[1] // len(ways)
        for group, (axis, reverse) in enumerate(ways):
            start = -1 if reverse else 0
            edge = value.narrow(1, group * size, size).select(axis, start)
            entering.narrow(1, group * size, size).select(axis, start).copy_(edge)
        value = scan_directions(decay, entering, ways)
    return value


def decay_of(logits: Tensor, gate: Gate, cap: float) -> Tensor:
    """What a pixel lets through, in [0, cap]: cap sigma(a), or cap exp(-exp(-a)) (the decay of RWKV-6, arXiv 2404.05892).

    exp(-exp(-a)) opens like the sigmoid, 1 - A = exp(-a) from above, but shuts double-exponentially. In float32 for logits
    in sixteen bits: bfloat16 has no number between 0.996 and 1, so it carries over 255 pixels at most, or over all.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    decay = torch.sigmoid(logits) if gate == "sigmoid" else torch.exp(-torch.exp(-logits.clamp(min=-MAX_SHUT_LOGIT)))
    return decay if cap == 1 else cap * decay


def starting_logits(reach: float, num_channels: int, gate: Gate, cap: float) -> Tensor:
    """The logits with which the channels carry over 1 to `reach` pixels, equally spaced in the logarithm.

    A pixel that lets A through carries over A + A^2 + ... = A / (1 - A) pixels in the mean, so A = r / (1 + r).
    """
    log_reach = torch.linspace(0, math.log(reach), num_channels)
    reaches = log_reach.exp()
    if gate == "sigmoid":
        return log_reach - torch.log(cap - (1 - cap) * reaches)
    return -torch.log(-torch.log(reaches / (1 + reaches) / cap))
