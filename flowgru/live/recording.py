"""What was shown, as a video that is whole whatever ends the showing."""

import time
from pathlib import Path
from typing import Any

from flowgru.data.video.writer import VideoWriter
from flowgru.errors import RequestError
from flowgru.live.settings import LiveSettings
from flowgru.view.colour_wheel import Picture

RATE = 30
"""Frames a second that the video declares; each picture has the time at which it was shown."""


class Recording:
    """The video of --save, if it is given: begun with its first picture, and whole once the `with` has ended."""

    def __init__(self, settings: LiveSettings) -> None:
        """RequestError where the file may not be written: before any work."""
        self.path = None if settings.save is None else Path(settings.save)
        self._began: float | None = None
        if self.path is not None:
            self._writer = VideoWriter(self.path, RATE, overwrite=settings.overwrite)
            if self.path.exists() and not settings.overwrite:
                raise RequestError(f"{self.path} is already there: give --overwrite or another --save")

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *failure: Any) -> None:
        if self.is_begun:
            self._writer.__exit__(*failure)

    @property
    def is_begun(self) -> bool:
        """Whether a picture was added, without which there is no video."""
        return self._began is not None

    def add(self, picture: Picture) -> None:
        """The picture that is shown now."""
        if self.path is None:
            return
        if self._began is None:
            self._writer.__enter__()
            self._began = time.perf_counter()
        self._writer.write(picture, time=time.perf_counter() - self._began)
