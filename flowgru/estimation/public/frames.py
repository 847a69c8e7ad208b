"""Frames and pictures as a caller from Python may have them, as a stream or a list of one kind."""

import os
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from torch import Tensor

from flowgru.data.formats.picture_kinds import picture_tensor
from flowgru.data.video.frames import Frame, FrameSource, open_clip
from flowgru.errors import RequestError, sides, size_text
from flowgru.estimation.stream import StreamFrame
from flowgru.kinds import described, given_path

FRAMES = "a video, a folder or a pattern by its path, or a list or stack of pictures"


def open_stream(frames: Any) -> Iterator[StreamFrame]:
    """The frames, read one after the other; a path is opened at once.

    frames: the path of a video, an animation, a folder of pictures or a pattern; a list, stack or stream of pictures, each
    of any kind that picture_tensor takes; or what VideoReader and open_frames give.
    RequestError for anything else, and where there are fewer than 2 frames or their sizes differ.
    """
    if isinstance(frames, str | os.PathLike):
        return _in_pairs(_read(open_clip([given_path(frames, "frames")])))
    if isinstance(frames, FrameSource):
        return _in_pairs(_read(frames))
    return _in_pairs(_each(_several(frames, "frames", FRAMES)))


def several_pictures(pictures: Any, name: str) -> tuple[list[Any], bool]:
    """The pictures of a batch, or of a list; or a single picture as a list of one. Says whether it was several."""
    stack = isinstance(pictures, np.ndarray | Tensor)
    if isinstance(pictures, str | os.PathLike) or (stack and pictures.ndim < 4):
        return [pictures], False
    if not isinstance(pictures, Iterable):
        return [pictures], False
    return list(_several(pictures, name, "a picture, or a batch or list of pictures")), True


def _several(frames: Any, name: str, expected: str) -> Iterable[Any]:
    """What holds several pictures; RequestError for a single one, and for what can not be iterated."""
    if isinstance(frames, np.ndarray | Tensor):
        shape = tuple(frames.shape)
        single = len(shape) == 3 and (shape[0] in (1, 3, 4) or shape[2] in (1, 3, 4))
        if len(shape) not in (3, 4) or single:
            raise RequestError(
                f"{name} is {described(frames)}, which is no stack of pictures: expected {expected}, such as "
                "[N, H, W, 3] or [N, 3, H, W]"
            )
        return frames
    if isinstance(frames, bytes | dict) or not isinstance(frames, Iterable):
        raise RequestError(f"{name} is a {type(frames).__name__}: expected {expected}")
    return frames


def _each(frames: Iterable[Any]) -> Iterator[StreamFrame]:
    for index, frame in enumerate(frames):
        segment = frame.segment if isinstance(frame, Frame) else 0
        picture = frame.image if isinstance(frame, Frame) else frame
        yield StreamFrame(picture_tensor(picture, f"frame {index}")[None], index, segment)


def _read(source: FrameSource) -> Iterator[StreamFrame]:
    """The frames of a file; a warning says what of it could not be read."""
    yield from _each(source)
    for problem in source.problems:
        warnings.warn(problem, stacklevel=2)


def _in_pairs(frames: Iterator[StreamFrame]) -> Iterator[StreamFrame]:
    """The frames, if each has the size of the one before and there are two at least."""
    before = None
    for frame in frames:
        size = tuple(frame.image.shape[2:])
        if before is not None and before.segment == frame.segment and tuple(before.image.shape[2:]) != size:
            raise RequestError(
                f"frame {frame.source} is {sides(size)} and the one before {size_text(before.image.shape[2:])}: "
                "both frames of a pair must have one size"
            )
        before = frame
        yield frame
    num_frames = 0 if before is None else before.source + 1
    if num_frames < 2:
        raise RequestError(f"got {num_frames} frames: flow needs at least 2")
