"""The consecutive pairs of a video or a folder of frames, as a data set whose true flow is not known."""

import glob
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.data import Dataset

from flowgru.data.formats.images import to_tensor
from flowgru.data.sample import FlowSample
from flowgru.data.sets.layouts import DATASETS
from flowgru.data.sets.opening import is_manifest
from flowgru.data.video.frames import Frame, FrameSource, open_frames
from flowgru.data.video.listing import is_picture, is_video


class FramePair(NamedTuple):
    """Two neighbouring frames, named as files are, so that a pair is seen to follow another."""

    name: str
    first: Path
    second: Path
    set: str = ""
    others: tuple[tuple[str, str], ...] = ()


class ClipPairs(Dataset[FlowSample]):
    """The pairs of one clip in their order; `valid` is false everywhere. Frames are decoded anew where a pair is asked for
    that does not follow the last one.

    InputFileError where the clip cannot be read.
    """

    def __init__(self, source: FrameSource) -> None:
        self.name = self.label = source.name
        self._source = source
        self._stream: Iterator[tuple[int, Frame]] = iter(())
        self._held: dict[int, Frame] = {}
        kinds = [(frame.name, frame.segment, frame.image.shape) for frame in source]
        self.problems = list(source.problems)
        """One line for each thing that could not be read."""
        self._places = [place for place, (one, two) in enumerate(pairwise(kinds)) if one[1:] == two[1:]]
        folder = Path(self.label)
        self.pairs = [FramePair(kinds[at][0], folder / kinds[at][0], folder / kinds[at + 1][0]) for at in self._places]
        self.files = list(source.paths)

    @property
    def groups(self) -> list[str]:
        """What a report groups each pair under: the clip."""
        return [self.label] * len(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> FlowSample:
        at = self._places[index]
        first, second = (to_tensor(self._frame(place).image) for place in (at, at + 1))
        size = first.shape[1:]
        return FlowSample(
            first=first,
            second=second,
            flow=torch.zeros(2, *size),
            valid=torch.zeros(size, dtype=torch.bool),
            occlusion=None,
            name=f"{self.label}/{self.pairs[index].name}",
        )

    def _frame(self, place: int) -> Frame:
        if place not in self._held:
            if not self._held or place < max(self._held):
                self._held, self._stream = {}, enumerate(self._source)
            for at, frame in self._stream:
                self._held = {**dict([*self._held.items()][-1:]), at: frame}
                if at == place:
                    break
        return self._held[place]


def is_clip(name: str) -> bool:
    """Whether a word that names data is a video, a folder of frames or a picture, and no benchmark set or manifest.

    What is not there is one where it looks like one: with a slash or a pattern in it, or the ending of a video or picture.
    """
    if name in DATASETS or is_manifest(name):
        return False
    path = Path(name)
    slash = "/" in name or os.sep in name
    return os.path.lexists(name) or slash or glob.has_magic(name) or is_video(path) or is_picture(path)


def open_clips(names: Sequence[str], taken: Sequence[str] = ()) -> list[ClipPairs]:
    """The clips that these words name, as `flowgru estimate` takes them; none is called as something that is `taken`."""
    clips = [ClipPairs(source) for source in open_frames(names)] if names else []
    labels = {*taken}
    for clip in clips:
        while clip.label in labels:
            clip.label += "_clip"
        labels.add(clip.label)
    return clips
