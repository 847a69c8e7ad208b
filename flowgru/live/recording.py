"""What was shown, as a video that is whole whatever ends the showing."""

import os
import time
from itertools import count
from pathlib import Path
from typing import Any

from flowgru.data.video.writer import SegmentedVideoWriter, VideoWriter
from flowgru.errors import RequestError
from flowgru.estimation.file_names import video_of_size
from flowgru.files.own_folders import require_writable
from flowgru.live.settings import LiveSettings
from flowgru.view.colour_wheel import Picture

RATE = 30
"""Frames a second that the video declares; each picture has the time at which it was shown."""


class Recording:
    """The video of --save, if it is given: begun with its first picture, and whole once the `with` has ended.

    Pictures of another size begin a further video beside it, NAME_2.mp4 and so on, which never replaces a file.
    """

    def __init__(self, settings: LiveSettings) -> None:
        """RequestError and MachineError where the file cannot be written: before any work."""
        self.path = None if settings.save is None else Path(settings.save)
        self._overwrite = settings.overwrite
        self._began: float | None = None
        self._videos = SegmentedVideoWriter(self._video)
        if self.path is not None:
            self._video(1)  # refuses a name that is none of a video
            if self.path.exists() and not settings.overwrite:
                raise RequestError(f"{self.path} is already there: give --overwrite or another --save")
            require_writable(self.path, "--save")

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *failure: Any) -> None:
        self._videos.__exit__(*failure)

    @property
    def written(self) -> list[Path]:
        """The videos that are there, whole."""
        return self._videos.paths

    def add(self, picture: Picture) -> None:
        """The picture that is shown now. Errors are those of VideoWriter, and then nothing is left of the video that the
        picture belongs to.
        """
        if self.path is None:
            return
        now = time.perf_counter()
        self._began = now if self._began is None else self._began
        self._videos.write(picture, time=now - self._began)

    def _video(self, number: int) -> VideoWriter:
        assert self.path is not None
        if number == 1:
            return VideoWriter(self.path, RATE, overwrite=self._overwrite)
        others = (video_of_size(self.path, place) for place in count(number))
        return VideoWriter(next(path for path in others if not os.path.lexists(path)), RATE)
