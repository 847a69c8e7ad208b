"""The time that has passed in a clip, whatever its clock does."""


class Elapsed:
    """Seconds from the first frame of a clip to its latest one, by the times of the frames; they never go back.

    Where a time is below the one before, as where files were joined end to end, the clip's clock has begun anew: that frame
    comes as long after the one before as that one came after its own.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        """None before the first frame."""
        self._began = self._latest = self._gap = 0.0
        self._before = 0.0

    def at(self, time: float) -> float:
        """The seconds to the next frame, whose time on the clip's own clock is given in seconds."""
        if self.seconds is None or time < self._latest:
            self._before = 0.0 if self.seconds is None else self.seconds + self._gap
            self._began = self._latest = time
        self._gap = time - self._latest or self._gap
        self._latest = time
        self.seconds = self._before + (time - self._began)
        return self.seconds

    def shown_at(self, time: float | None) -> float | None:
        """When a video made of the frames shows the next one; None where they have no times, as pictures have none."""
        return None if time is None else self.at(time)
