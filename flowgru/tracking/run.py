"""The work of `flowgru track`: a clip is read once, and its tracks are written as they come."""

import csv
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch

from flowgru.config.estimation import TrackSettings
from flowgru.console import progress, say, warn
from flowgru.data.drawing import rainbow, with_points
from flowgru.data.video.elapsed import Elapsed
from flowgru.data.video.frames import Frame, FrameSource, open_clip
from flowgru.data.video.writer import VideoWriter
from flowgru.errors import InputFileError, RequestError, counted
from flowgru.estimation.clip_frames import clip_stream
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.opening import match_settings, open_network, warn_without_gpu
from flowgru.estimation.side_by_side import PICTURES_A_SECOND
from flowgru.estimation.stream import StreamFrame, read_ahead
from flowgru.files.atomic import atomic_write, remove_leftovers
from flowgru.files.own_folders import make_folders, refuse_file, remove_empty, remove_files
from flowgru.model.memory import peak_memory
from flowgru.tracking.chains import Followed
from flowgru.tracking.points import NamedPoints, grid_points, read_points
from flowgru.tracking.tracker import follow

TRACKS, VIDEO = "tracks.csv", "tracks.mp4"
COLUMNS = ("point", "frame", "time", "x", "y", "visible")
TRAIL = 12
"""Frames back to which the video shows the way of a point."""


def track_clip(inputs: list[str], settings: TrackSettings) -> int:
    """The work of `flowgru track`; returns 3 where the clip could not be read whole, else 0.

    The points are followed up to where the clip breaks off. Nothing is written before the first frame has been read.
    """
    source = open_clip(inputs, settings.start, settings.end)
    folder = Path(settings.output)
    targets = [folder / TRACKS, *([folder / VIDEO] if settings.video else [])]
    earlier = _earlier_video(folder, targets)
    _check_targets(folder, [*targets, *earlier], source, settings)
    points = None if settings.points is None else read_points(settings.points)
    network = open_network(settings)
    warn_without_gpu(settings, network)
    asked = match_settings(network, settings, backward=True, resize=settings.size_to_compute(), confidence=True)
    matcher = PairMatcher(network, asked, remembers=settings.strides[-1] + 1)
    is_new = not folder.exists()
    make_folders([folder])
    try:
        remove_leftovers(folder)
        code = _Tracking(source, points, matcher, targets, settings).run()
        remove_files(earlier)
        return code
    finally:
        remove_empty([folder] * is_new)


def _check_targets(folder: Path, targets: list[Path], source: FrameSource, settings: TrackSettings) -> None:
    """RequestError where results may not go there."""
    refuse_file(folder)
    read = {path.resolve() for path in (*source.paths, *([Path(settings.points)] if settings.points else []))}
    for target in targets:
        if target.resolve() in read:
            raise RequestError(f"{target} is an input, which results would replace: name another --output")
        if target.exists() and not settings.overwrite:
            raise RequestError(f"{target} is already there: give --overwrite or another --output")


def _earlier_video(folder: Path, targets: list[Path]) -> list[Path]:
    """The video of an earlier run, beside its tracks, that this one would not replace."""
    video = folder / VIDEO
    return [video] if (folder / TRACKS).is_file() and video.is_file() and video not in targets else []


