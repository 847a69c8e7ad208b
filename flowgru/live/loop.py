"""The work of `flowgru live`: takes the newest frame, estimates the flow to it, and shows it, until it is to end."""

import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from flowgru.console import progress, say, warn
from flowgru.data.video.camera import TEST, Camera, is_camera
from flowgru.data.video.frames import FrameSource, open_clip
from flowgru.data.video.reader import Frame
from flowgru.errors import InputFileError, RequestError, counted
from flowgru.estimation.opening import open_network
from flowgru.live.display import open_display
from flowgru.live.flow import LiveFlow, LivePicture, Pace
from flowgru.live.newest import NewestFrame
from flowgru.live.recording import Recording
from flowgru.live.settings import LiveSettings
from flowgru.model.pair_network import PairNetwork
from flowgru.processes.signals import stop_signals
from flowgru.view.colour_wheel import Picture

SECONDS_TO_LOOK = 0.2
"""For which a frame is waited for, before it is looked whether the work is to end."""


def run_live(settings: LiveSettings) -> int:
    """The exit code: 0, 3 where a file could not be read whole, or 128 and the number of the signal that ended it.

    What --save names is written whole, whatever ends the work; an error is raised after that.
    """
    recording, pace, problem = Recording(settings), Pace(), None
    frames, paced = _opened(settings.source, recording.path)
    with open_display(settings) as display:
        network = open_network(settings)
        began = time.perf_counter()
        with (
            stop_signals() as received,  # until the video is whole
            recording,
            NewestFrame(frames, paced=paced) as newest,
            progress(settings.source, settings.frames, "flows") as advance,
        ):
            try:
                for picture in _pictures(newest, network, settings, pace, received):
                    recording.add(picture)
                    advance(f"latency {1000 * pace.latency:.0f} ms, {counted(newest.num_dropped, 'frame')} dropped")
                    if not display.show(picture):
                        break
            except Exception as error:
                problem = error
        seconds = time.perf_counter() - began
    unread = frames.problems if isinstance(frames, FrameSource) else []
    for line in unread:
        warn(f"error: {line}")
    if pace.num_shown or problem is None:
        _say_what_was(recording, pace, seconds, newest.num_dropped)
    if problem is not None:
        raise problem
    if received:
        return 128 + received[0]
    return InputFileError.exit_code if unread else 0


def _opened(source: str, save: Path | None) -> tuple[Iterable[Frame], bool]:
    """The frames, and whether they come as fast as they are read, and have times of their own to be kept.

    MachineError where there is no such camera; RequestError where what is saved would replace a file that is shown;
    RequestError and InputFileError as of open_clip.
    """
    if is_camera(source):
        return Camera(source), source == TEST
    clip = open_clip([source])
    if save is not None and save.resolve() in {path.resolve() for path in clip.paths}:
        raise RequestError(f"--save {save} is what --source shows, and would be replaced: name another --save")
    _ = clip.expected_frames  # opens the file, so that a bad one is refused before any work
    return clip, True


def _pictures(
    newest: NewestFrame, network: PairNetwork, settings: LiveSettings, pace: Pace, received: list[int]
) -> Iterator[Picture]:
    """Picture after picture, until the frames, the time or the patience of whoever looks have ended."""
    flows, pictures = LiveFlow(network, settings), LivePicture(settings)
    ends = math.inf if settings.seconds is None else time.perf_counter() + settings.seconds
    while not received and not newest.ended and time.perf_counter() < ends and pace.num_shown != settings.frames:
        grabbed = newest.take(SECONDS_TO_LOOK)
        pair = None if grabbed is None else flows.to(grabbed.frame)
        if grabbed is not None and pair is not None:
            pace.shown(grabbed)
            yield pictures.of(pair, str(pace))


def _say_what_was(recording: Recording, pace: Pace, seconds: float, num_dropped: int) -> None:
    if not pace.num_shown:
        warn("no flow was shown" + (f", so {recording.path} was not written" if recording.path else ""))
        return
    say(
        f"showed {counted(pace.num_shown, 'flow')} in {seconds:.1f} s ({pace.num_shown / seconds:.1f} flows/s, latency "
        f"{1000 * pace.mean_latency:.0f} ms in the mean); {counted(num_dropped, 'frame')} dropped"
        + (f"; wrote {' and '.join(map(str, recording.written))}" if recording.written else "")
    )
