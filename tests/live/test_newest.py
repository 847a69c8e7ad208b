"""The newest frame wins, and what could not be taken in time is counted."""

import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from flowgru.data.video.reader import Frame
from flowgru.errors import MachineError
from flowgru.live.newest import NewestFrame


def frame(number: int, time: float | None = None) -> Frame:
    return Frame(np.zeros((2, 2, 3), np.uint8), str(number), time, 0, damaged=False)


def test_who_is_slow_gets_the_newest_frame():
    read = threading.Event()

    def frames() -> Iterator[Frame]:
        yield from (frame(number) for number in range(5))
        read.set()

    with NewestFrame(frames(), paced=False) as newest:
        assert read.wait(10)
        taken = newest.take(10.0)
        assert taken is not None and taken.frame.name == "4" and newest.num_dropped == 4
        assert newest.take(10.0) is None and newest.ended


def test_an_error_comes_after_the_last_frame():
    def frames() -> Iterator[Frame]:
        yield frame(0)
        raise MachineError("unplugged")

    with NewestFrame(frames(), paced=False) as newest:
        assert newest.take(10.0) is not None and not newest.ended
        with pytest.raises(MachineError, match="unplugged"):
            newest.take(10.0)


def test_frames_of_a_file_keep_their_times():
    taken = threading.Event()

    def frames() -> Iterator[Frame]:
        yield frame(0, 7.0)
        assert taken.wait(100)
        yield frame(1, 8.0)

    with NewestFrame(frames(), paced=True) as newest:
        first = newest.take(100.0)
        taken.set()
        second = newest.take(100.0)
    assert first is not None and second is not None and second.at - first.at > 0.5 and newest.num_dropped == 0


def test_frames_keep_their_pace_where_their_clock_begins_anew():
    with NewestFrame([frame(0, 7.0), frame(1, 7.2), frame(2, 0.0), frame(3, 0.2)], paced=True) as newest:
        came = [taken.at for taken in (newest.take(10.0) for _ in range(4)) if taken is not None]
    assert len(came) == 4 and all(later - sooner > 0.15 for sooner, later in pairwise(came)) and newest.num_dropped == 0


def test_who_asks_too_early_gets_nothing_and_it_ends_in_the_middle_of_a_wait():
    began = time.perf_counter()
    with NewestFrame([frame(0, 0.0), frame(1, 1000.0)], paced=True) as newest:
        assert newest.take(10.0) is not None and newest.take(0.01) is None and not newest.ended
    assert time.perf_counter() - began < 5