class _Tracking:
    """One run of `flowgru track`."""

    def __init__(
        self,
        source: FrameSource,
        points: NamedPoints | None,
        matcher: PairMatcher,
        targets: list[Path],
        settings: TrackSettings,
    ) -> None:
        self.source, self.points, self.matcher, self.targets = source, points, matcher, targets
        self.settings = settings
        self.problem: str | None = None
        """Why the clip has ended early."""
        self.trails: deque[np.ndarray] = deque(maxlen=TRAIL)
        self.colours = np.zeros((0, 3), np.uint8)

    def run(self) -> int:
        """Follows the points and says what became of them."""
        began = time.perf_counter()
        num_frames = 0
        visible = torch.zeros(0)
        clock = Elapsed()
        expected = self.source.expected_frames
        with ExitStack() as stack:
            file = self._opened(stack)
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(COLUMNS)
            video: VideoWriter | None = None
            advance = stack.enter_context(progress(self.source.name, expected, "frames"))
            frames = self._counted(read_ahead(clip_stream(self.source, fps=self.settings.fps), self.matcher.device))
            first = next(frames)
            points = self._points_of(first)
            names = points.names
            for found in follow(_again(first, frames), points.positions, self.matcher, self.settings.strides):
                frame: Frame = found.frame.source
                self._write(lines, names, frame, found.points)
                if self.settings.video:
                    if video is None:
                        video = stack.enter_context(self._video())
                    video.write(self._picture(frame, found.points), clock.shown_at(frame.time))
                visible, num_frames = found.points.visible, num_frames + 1
                advance()
            file.flush()  # a disk that is full says so before the video takes its place
        for problem in (problems := [*self.source.problems, *([self.problem] if self.problem else [])]):
            warn(f"error: {problem}")
        if self.num_read > num_frames:
            warn(f"warning: {self.source.name} changes its size after {num_frames} frames, where the tracks end")
        say(
            f"followed {counted(len(names), 'point')} through {num_frames} frames, "
            f"{int(visible.sum())} seen in the last; wrote {' and '.join(map(str, self.targets))} in "
            f"{time.perf_counter() - began:.1f} s, peak memory {peak_memory(self.matcher.device) / 2**20:.0f} MiB"
        )
        return InputFileError.exit_code if problems else 0

    def _opened(self, stack: ExitStack) -> TextIO:
        """tracks.csv, which appears whole."""
        temporary = stack.enter_context(atomic_write(self.targets[0], self.settings.overwrite))
        # A name that is no UTF-8 is written with escapes.
        return stack.enter_context(temporary.open("w", encoding="utf-8", errors="backslashreplace", newline=""))

    def _video(self) -> VideoWriter:
        rate, fps = float(self.source.frame_rate or PICTURES_A_SECOND), self.settings.fps
        return VideoWriter(self.targets[1], rate if fps is None else min(rate, fps), overwrite=self.settings.overwrite)

    def _counted(self, frames: Iterator[StreamFrame]) -> Iterator[StreamFrame]:
        """The frames up to where one cannot be read, if there are two before it."""
        self.num_read = 0
        try:
            for frame in frames:
                self.num_read += 1
                yield frame
        except InputFileError as error:
            if self.num_read < 2:
                raise
            self.problem = str(error)

    def _points_of(self, first: StreamFrame) -> NamedPoints:
        height, width = first.image.shape[2:]
        points = self.points
        if points is None:
            positions = grid_points(self.settings.grid or 1, height, width)
            points = NamedPoints([str(number) for number in range(1, len(positions) + 1)], [], positions)
        else:
            points.require_inside(height, width)
        self.colours = rainbow((points.positions[:, 1] / max(height - 1, 1)).tolist())
        return points

    def _write(self, lines: Any, names: list[str], frame: Frame, points: Followed) -> None:
        when = "" if frame.time is None else f"{frame.time:.6f}".rstrip("0").rstrip(".")
        positions, visible = points.positions.tolist(), points.visible.tolist()
        for name, (x, y), seen in zip(names, positions, visible, strict=True):
            lines.writerow([name, frame.name, when, f"{x:.3f}", f"{y:.3f}", int(seen)])

    def _picture(self, frame: Frame, points: Followed) -> np.ndarray:
        self.trails.append(points.positions.cpu().numpy())
        return with_points(frame.image, self.trails, points.visible.cpu().numpy(), self.colours)


def _again(first: StreamFrame, others: Iterator[StreamFrame]) -> Iterator[StreamFrame]:
    yield first
    yield from others
