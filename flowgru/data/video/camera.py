"""Cameras, and FFmpeg's test picture in the place of one, by PyAV: streams of RGB frames without an end."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowgru.data.video.reader import Frame
from flowgru.errors import MachineError

TEST = "test"
"""The name of the source that is FFmpeg's moving test picture."""
CAMERA = "camera"
"""The name of the first camera; `camera:NAME` is another one, in the words of the system."""

MOST_LOST = 100
"""Pictures in a row that cannot be decoded, after which a camera cannot be used."""

_SYSTEMS = {"linux": ("v4l2", "/dev/video0"), "darwin": ("avfoundation", "0"), "win32": ("dshow", "")}
"""By sys.platform: FFmpeg's format of cameras, and the name of the first one. Only that of Linux has been tried."""


def is_camera(source: str) -> bool:
    """Whether a source is a camera or the test picture; any other is a file."""
    return source in (TEST, CAMERA) or source.startswith((f"{CAMERA}:", "/dev/video"))


class Camera:
    """The frames of a camera, or of the test picture: opened at once, gone through once, and closed after that.

    frame_rate  frames a second, as the camera says; None where it does not
    """

    def __init__(self, source: str) -> None:
        """source: see is_camera. MachineError where there is no such camera, or it cannot be used."""
        import av

        kind, self.name = _device(source)
        try:
            self._container: Any = av.open(self.name, format=kind)
            self._stream = self._container.streams.video[0]
        except (av.FFmpegError, OSError, ValueError, IndexError) as error:
            raise _refused(self.name, error) from None
        self.frame_rate = self._stream.average_rate

    def __iter__(self) -> Iterator[Frame]:
        """Whatever can be decoded. MachineError where the camera stops, or gives nothing else but damaged pictures."""
        import av

        number = num_lost = 0
        try:
            for packet in self._container.demux(self._stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    num_lost += 1
                    if num_lost == MOST_LOST:
                        raise
                    continue
                for decoded in frames:
                    number, num_lost = number + 1, 0
                    image = decoded.to_ndarray(format="rgb24")
                    yield Frame(image, f"frame_{number:06d}", decoded.time, segment=0, damaged=decoded.is_corrupt)
        except (av.FFmpegError, OSError) as error:
            raise _refused(self.name, error) from None
        finally:
            self._container.close()


def _device(source: str) -> tuple[str, str]:
    """FFmpeg's format, and the name in it."""
    if source == TEST:
        return "lavfi", "testsrc2=size=320x240:rate=30"
    if source.startswith("/dev/"):
        return "v4l2", source
    kind, first = _SYSTEMS.get(sys.platform, ("v4l2", "/dev/video0"))
    name = source.partition(":")[2] or first
    if not name:
        raise MachineError("cameras have no numbers here: name one, such as --source 'camera:video=Integrated Camera'")
    return kind, name


def _refused(name: str, error: Exception) -> MachineError:
    reason = getattr(error, "strerror", None) or str(error)
    others = sorted(str(path) for path in Path("/dev").glob("video*")) if os.name == "posix" else []
    known = f"there are {', '.join(others)}" if others else "no camera was found here"
    return MachineError(
        f"the camera {name} cannot be used ({reason}); {known}: plug one in, name one with --source, or give --source "
        f"{TEST} or a file"
    )
