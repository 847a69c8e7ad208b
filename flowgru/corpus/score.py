"""The numbers that a clip's flow comes down to, added up pair by pair in constant memory."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from flowgru.data.formats.images import to_tensor
from flowgru.data.video.elapsed import Elapsed
from flowgru.data.video.reader import Frame
from flowgru.estimation.stream import MIN_CUT_DIFFERENCE, PairFlow
from flowgru.grid import backward_warp

STILL_BELOW = 0.5
"""Pixels: a pixel that moves by less is still."""

MAX_SAMPLES = 2**16
"""Pixels of a flow, on a regular grid, that the numbers are taken from at most."""

MAX_FITTED = 2**12
"""Of these, pixels that the camera's motion is fitted to."""

SHORTEST, BINS = 0.01, 100
"""Lengths are counted in bins of equal width in arsinh(length / SHORTEST): above 0.01 px a bin is 1 % wide."""

THUMBNAIL = 64
"""Pixels on the longer side of the pictures that a cut is looked for in."""

MIN_CUT_RESIDUAL = 0.08
"""Mean difference between a thumbnail and the next one, brought back by the flow, above which no motion explains it."""


class ClipScore:
    """Adds up the pairs of one clip."""

    def __init__(self) -> None:
        self.num_frames = self.num_damaged = self.cuts = 0
        self.size: tuple[int, int] | None = None
        self._clock = Elapsed()
        self.counts = np.zeros(0, np.int64)
        self.sums = {name: 0.0 for name in ("length", "still", "camera", "object", "flicker")}
        self.num_pixels = self.num_pairs = self.num_flickers = 0
        self._last: Frame | None = None
        self._before: tuple[Any, Float[Tensor, "2 h w"]] | None = None

    def add(self, pair: PairFlow) -> None:
        """Adds one pair, whose frames are its first and second. A pair over a cut counts as a cut and as nothing else."""
        self._add_frames(pair)
        step = max(1, math.ceil(math.sqrt(pair.forward[0].numel() / MAX_SAMPLES)))
        flow = pair.forward[:, ::step, ::step].float().cpu()
        before, self._before = self._before, None
        if is_cut(pair.first, pair.second, pair.forward):
            self.cuts += 1
            return
        self._before = (pair.second, flow)
        lengths = torch.linalg.vector_norm(flow, dim=0).numpy()
        known = np.isfinite(lengths)
        if not known.any():
            return
        self._add_lengths(lengths[known])
        camera, own = camera_and_object(flow.numpy(), known)
        self.sums["camera"] += camera
        self.sums["object"] += own
        self.num_pairs += 1
        if before is not None and before[0] is pair.first and before[1].shape == flow.shape:
            self._add_flicker(before[1], flow, step)

    def row(self, clip: str) -> dict[str, Any]:
        """The clip's row of scores.csv; a number that no pair gives is empty."""
        pixels, pairs = self.num_pixels, self.num_pairs
        height, width = self.size or ("", "")
        return {
            "id": clip,
            "width": width,
            "height": height,
            "frames": self.num_frames,
            "seconds": "" if self._clock.seconds is None else _rounded(self._clock.seconds),
            "length_mean": _mean(self.sums["length"], pixels),
            **{f"length_p{share}": self._percentile(share) for share in (50, 90, 99)},
            "still": _mean(self.sums["still"], pixels),
            "camera": _mean(self.sums["camera"], pairs),
            "object": _mean(self.sums["object"], pairs),
            "cuts": self.cuts,
            "flicker": _mean(self.sums["flicker"], self.num_flickers),
            "damage": _mean(self.num_damaged, self.num_frames),
        }

    def _add_frames(self, pair: PairFlow) -> None:
        for frame in [pair.second] if pair.first is self._last else [pair.first, pair.second]:
            self.num_frames += 1
            self.num_damaged += frame.damaged
            if frame.time is not None:
                self._clock.at(frame.time)
        self._last = pair.second
        if self.size is None:
            self.size = pair.first.image.shape[:2]

    def _add_lengths(self, lengths: Float[ndarray, "N"]) -> None:
        bins = np.bincount((np.arcsinh(lengths / SHORTEST) * BINS).astype(np.int64))
        if len(bins) > len(self.counts):
            self.counts = np.pad(self.counts, (0, len(bins) - len(self.counts)))
        self.counts[: len(bins)] += bins
        self.sums["length"] += float(lengths.sum(dtype=np.float64))
        self.sums["still"] += int((lengths < STILL_BELOW).sum())
        self.num_pixels += lengths.size

    def _add_flicker(self, before: Float[Tensor, "2 h w"], flow: Float[Tensor, "2 h w"], step: int) -> None:
        """How far the flow is from the previous one, at the places to which that leads."""
        now, inside = backward_warp(flow[None], before[None] / step)
        change = torch.linalg.vector_norm(now[0] - before, dim=0)[inside[0]]
        change = change[change.isfinite()]
        if len(change):
            self.sums["flicker"] += change.double().mean().item()
            self.num_flickers += 1

    def _percentile(self, share: int) -> float | str:
        """The length in pixels below which so many percent of the pixels move: the middle of its bin."""
        if not self.num_pixels:
            return ""
        place = int(np.searchsorted(np.cumsum(self.counts), share / 100 * self.num_pixels))
        return _rounded(SHORTEST * math.sinh((place + 0.5) / BINS)) if place else 0.0


