"""Minimal filtering: the matrices, and the kernels that they transform.

F(m, r) is m outputs of a filter of r taps from n = m + r - 1 multiplications instead of m r (Winograd 1980; for networks
Lavin and Gray 2015, arXiv 1509.09308, section 4). With d the n inputs and g the filter

    y = A [(G g) * (B d)]

so 4 outputs of 3 taps take 6 products, and the 4x4 outputs of a 3x3 kernel take 36 where the direct convolution takes 144.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

OUTPUTS = {3: 4, 5: 6}
"""m by r: outputs of a tile along an axis."""

POINTS = {3: (0, 5 / 8, -5 / 8, 3 / 2, -3 / 2), 5: (0, 3 / 8, -3 / 8, 7 / 8, -7 / 8, 5 / 4, -5 / 4, 2, -2)}
"""By r, where the polynomials of Toom and Cook are evaluated, besides infinity.

These round little: 3x3 kernels 1.5 times as much as a direct convolution (with the usual 0, +-1 and +-2 about 5 times),
kernels of 5 taps 4 times.
"""


class Filter(NamedTuple):
    """The matrices A, G and B of F(m, r); for one tap, all are 1."""

    to_outputs: Float[Tensor, "m n"]
    to_kernel: Float[Tensor, "n r"]
    """The matrices in float64, or in float32 where that is exact; the others in float32."""
    to_tile: Float[Tensor, "n n"]


@cache
def minimal_filter(taps: int) -> Filter:
    """F(OUTPUTS[taps], taps) by the construction of Toom and Cook from POINTS and infinity; F(1, 1) for one tap."""
    if taps == 1:
        return Filter(*torch.ones(3, 1, 1, device="cpu"))
    points = np.array(POINTS[taps])
    size = len(points) + 1
    to_outputs = np.vander(points, OUTPUTS[taps], increasing=True)
    to_kernel = np.vander(points, taps, increasing=True)
    to_tile = np.zeros((size, size))
    for index, point in enumerate(points):
        others = np.delete(points, index)
        to_tile[index, :-1] = np.poly(others)[::-1]  # the polynomial that is zero at all others
        to_kernel[index] /= np.prod(point - others)
    to_tile[-1] = np.poly(points)[::-1]
    at_infinity = np.eye(size)[-1]
    to_outputs, to_kernel = (np.vstack([each, at_infinity[-each.shape[1] :]]) for each in (to_outputs, to_kernel))
    return Filter(
        torch.from_numpy(to_outputs.T.astype(np.float32, order="C")),
        torch.from_numpy(to_kernel),
        torch.from_numpy(to_tile.astype(np.float32, order="C")),
    )


kept_kernels: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""For parameters: what `transformed` gave, and of which values."""


def transformed(weight: Float[Tensor, "K C r q"]) -> Float[Tensor, "i j C K"]:
    """G g G^T for every pair of channels.

    Of a parameter, it is kept until the parameter changes or is gone. PyTorch counts no changes through `.data`: the sum of
    the values shows them, unless they only trade places.
    """
    kept = isinstance(weight, nn.Parameter) and not weight.is_inference()
    values = (weight._version, weight.sum().item()) if kept else None
    if kept and (found := kept_kernels.get(weight)) and found[0] == values:
        return found[1]
    rows, columns = (minimal_filter(taps).to_kernel for taps in weight.shape[2:])
    kernels = torch.einsum("ia,kcab,jb->ijck", rows.double(), weight.double(), columns.double()).float().contiguous()
    if kept:
        kept_kernels[weight] = values, kernels
    return kernels


def transformed_bytes(weight: Float[Tensor, "K C r q"]) -> int:
    """What `transformed` keeps of a weight."""
    num_rows, num_columns = (len(minimal_filter(taps).to_kernel) for taps in weight.shape[2:])
    return 4 * len(weight) * weight.shape[1] * num_rows * num_columns
