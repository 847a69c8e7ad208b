"""Where the pictures of a live flow are shown: in a window of OpenCV's, on a page for a browser, or nowhere."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from flowgru.console import say
from flowgru.errors import MachineError
from flowgru.live.page import LivePage
from flowgru.live.settings import LiveSettings
from flowgru.view.colour_wheel import Picture

TITLE = "flowgru live (q ends it)"
_ESCAPE = 27


@runtime_checkable
class Display(Protocol):
    """Shows pictures; False once whoever looks wants no more."""

    def show(self, picture: Picture, /) -> bool: ...


class Window:
    """A window of OpenCV's; q, Escape and closing it end the work."""

    def show(self, picture: Picture) -> bool:
        import cv2

        cv2.imshow(TITLE, picture[..., ::-1])
        wants_end = cv2.waitKey(1) & 0xFF in (ord("q"), _ESCAPE)
        return not wants_end and cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1


class Nowhere:
    """Shows nothing."""

    def show(self, picture: Picture) -> bool:
        return True


@contextmanager
def open_display(settings: LiveSettings) -> Iterator[Display]:
    """What the settings name; closed at the end. MachineError where it is not to be had."""
    why_not = why_no_window()
    if settings.display == "window" and why_not is not None:
        raise MachineError(f"no window can be opened: {why_not}; leave --display out, which takes a page instead")
    if settings.display == "none":
        yield Nowhere()
    elif settings.display == "window" or (settings.display == "auto" and why_not is None):
        import cv2

        try:
            yield Window()
        finally:
            cv2.destroyAllWindows()
    else:
        with LivePage(settings.host, settings.port) as page:
            say(f"showing the flow at {page.address} (Ctrl-C ends it)")
            yield page


def why_no_window() -> str | None:
    """Why OpenCV can open no window here; None where it can. It would end the whole process where there is no screen."""
    import cv2

    lines = (line.split() for line in cv2.getBuildInformation().splitlines())
    if next((words[1] for words in lines if len(words) > 1 and words[0] == "GUI:"), "") == "NONE":
        return "this is a build of OpenCV without windows (opencv-python-headless)"
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no screen (DISPLAY is not set)"
    return None
