"""The shapes and units of every tensor that passes between files, said once.

B batch   H W picture size in pixels   h w = H/8, W/8   C channels
"""

from typing import Any

from jaxtyping import Bool, Float, UInt8
from torch import Tensor

Images = Float[Tensor, "B 3 H W"]
"""RGB in [0, 1]."""

Levels = UInt8[Tensor, "B 3 H W"]
"""RGB in 8 bits: a quarter of the bytes on the way to a GPU."""

Flow = Float[Tensor, "B 2 H W"]
"""Displacement (u to the right, v down) in pixels, from the first picture to the second."""

CoarseFlow = Float[Tensor, "B 2 h w"]
"""Displacement in coarse pixels, each 8 picture pixels wide."""

Features = Float[Tensor, "B _C h w"]
"""One vector per coarse pixel; how long it is may differ between the arguments of one function."""

Valid = Bool[Tensor, "B H W"]
"""True where the flow is known."""

FlowLike = Any
"""A flow as a caller from Python may have it: an array or tensor [2, H, W] or [H, W, 2], or a batch, see flowgru.kinds."""

PictureLike = Any
"""A picture as a caller may have it: a path, a PIL picture, an array or a tensor, see flowgru.data.formats.picture_kinds."""

MaskLike = Any
"""An array or tensor of bool [H, W]."""
