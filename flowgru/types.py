"""The shapes and units of every tensor that passes between files, said once.

B batch   H W picture size in pixels   h w = H/8, W/8   C channels
"""

from jaxtyping import Bool, Float
from torch import Tensor

Images = Float[Tensor, "B 3 H W"]
"""RGB in [0, 1]."""

Flow = Float[Tensor, "B 2 H W"]
"""Displacement (u to the right, v down) in pixels, from the first picture to the second."""

CoarseFlow = Float[Tensor, "B 2 h w"]
"""Displacement in coarse pixels, each 8 picture pixels wide."""

Features = Float[Tensor, "B _C h w"]
"""One vector per coarse pixel; how long it is may differ between the arguments of one function."""

Valid = Bool[Tensor, "B H W"]
"""True where the flow is known."""