def camera_and_object(flow: Float[ndarray, "2 h w"], known: ndarray) -> tuple[float, float]:
    """Mean length in pixels of an affine motion fitted to the flow, and of what the flow differs from it.

    Robust least squares: five rounds with weights 1 / (1 + (r / s)^2), where r is how far a pixel is from the last fit and
    s the median of r, at least 0.25 px.
    """
    height, width = known.shape
    y, x = np.nonzero(known)
    every = max(1, len(x) // MAX_FITTED)
    places = np.stack([np.ones(len(x)), 2 * x / max(1, width - 1) - 1, 2 * y / max(1, height - 1) - 1], axis=1)
    values = flow[:, y, x].T.astype(np.float64)
    some, wanted = places[::every], values[::every]
    weights = np.ones(len(some))
    motion = np.zeros((3, 2))
    for _ in range(5):
        roots = np.sqrt(weights)[:, None]
        motion = np.linalg.lstsq(some * roots, wanted * roots, rcond=None)[0]
        distance = np.linalg.norm(some @ motion - wanted, axis=1)
        weights = 1 / (1 + (distance / max(0.25, float(np.median(distance)))) ** 2)
    fitted = places @ motion
    return float(np.linalg.norm(fitted, axis=1).mean()), float(np.linalg.norm(values - fitted, axis=1).mean())


def is_cut(first: Frame, second: Frame, flow: Float[Tensor, "2 H W"]) -> bool:
    """Whether two frames show different scenes: their thumbnails differ, and still do once the flow is undone."""
    before, after = _thumbnail(first), _thumbnail(second)
    if (F.adaptive_avg_pool2d(before - after, 16)).abs().mean().item() <= MIN_CUT_DIFFERENCE:
        return False
    height, width = after.shape[2:]
    small = F.adaptive_avg_pool2d(torch.nan_to_num(flow.float().cpu())[None], (height, width))
    back, inside = backward_warp(after, small * (width / flow.shape[2]))
    seen = inside[0]
    if seen.float().mean().item() < 0.25:
        return True
    return (back - before)[0][:, seen].abs().mean().item() > MIN_CUT_RESIDUAL


def _thumbnail(frame: Frame) -> Float[Tensor, "1 3 h w"]:
    height, width = frame.image.shape[:2]
    step = max(1, max(height, width) // (4 * THUMBNAIL))  # a quarter of the pixels of a thumbnail's pixel will do
    picture = to_tensor(np.ascontiguousarray(frame.image[::step, ::step]))[None]
    scale = min(1.0, THUMBNAIL / max(height, width))
    return F.adaptive_avg_pool2d(picture, (max(1, round(height * scale)), max(1, round(width * scale))))


def _mean(total: float | int, count: int) -> float | str:
    return _rounded(total / count) if count else ""


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
