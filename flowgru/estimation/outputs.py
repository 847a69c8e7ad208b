"""Where results go: nothing is overwritten unasked and nothing lands elsewhere, and both are known before any work."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from flowgru.config.estimation import VIDEO, VIDEO_SUFFIXES, EstimateSettings
from flowgru.data.formats.flow_formats import FLOW_FORMATS
from flowgru.data.formats.pillow import PICTURE_SUFFIXES
from flowgru.data.video.frames import FrameSource
from flowgru.data.video.sampling import ROUNDING
from flowgru.errors import InputFileError, RequestError
from flowgru.estimation.earlier_run import require_same
from flowgru.estimation.file_names import OF_THE_RUN, SUMMARY, clip_folders, files_of_pair, is_video
from flowgru.estimation.journal import Journal
from flowgru.estimation.reads import Reads
from flowgru.files.atomic import refuse_to_replace, write_file
from flowgru.files.json_text import json_text
from flowgru.files.own_folders import refuse_file, refuse_link
from flowgru.version import VERSION


@dataclass
class ClipReport:
    """What became of one clip."""

    clip: str
    folder: str
    problems: list[str] = field(default_factory=list)
    """One line for whatever could not be read."""
    seconds: float = 0.0
    """Seconds for reading, computing and writing the flows; without the video."""
    colour_scale: float | None = None
    """Length in pixels of the strongest colour of the video."""
    arrows: str | None = None
    """How far apart the arrows of the video are, and how many times as long as the flow."""
    flows: list[dict[str, Any]] = field(default_factory=list)
    """Name, time stamp in seconds, mean and maximum in pixels, refinements, whether damaged data went in, where the
    refinement began (of the backward flow, too), and seconds.

    Mean and maximum are None where the flow is not finite everywhere.
    """


class Place:
    """Where the results of some inputs go, and what an earlier run of the same command has left there."""

    def __init__(self, sources: Sequence[FrameSource], settings: EstimateSettings) -> None:
        """RequestError where they may not go there; nothing is written yet."""
        self.root = Path(settings.output)
        self.extension = FLOW_FORMATS[settings.format].suffix
        self.video = settings.video_name or VIDEO
        """The video of each clip, if one is asked for."""
        self.makes_videos = settings.video_name is not None
        self.names = [source.name for source in sources]
        self.folders = clip_folders(self.root, self.names)
        self.endings = ("_backward", "_occlusion") * settings.backward + ("_confidence",) * settings.confidence
        self.reads = Reads(sources, settings)
        inputs = self.reads.files
        _refuse_places(self.root, self.folders)
        self.request = _request(self.reads, settings)
        self.journal = Journal(self.root, self.folders)
        self.earlier = self.journal.earlier
        if settings.overwrite:
            self.journal.forget()
        _refuse_discarded(self.journal.discarded, inputs)
        require_same(self.earlier, self.request)
        animated = settings.video_name is not None and Path(self.video).suffix.lower() in PICTURE_SUFFIXES
        pictures = bool(self.endings) or self.extension == ".png" or animated
        for name, folder in zip(["", *self.names], [self.root, *self.folders], strict=True):
            _refuse_inputs(folder, self.video, inputs, pictures=pictures)
            if name or folder not in self.folders:
                self._refuse_others(name, folder)
        _refuse_initial_flows(self.folders, self.reads)
        for name, folder in zip(self.names, self.folders, strict=True):
            self._keep_whole(name, folder)

    @property
    def finished(self) -> bool:
        """Whether an earlier run has written everything."""
        return self.earlier.finished and set(self.names) == set(self.earlier.done)

    @property
    def may_replace_summary(self) -> bool:
        """Whether a summary that is there is an earlier run's own."""
        return self.earlier.replaces or self.earlier.request is not None

    def has_results(self) -> bool:
        """Whether there are results, of whichever run."""
        return any(self._results(folder) for folder in {self.root, *self.folders} if folder.is_dir())

    def files_of(self, folder: Path, name: str) -> list[Path]:
        """The files of one pair."""
        return files_of_pair(folder, name, self.request)

    def begins(self, clip: str, folder: Path, name: str, *, is_video: bool = False) -> bool:
        """Notes that the files of a pair, or a video, are about to be written; whether they may replace any.

        RequestError where one is there that is not an earlier run's own: it is not noted, so no later run takes it for one.
        """
        overwrite = self.earlier.may_replace(clip, name)
        if not overwrite:
            for path in [folder / name] if is_video else self.files_of(folder, name):
                refuse_to_replace(path, overwrite=False)
        self.journal.writes(clip, name)
        return overwrite

    def _results(self, folder: Path) -> list[Path]:
        """The files in a folder that an estimation could have written."""
        names = (SUMMARY, VIDEO, self.video)
        return sorted(
            file
            for file in folder.iterdir()
            if not file.name.startswith(".")
            and file.name not in OF_THE_RUN
            and (
                file.suffix == self.extension
                or file.name in names
                or (self.makes_videos and is_video(file.name, self.video))
            )
        )

    def _refuse_others(self, clip: str, folder: Path) -> None:
        """RequestError where the folder holds results that are not those of the earlier run of this command."""
        if self.earlier.replaces or not folder.is_dir():
            return
        begun = self.earlier.begun.get(clip, set())
        ours = {path.name for name in begun for path in self.files_of(folder, name)}
        ours |= {SUMMARY} if self.earlier.request is not None else set()
        found = [
            file
            for file in self._results(folder)
            if file.name not in ours and not (file.suffix.lower() in VIDEO_SUFFIXES and file.name in begun)
        ]
        if found:
            more = f" and {len(found) - 1} more results" if len(found) > 1 else ""
            raise RequestError(f"{folder} already holds {found[0].name}{more}: give --overwrite or another --output")

    def _keep_whole(self, clip: str, folder: Path) -> None:
        """Forgets of the earlier run's flows those from the first on whose files are not there any more."""
        flows = self.earlier.flows.get(clip, [])
        there = (all(path.is_file() for path in self.files_of(folder, flow["name"])) for flow in flows)
        num_whole = sum(takewhile(bool, there))
        with_video = self.video in self.earlier.begun.get(clip, ()) and clip in self.earlier.done
        lost = with_video and self.earlier.done[clip].get("colour_scale") and not (folder / self.video).is_file()
        if num_whole < len(flows) or lost:
            self.earlier.cut(clip, num_whole)
            self.earlier.finished = False


