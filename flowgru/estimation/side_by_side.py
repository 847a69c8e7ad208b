"""The video of a clip: each frame beside its flow, in colours of one scale."""

from collections.abc import Callable, Sequence
from pathlib import Path

from flowgru.data.formats.flow_files import read_flow
from flowgru.data.video.elapsed import Elapsed
from flowgru.data.video.frames import FrameSource
from flowgru.data.video.writer import SegmentedVideoWriter, VideoWriter
from flowgru.estimation.file_names import video_of_size
from flowgru.view.arrows import Arrows, legible_arrows
from flowgru.view.colour_wheel import suggest_max_flow
from flowgru.view.panels import flow_panel

PICTURES_A_SECOND = 10
"""Speed of the video where the frames are picture files."""

FLOWS_FOR_SCALE = 50
"""Flows, from all over the clip, that its scale is taken from."""


def write_side_by_side(
    source: FrameSource,
    flow_files: Sequence[Path],
    video: Path,
    *,
    max_flow: float | None,
    arrows: bool,
    frame_rate: float,
    begins: Callable[[str], bool],
) -> tuple[float, Arrows | None]:
    """Writes the video in a second reading of the frames; the length in pixels of its strongest colour, and its arrows.

    frame_rate: pairs a second, where the frames have no times of their own. begins: is told the name of each file before it
    is written, and says whether it may replace one that is there.

    The flows come from their files, so that one scale can be found for the whole clip in constant memory. Where the
    clip changes its size another video begins, called flow_2.mp4 and so on; the arrows are those of its first frame.
    """
    longest = suggest_max_flow(read_flow(path).flow for path in flow_files[:: -(-len(flow_files) // FLOWS_FOR_SCALE)])
    scale, style = max_flow or longest, None
    remaining = {path.stem: path for path in flow_files}

    def open_video(number: int) -> VideoWriter:
        path = video_of_size(video, number)
        return VideoWriter(path, frame_rate, overwrite=begins(path.name))

    clock = Elapsed()
    with SegmentedVideoWriter(open_video) as videos:
        for frame in source:
            time = clock.shown_at(frame.time)
            if frame.name not in remaining:
                continue
            flow = read_flow(remaining.pop(frame.name)).flow
            if arrows and style is None:
                style = legible_arrows(longest, *flow.shape[:2])
            videos.write(flow_panel(frame.image, flow, max_flow=scale, arrows=style), time)
            if not remaining:
                break
    return scale, style
