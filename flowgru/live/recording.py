"""What was shown, as a video that is whole whatever ends the showing."""

import sys
import time
from pathlib import Path
from typing import Any

from flowgru.data.video.writer import VideoWriter
from flowgru.errors import RequestError
from flowgru.files.own_folders import require_writable
from flowgru.live.settings import LiveSettings
from flowgru.view.colour_wheel import Picture

RATE = 30
"""Frames a second that the video declares; each picture has the time at which it was shown."""


class Recording:
    """The video of --save, if it is given: begun with its first picture, and whole once the `with` has ended."""

    def __init__(self, settings: LiveSettings) -> None:
        """RequestError and MachineError where the file cannot be written: before any work."""
        self.path = None if settings.save is None else Path(settings.save)
        self.is_written = False
        """Whether the video is there, whole."""
        self._began: float | None = None
        if self.path is not None:
            self._writer = VideoWriter(self.path, RATE, overwrite=settings.overwrite)
            if self.path.exists() and not settings.overwrite:
                raise RequestError(f"{self.path} is already there: give --overwrite or another --save")
            require_writable(self.path, "--save")

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *failure: Any) -> None:
        if self.is_begun:
            self._writer.__exit__(*failure)
            self.is_written = failure[0] is None

    @property
    def is_begun(self) -> bool:
        """Whether a picture was added, without which there is no video."""
        return self._began is not None

    def add(self, picture: Picture) -> None:
        """The picture that is shown now. MachineError as of VideoWriter, and then nothing is left of the video."""
        if self.path is None:
            return
        if self._began is None:
            self._writer.__enter__()
            self._began = time.perf_counter()
        try:
            self._writer.write(picture, time=time.perf_counter() - self._began)
        except Exception:
            self._began = None
            self._writer.__exit__(*sys.exc_info())
            raise