_FOR_THE_RUN_ALONE = ("output", "overwrite", "on_error", "overlap", "cuda_graph")
"""Settings on which no result depends."""


def _request(reads: Reads, settings: EstimateSettings) -> dict[str, Any]:
    """What a run is asked for, as far as its results depend on it, with what tells the files it reads from others."""
    request = {key: value for key, value in asdict(settings).items() if key not in _FOR_THE_RUN_ALONE}
    return {"flowgru": VERSION, "inputs": list(reads.frames), **request, **reads.noted(settings.model)}


def _refuse_places(root: Path, folders: Sequence[Path]) -> None:
    """RequestError where a folder is a file, or a link that leads out of the output folder."""
    for folder in [root, *folders]:
        refuse_file(folder)
        refuse_link(folder, root)


def _refuse_inputs(folder: Path, video_name: str, inputs: Sequence[Path], *, pictures: bool) -> None:
    """RequestError for a folder of input pictures, where results that are `pictures` could replace or join them."""
    of_pictures = {path.parent for path in inputs if path.suffix.lower() in PICTURE_SUFFIXES}
    if pictures and folder.resolve() in {path.resolve() for path in of_pictures}:
        raise RequestError(f"results in {folder} could replace the input pictures there: name another --output")
    video = folder / video_name
    if video.exists() and any(path.exists() and path.samefile(video) for path in inputs):
        raise RequestError(f"results in {folder} could replace the input {video}: name another --output")


def _refuse_initial_flows(folders: Sequence[Path], reads: Reads) -> None:
    """RequestError where results could replace, or join, the initial flows that are read."""
    read = {given.folder.resolve() for given in reads.flow_folders.values()}
    if shared := next((folder for folder in folders if folder.resolve() in read), None):
        raise RequestError(f"results in {shared} could replace the initial flows there: name another --output")


def _refuse_discarded(files: Sequence[Path], inputs: Sequence[Path]) -> None:
    """RequestError where a file that beginning anew takes away is an input."""
    read = {path.resolve() for path in inputs}
    if taken := next((path for path in files if path.resolve() in read), None):
        raise RequestError(f"--overwrite takes {taken} away, which is an input: name another --output")


def refuse_clashing_names(source: FrameSource, endings: Sequence[str], stride: int = 1) -> None:
    """RequestError where the flow of one picture would have the name of another one's result with one of the endings.

    source: a clip, whose results lie in one folder. The last of every stride-th picture has no flow.
    """
    named = dict([*zip(source.frame_names, source.paths, strict=False)][::stride][:-1])
    for name, path in named.items():
        for ending in endings:
            if (other := named.get(f"{name}{ending}")) is not None:
                raise RequestError(
                    f"the results of {path.name} and {other.name} would have one name: rename {other.name}"
                )


def refuse_still_picture(sources: Sequence[FrameSource], settings: EstimateSettings) -> None:
    """RequestError where an animated picture is asked for, and each clip is known to give one flow: it would stand still."""
    name = settings.video_name
    if name is None or Path(name).suffix.lower() not in PICTURE_SUFFIXES:
        return
    if all(expected_flows(source, settings) == 1 for source in sources):
        raise RequestError(
            f"--video {name}: {sources[0].name} gives one flow, and an animated picture shows two at least; leave --video "
            "out: flowgru view makes a picture of a flow file"
        )


def expected_flows(source: FrameSource, settings: EstimateSettings) -> int | None:
    """How many flows a clip of even times gives, see sampled; None where it does not say its frames, or cannot be read."""
    try:
        num_frames = source.expected_frames
        if num_frames and settings.fps is not None and (rate := source.frame_rate):
            num_frames = min(num_frames, math.floor(((num_frames - 1) / rate + ROUNDING) * settings.fps) + 1)
    except InputFileError:
        return None
    return None if num_frames is None else -(-num_frames // settings.stride) - 1


def write_summary(root: Path, summary: dict[str, Any], *, overwrite: bool) -> None:
    """Writes summary.json into the output folder."""
    write_file(root / SUMMARY, json_text(summary) + "\n", overwrite)
