"""What a visitor takes home: flow files in any format, or a video of the frames beside their flow."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from flowgru.data.formats.flow_files import read_flow, write_flow_array
from flowgru.data.formats.flow_formats import FLOW_FORMATS
from flowgru.data.formats.images import read_image
from flowgru.data.video.writer import SegmentedVideoWriter, VideoWriter
from flowgru.errors import RequestError
from flowgru.estimation.file_names import video_of_size
from flowgru.view.arrows import legible_arrows
from flowgru.view.panels import flow_panel
from flowgru.web.looking import Look, flow_of
from flowgru.web.work import EstimatedClip

KINDS = {
    "flo": "Middlebury's .flo",
    "npz": ".npz for NumPy",
    "png16": "KITTI's 16-bit .png",
    "mp4": "a video of the frames beside their flow",
}


def made(clip: EstimatedClip, kind: str, look: Look) -> Path:
    """The file to take home: one flow by itself, several files as a .zip, or the video as it is looked at.

    RequestError for another kind; MachineError where the disk refuses.
    """
    if kind not in KINDS:
        raise RequestError(f"the kind of file is {kind!r}: expected one of {', '.join(KINDS)}")
    folder = clip.folder / "downloads"
    folder.mkdir(exist_ok=True)
    if kind == "mp4":
        return _packed(_videos(clip, folder / "flow.mp4", look), folder, kind)
    suffix = FLOW_FORMATS[kind].suffix
    files = []
    for pair in clip.pairs:
        for name in (pair.name, *[f"{pair.name}_backward"] * clip.has_backward):
            files.append(folder / f"{name}{suffix}")
            stored = read_flow(clip.folder / f"{name}.flo")
            write_flow_array(files[-1], stored.flow, stored.valid, overwrite=True)
        endings = ["occlusion"] * clip.has_backward + ["confidence"] * clip.has_confidence
        files += [clip.folder / f"{pair.name}_{ending}.png" for ending in endings]
    return _packed(files, folder, kind)


def _packed(files: Sequence[Path], folder: Path, kind: str) -> Path:
    """The one file, or a .zip of all of them, in place of those that lie in the folder."""
    if len(files) == 1:
        return files[0]
    packed = folder / f"flow_{kind}.zip"
    with zipfile.ZipFile(packed, "w") as archive:  # pictures, videos and flows in .npz are compressed already
        for file in files:
            archive.write(file, file.name)
    for file in files:
        if file.parent == folder:
            file.unlink()
    return packed


def _videos(clip: EstimatedClip, path: Path, look: Look) -> list[Path]:
    """The video, and further ones, flow_2.mp4 and so on, where the clip changes its size."""
    scale, arrows = look.max_flow or clip.scale, None

    def open_video(number: int) -> VideoWriter:
        return VideoWriter(video_of_size(path, number), clip.frame_rate, overwrite=True)

    with SegmentedVideoWriter(open_video) as videos:
        for number, pair in enumerate(clip.pairs, 1):
            flow = flow_of(clip, number)
            if look.arrows and arrows is None:
                arrows = legible_arrows(clip.scale, *flow.shape[:2])
            videos.write(flow_panel(read_image(pair.first), flow, max_flow=scale, arrows=arrows), pair.shown_at)
    return videos.paths
