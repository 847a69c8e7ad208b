"""The newest frame of a stream: a thread reads it, so that whoever is slow gets what is seen now, not what was."""

import threading
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from flowgru.data.video.elapsed import Elapsed
from flowgru.data.video.reader import Frame

SECONDS_TO_STOP = 2.0
"""For which the thread is waited for; a camera that hangs must not keep the command."""
PICTURES_A_SECOND = 10
"""Speed of frames that have no times."""


class Grabbed(NamedTuple):
    """A frame, and when it was there, by time.perf_counter."""

    frame: Frame
    at: float


class NewestFrame:
    """`with NewestFrame(frames) as newest: newest.take(1.0)`; frames that nobody took in time are counted in num_dropped."""

    def __init__(self, frames: Iterable[Frame], *, paced: bool) -> None:
        """paced: give the frames at their own times, as a camera does by itself."""
        self.num_dropped = 0
        self._ended = False
        self._frames, self._paced = frames, paced
        self._newest: Grabbed | None = None
        self._error: Exception | None = None
        self._news = threading.Condition()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True, name="flowgru-frames")

    def __enter__(self) -> "NewestFrame":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stopped.set()
        self._thread.join(SECONDS_TO_STOP)

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more, neither a frame nor an error."""
        return self._ended and self._newest is None and self._error is None

    def take(self, seconds: float) -> Grabbed | None:
        """The newest frame that was not taken yet; None where none came in so many seconds, or none will come (ended).

        What the stream raised is raised here, after its last frame.
        """
        with self._news:
            self._news.wait_for(lambda: self._newest is not None or self._ended, seconds)
            newest, self._newest = self._newest, None
            if newest is None and self._error is not None:
                raise self._error
            return newest

    def _read(self) -> None:
        try:
            began, clock = None, Elapsed()
            for number, frame in enumerate(self._frames):
                now = time.perf_counter()
                began = now if began is None else began
                due = number / PICTURES_A_SECOND if frame.time is None else clock.at(frame.time)
                if self._paced and self._stopped.wait(max(0.0, began + due - now)):
                    return
                if self._stopped.is_set():
                    return
                with self._news:
                    self.num_dropped += self._newest is not None
                    self._newest = Grabbed(frame, time.perf_counter())
                    self._news.notify()
        except Exception as error:
            self._error = error
        finally:
            with self._news:
                self._ended = True
                self._news.notify()
