"""What `flowgru live` shows, and where."""

import math
from dataclasses import dataclass
from typing import Literal

from flowgru.config.estimation import size_to_compute
from flowgru.config.model_settings import ModelSettings
from flowgru.config.require import require, require_effect
from flowgru.errors import RequestError
from flowgru.processes.ports import THIS_MACHINE, check_port


@dataclass(frozen=True)
class LiveSettings(ModelSettings):
    """A source of frames, a model, and where its flow is shown."""

    source: str = "camera"
    """camera is the first camera (on Linux /dev/video0; camera:NAME is another one, and on macOS and Windows cameras are
    untested); a video or a folder of pictures, shown at its own speed; or test, a moving test picture."""
    display: Literal["auto", "window", "page", "none"] = "auto"
    """Where frame and flow are shown: window needs a GUI build of OpenCV and a screen, page is a page for a browser, and
    auto is the window where there can be one, else the page."""
    host: str = THIS_MACHINE
    """Address at which the page is served; 0.0.0.0 lets other machines see what the camera sees."""
    port: int = 7861
    """Port of the page; 0 takes a free one."""
    save: str | None = None
    """Also write what is shown as this video (.mp4, .mov or .mkv), at the speed at which it was shown; frames of another
    size begin NAME_2.mp4 and so on."""
    frames: int | None = None
    """End after so many flows; without it a camera is shown until Ctrl-C."""
    seconds: float | None = None
    """End after so many seconds."""
    resize: str | None = None
    """Compute at this size, HEIGHTxWIDTH or a factor such as 0.5; smaller is faster."""
    arrows: bool = False
    """Draw arrows of the flow over the frames."""
    max_flow: float | None = None
    """Length in pixels of the strongest colour; without it the scale follows the flow."""
    overwrite: bool = False
    """Replace the file of --save if it is there already."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_port(self.port)
        require(self.frames is None or self.frames >= 1, "--frames", self.frames, "1 or more")
        for name, value in (("seconds", self.seconds), ("max-flow", self.max_flow)):
            require(value is None or 0 < value < math.inf, f"--{name}", value, "above 0")
        if self.flow_folder is not None:
            raise RequestError(f"--initial-flow is {self.initial_flow!r}: expected dis or zero, for frames yet to come")
        require_effect(not self.overwrite or self.save is not None, "--overwrite", "without --save")
        self.size_to_compute()

    def size_to_compute(self) -> tuple[int, int] | float | None:
        """--resize as (height, width), as a factor, or None."""
        return size_to_compute(self.resize)
