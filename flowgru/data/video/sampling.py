"""Which frames of a clip are used: every so many of them, or so many a second."""

import math
from collections.abc import Iterable, Iterator

from flowgru.data.video.elapsed import Elapsed
from flowgru.data.video.reader import Frame
from flowgru.errors import InputFileError

ROUNDING = 0.002
"""Seconds by which time stamps may be off: containers round them to milliseconds."""


def sampled(frames: Iterable[Frame], name: str, *, stride: int = 1, fps: float | None = None) -> Iterator[Frame]:
    """The frames of a clip at `fps` frames a second, and of these every stride-th, the first one among them.

    With t0 the time of the first frame, the frames used are the first ones at or after t0 + k / fps. No frame is used
    twice: a clip with fewer frames a second keeps its own. A clock that jumps back goes on from there, see Elapsed.
    name: what the clip is called. InputFileError where fps is asked of a clip without times, and, at its end, where fps or
    stride has left only one of several frames.
    """
    given = _Counted(frames)
    at_rate = given if fps is None else _Counted(_at_rate(given, name, fps))
    for index, frame in enumerate(at_rate):
        if index % stride == 0:
            yield frame
    if given.number > 1 and at_rate.number == 1:
        raise InputFileError(f"{name} gives {given.number} frames, of which --fps {fps:g} uses 1: give a larger one")
    if 1 < at_rate.number <= stride:
        rate = "" if fps is None else f" at --fps {fps:g}"
        raise InputFileError(
            f"{name} gives {at_rate.number} frames{rate}, and --stride {stride} needs at least {stride + 1}: "
            "give a smaller one"
        )


class _Counted:
    """Frames, and the number of those that came."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames, self.number = frames, 0

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            self.number += 1
            yield frame


def _at_rate(frames: Iterable[Frame], name: str, fps: float) -> Iterator[Frame]:
    tolerance = min(ROUNDING, 0.25 / fps)
    clock, due = Elapsed(), -math.inf
    for frame in frames:
        if frame.time is None:
            raise InputFileError(f"{name} has no times, as pictures have none: leave --fps out, or use --stride")
        seconds = clock.at(frame.time) + tolerance
        if seconds >= due:
            due = (math.floor(seconds * fps) + 1) / fps
            yield frame
