"""Optical flow without learning, from OpenCV: the baselines that a network is measured against."""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from flowgru.data.polish import BRIGHTNESS_WEIGHT, Grey, lack_of_memory_named
from flowgru.errors import RequestError, size_text

Picture = UInt8[np.ndarray, "H W 3"]
SecondPicture = UInt8[np.ndarray, "_ _ 3"]
"""Its size is compared with the first one's, and the user told."""
PictureFlow = Float32[np.ndarray, "H W 2"]

OPENCV_VERSION = cv2.__version__

MIN_DIS_SIDE = 16
"""Shortest side for DIS, in pixels: its patches of 8 pixels start at half resolution, and OpenCV crashes below."""

START_ITERATIONS = 10
"""Of the variational refinement at each level of DIS, where its flow is a start. The preset has 5: a fifth faster, and the
network ends with more error (results/default_way.md)."""


def use_threads(num_threads: int) -> None:
    """Lets OpenCV use so many threads in this process, for DIS and for what polishes a flow."""
    cv2.setNumThreads(num_threads)


def num_threads() -> int:
    """How many threads OpenCV uses in this process."""
    return cv2.getNumThreads()


def dis_flow(first: Picture, second: SecondPicture, *, fast: bool = False) -> PictureFlow:
    """Dense inverse search with OpenCV's preset "medium", or with `fast` its preset "ultrafast".

    Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search". RequestError where the pictures have two sizes,
    or a side below 16 pixels.
    """
    first_grey, second_grey = _grey_pair(first, second)
    if min(first_grey.shape) < MIN_DIS_SIDE:
        raise RequestError(
            f"the pictures are {size_text(first_grey.shape)}: DIS needs {MIN_DIS_SIDE} pixels on each side"
        )
    return _searched(first_grey, second_grey, fast)


def dis_or_zero(first: Grey, second: Grey, *, fast: bool = False) -> PictureFlow | None:
    """The flow of DIS that a network begins at, from grey pictures of one size; None, which stands for zero, where they
    are too small or thin for it.

    Without `fast`, its variational refinement differs from that of dis_flow: it has START_ITERATIONS, and the weight of
    brightness constancy is BRIGHTNESS_WEIGHT. MemoryError where memory lacks.
    """
    if min(first.shape) < MIN_DIS_SIDE:
        return None
    try:
        with lack_of_memory_named():
            return _searched(first, second, fast, is_start=not fast)
    except cv2.error:  # on some thin pictures no level of its pyramid is large enough
        return None


def grey_levels(picture: Picture) -> Grey:
    """Brightness in 256 levels, as classical methods compare it."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def farneback_flow(first: Picture, second: SecondPicture) -> PictureFlow:
    """Polynomial expansion, with the settings of OpenCV's samples.

    Farnebäck 2003, "Two-Frame Motion Estimation Based on Polynomial Expansion". RequestError where the pictures have
    two sizes.
    """
    first_grey, second_grey = _grey_pair(first, second)
    flow = cv2.calcOpticalFlowFarneback(
        first_grey,
        second_grey,
        np.zeros((*first_grey.shape, 2), np.float32),
        pyr_scale=0.5,
        levels=3,
        winsize=15,
        iterations=3,
        poly_n=5,
        poly_sigma=1.2,
        flags=0,
    )
    return np.asarray(flow, np.float32)


def zero_flow(first: Picture, second: SecondPicture) -> PictureFlow:
    """Nothing moves: its error is the length of the true flow."""
    return np.zeros((*first.shape[:2], 2), np.float32)


BASELINES: dict[str, Callable[[Picture, SecondPicture], PictureFlow]] = {
    "dis": dis_flow,
    "farneback": farneback_flow,
    "zero": zero_flow,
}


def _grey_pair(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if first.shape != second.shape:
        raise RequestError(
            f"first is {list(first.shape)} and second {list(second.shape)}: both frames of a pair must have one size"
        )
    return grey_levels(first), grey_levels(second)


def _searched(first: Grey, second: Grey, fast: bool, *, is_start: bool = False) -> PictureFlow:
    """`is_start`: the variational refinement is that of a start, and not the preset's."""
    preset = cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST if fast else cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
    search = cv2.DISOpticalFlow.create(preset)
    if is_start:
        search.setVariationalRefinementIterations(START_ITERATIONS)
        search.setVariationalRefinementDelta(BRIGHTNESS_WEIGHT)
    # An array given for the flow, even of zeros, would start the search otherwise.
    flow = search.calc(first, second, None)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return np.asarray(flow, np.float32)
