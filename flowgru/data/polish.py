"""What improves an estimated flow without learning: a choice between two flows, and OpenCV's variational refinement."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from flowgru.errors import RequestError

Grey = UInt8[np.ndarray, "H W"]
PictureFlow = Float32[np.ndarray, "H W 2"]

MAX_DISTANCE = 2.0
"""Distance of two flows in pixels below which the gate chooses. From there on it would choose wrongly: blurred and occluded
pixels that move far look wrong under the right flow, too."""

LONGEST = 32766
"""Longest side in pixels of a picture that OpenCV can warp."""

_CENSUS, _MEAN = 3, 7
"""How many pixels the window of the census (7x7) and that of the mean (15x15) reach to each side."""

_OFFSETS = [
    (y, x) for y in range(_CENSUS + 1) for x in range(-_CENSUS, _CENSUS + 1) if (y, x) > (0, 0) and (x + y) % 2 == 0
]
"""Half of the census's neighbours: the other half compares the same two pixels the other way round.

Those whose x + y is even, like one colour of a chessboard: all 48 of the window choose no better and take twice as long.
"""

PASSES = 2
"""How often the second picture is warped in a variational refinement; OpenCV itself does it once."""

_STRIP = 64
"""Rows that are compared at a time: what belongs to all rows at once would not stay in the processor's cache."""

BRIGHTNESS_WEIGHT = 1.0
"""Weight of brightness constancy in a variational refinement; OpenCV's default is 5. The weight of gradient constancy stays
10: light, shadow and exposure change gradients less."""

OVER_RELAXATION = 1.95
"""Over-relaxation factor of the variational refinement's solver (SOR); OpenCV's default is 1.6. There are only 5 iterations,
and a larger factor moves the flow further in them."""


def polish(first: Grey, second: Grey, flow: PictureFlow, initial_flow: PictureFlow | None) -> PictureFlow:
    """The flow after gate, where it began at an initial flow, and after refine_variational."""
    if initial_flow is not None:
        flow = gate(first, second, flow, initial_flow)
    return refine_variational(first, second, flow)


def gate(
    first: Grey, second: Grey, flow: PictureFlow, initial_flow: PictureFlow, *, max_distance: float = MAX_DISTANCE
) -> PictureFlow:
    """For each pixel, takes the flow under which the pictures look more alike; `flow` where the two are
    `max_distance` pixels or more apart.

    Likeness is the soft census of every second one of 7x7 pixels (Meister et al. 2018, "UnFlow"; the form of Liu et al.
    2019, "DDFlow"), averaged over 15x15 pixels. `flow` is also kept where one of the flows is not finite, and where both
    are equally good.
    """
    if max(first.shape) > LONGEST:
        return flow
    pictures = [first.astype(np.float32), warp_grey(second, flow), warp_grey(second, initial_flow)]
    worse = cv2.blur(_census_gain(*pictures), (2 * _MEAN + 1,) * 2, borderType=cv2.BORDER_REPLICATE)
    # Torch shares this among threads, numpy does not.
    ours, theirs = torch.from_numpy(flow), torch.from_numpy(initial_flow)
    near = torch.linalg.vector_norm(ours - theirs, dim=2) < max_distance
    return torch.where((near & (torch.from_numpy(worse) < 0))[..., None], theirs, ours).numpy()


def census_error(first: Grey, second: Grey, flow: PictureFlow) -> Float32[np.ndarray, "H W"]:
    """How unlike the pixels are that a flow matches: the distance by which `gate` chooses, 0 where they look alike.

    Its unit is its own. RequestError for a picture that OpenCV cannot warp.
    """
    if max(first.shape) > LONGEST:
        raise RequestError(f"the picture is {max(first.shape)} pixels long: OpenCV can warp {LONGEST} at most")
    picture = first.astype(np.float32)
    distance = _census_gain(picture, picture, warp_grey(second, flow))
    return cv2.blur(distance, (2 * _MEAN + 1,) * 2, borderType=cv2.BORDER_REPLICATE)


def refine_variational(
    first: Grey,
    second: Grey,
    flow: PictureFlow,
    *,
    passes: int = PASSES,
    brightness_weight: float = BRIGHTNESS_WEIGHT,
    over_relaxation: float = OVER_RELAXATION,
) -> PictureFlow:
    """The flow moved towards a smooth one under which the pictures' grey levels and gradients agree.

    Brox et al. 2004, "High Accuracy Optical Flow Estimation Based on a Theory for Warping", as OpenCV has it, but
    with less weight of brightness constancy and more over-relaxation; it is done `passes` times, each with a new warp. A
    flow that is not finite everywhere comes back as it is.
    """
    if max(first.shape) > LONGEST or not np.isfinite(flow).all():
        return flow
    refinement = cv2.VariationalRefinement.create()
    refinement.setFixedPointIterations(5)
    refinement.setSorIterations(5)
    refinement.setAlpha(20.0)
    refinement.setDelta(brightness_weight)
    refinement.setGamma(10.0)
    refinement.setOmega(over_relaxation)
    refined = np.array(flow, np.float32, order="C")
    with lack_of_memory_named():
        for _ in range(passes):
            refined = np.asarray(refinement.calc(first, second, refined), np.float32)
    return refined


@contextmanager
def lack_of_memory_named() -> Iterator[None]:
    """Turns OpenCV's error for a lack of memory into MemoryError."""
    try:
        yield
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from None
        raise


def warp_grey(second: Grey, flow: PictureFlow) -> Float32[np.ndarray, "H W"]:
    """The second picture brought back onto the first by the flow; beyond its edge its nearest pixel is repeated."""
    height, width = second.shape
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return cv2.remap(second.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


@torch.inference_mode()
def _census_gain(
    first: Float32[np.ndarray, "H W"], one: Float32[np.ndarray, "H W"], other: Float32[np.ndarray, "H W"]
) -> Float32[np.ndarray, "H W"]:
    """How much more `other` differs from `first` than `one` does, for each pixel: negative where it is more alike."""
    height, width = first.shape
    around = [(0, 0), (_CENSUS, _CENSUS), (_CENSUS, _CENSUS)]
    pictures = torch.from_numpy(np.pad(np.stack([first, one, other]), around, mode="edge"))
    gain = pictures.new_zeros(pictures.shape[1:])
    for top in range(0, height + _CENSUS, _STRIP):
        rows = min(_STRIP, height + _CENSUS - top)
        strip = pictures[:, top : top + rows + _CENSUS]
        _add_strip(gain[top : top + rows + _CENSUS], strip, rows)
    return np.ascontiguousarray(gain[_CENSUS : _CENSUS + height, _CENSUS : _CENSUS + width].numpy())


def _add_strip(gain: Float32[Tensor, "all W"], strip: Float32[Tensor, "3 all W"], rows: int) -> None:
    """Adds what the neighbours of the first `rows` rows say to both pixels of each pair of neighbours."""
    width, softness = strip.shape[2], strip.new_tensor(0.81)
    for y, x in _OFFSETS:
        left, right = max(0, -x), width - max(0, x)
        here, there = slice(left, right), slice(left + x, right + x)
        change = strip[:, y : y + rows, there] - strip[:, :rows, here]
        change *= torch.addcmul(softness, change, change).rsqrt_()
        distance = (change[1:] - change[0]).square_()
        floored = distance + 0.1
        # d / (d + 0.1) of the one less that of the other, but for the factor 0.1, with a single division.
        more = (floored[1] - floored[0]).div_(floored[1] * floored[0])
        gain[:rows, here] += more
        gain[y : y + rows, there] += more
