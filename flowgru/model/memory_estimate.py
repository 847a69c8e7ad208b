"""How much memory the flow of a pair will take, said before any work."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from flowgru.config import NetworkSizes
from flowgru.config.choices import CorrelationMethod
from flowgru.grid import padding_for
from flowgru.model.correlation.all_pairs import pyramid_bytes
from flowgru.model.correlation.choice import MatchPlan, preferred_method
from flowgru.model.correlation.on_demand import WORKING_BYTES
from flowgru.model.memory import used_memory


class MemoryEstimate(NamedTuple):
    """The most memory that will be in use at one time, and by what."""

    device: torch.device
    method: CorrelationMethod
    """How the correlation will be computed, as far as can be said before the frames are encoded."""
    num_bytes: int
    """Bytes at the peak: of the whole process on a CPU, of all tensors on a CUDA device."""


def estimate_memory(
    sizes: NetworkSizes,
    height: int,
    width: int,
    *,
    num_weights: int,
    device: torch.device,
    plan: MatchPlan,
    num_tiles: int = 1,
    tile_shape: tuple[int, int] | None = None,
    after: int = 0,
    graph: bool = False,
    scales: int = 1,
    filtering: Callable[[int], int] = lambda num_pixels: 0,
) -> MemoryEstimate:
    """The peak of an inference in 32 bits on a pair of pictures of height x width pixels.

    num_weights: numbers in the network's parameters, which are on `device`.
    graph: whether matches are recorded, see flowgru.model.recorded; on a CUDA device alone it makes a difference.
    num_tiles: how many tiles of tile_shape (height, width) pixels are computed one after the other; all stay encoded.
    scales: at how many sizes each pair is refined one after the other, see flowgru.config.way; what is kept at smaller ones
    counts in, and what their refinements take where that is more, because only their correlation is of all pairs.
    filtering: what minimal filtering keeps on maps of so many pixels, see flowgru.layers.convolution.
    after: bytes on the CPU that are taken while the pair is encoded and its refinement is over.

    What the process has taken already counts in. Then either the encoders are the peak, with some maps of half the
    picture's resolution at once, or the refinement is, with the correlation, the motion features and the upsampling's mask.
    How many of them live at once was measured (see results/memory.md); half precision takes less.
    """
    tile = tile_shape or (height, width)
    whole = _at_one_size(sizes, *tile, device, plan)
    cells = whole.cells

    weights = 4 * num_weights
    kept = 2 * num_tiles * cells * (sizes.feature_size + sizes.hidden_size + sizes.context_size)
    pictures = (2 * 12 + 12) * height * width  # both in 32 bits; in 8, and the flow
    smaller = sum(0.25**scale for scale in range(1, scales))  # of what is kept of both pictures
    kept += int(smaller * (kept + 2 * 12 * height * width))
    halves = 4.25 if sizes.feature_norm == "instance" and not sizes.bottleneck else 6.25
    encoding = int(halves * 16 * cells * sizes.stem)
    if whole.method == "all_pairs":
        after += pyramid_bytes(1, whole.rows, whole.columns, sizes.correlation_levels)  # it is kept for the next pair
    # Reordered weights, compiled kernels and their scratch grow with the network, not with the picture.
    kernels = 6 * weights + (filtering(whole.rows * whole.columns) if device.type == "cpu" else 0)
    refined = [whole]
    for scale in range(1, scales):
        half_height, half_width = math.ceil(height / 2**scale), math.ceil(width / 2**scale)
        refined.append(_at_one_size(sizes, min(tile[0], half_height), min(tile[1], half_width), device, plan))
    if graph and device.type == "cuda":  # it works in memory of its own, on copies of what is encoded
        copied = 2 * sizes.feature_size + sizes.hidden_size + sizes.context_size
        kept += sum(each.refining + each.cells * copied for each in refined)
    peak = max(encoding, *(each.refining for each in refined), after if device.type == "cpu" else 0)
    return MemoryEstimate(device, whole.method, used_memory(device) + pictures + kept + kernels + peak)


class _Refined(NamedTuple):
    """What the refinement of a picture, or of a tile, takes."""

    method: CorrelationMethod
    rows: int
    columns: int
    """Of the maps at an eighth of the resolution."""
    cells: int
    """Bytes of one channel there."""
    refining: int
    """Bytes at its peak."""


def _at_one_size(sizes: NetworkSizes, height: int, width: int, device: torch.device, plan: MatchPlan) -> _Refined:
    """The refinement of height x width pixels by the plan."""
    rows, columns = padding_for(height, width).coarse_size(height, width)
    cells = 4 * rows * columns
    method = plan.correlation
    if method == "auto":
        with torch.no_grad():
            method = preferred_method(1, rows, columns, sizes.correlation_levels, device, plan.memory_budget)
    looked_up = sizes.correlation_levels * (2 * sizes.correlation_radius + 1) ** 2
    state, mask = 12 * sizes.hidden_size, 9 * 64 if sizes.mask_head else 0
    refining = cells * max(2 * looked_up + state, state // 2 + 3 * mask)
    if method == "all_pairs":
        refining += pyramid_bytes(1, rows, columns, sizes.correlation_levels) + cells * sizes.feature_size
    else:
        refining += int(cells * sizes.feature_size * 2.5) + WORKING_BYTES
    return _Refined(method, rows, columns, cells, refining)
