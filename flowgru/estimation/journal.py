"""The journal of an estimation: what was asked for, and which flows are written, so that the same command goes on.

    {"request": {...}, "replaces": false}       the first line: what was asked for
    {"clip": "walk", "writes": "frame_1"}       before the files of a pair are written
    {"clip": "walk", "flow": {...}}             after, as summary.json will say it
    {"clip": "walk", "done": {...}}             a clip without problems, with its video

The journal is gone once summary.json names all files, and so says the same.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from flowgru.config.estimation import VIDEO
from flowgru.data.formats.flow_formats import FLOW_FORMATS
from flowgru.errors import RequestError, value_text
from flowgru.files.json_text import parse_json
from flowgru.files.line_journal import LineJournal, own_text
from flowgru.files.own_folders import remove_files

JOURNAL = "estimate.jsonl"
LOCK = "estimate.lock"
CARRIED = "estimate.carried.npz"
"""What the next pair of a clip goes on with, in the clip's folder: the coarse flow of the last one with --warm-start, and a
network's memory."""
OF_THE_RUN = (JOURNAL, LOCK, CARRIED)
"""Files by which a run goes on; they are no results."""
SUMMARY = "summary.json"
SAID_OF_CLIP = ("seconds", "colour_scale", "arrows")
"""What summary.json says of a whole clip that took work."""

FILES_OF_CLIPS = {"files": "files", "initial_flows": "initial flows"}
"""Entries of a request that tell, by clip, the files that are read from others, and what these are called."""

MAX_BYTES = 2**28
"""A journal of a million flows has less."""


def clip_folders(root: Path, names: Sequence[str]) -> list[Path]:
    """One folder for each clip: the output folder itself for a single clip, else sub-folders named after the clips."""
    return [root] if len(names) == 1 else [root / name for name in names]


def files_of_pair(folder: Path, name: str, request: Mapping[str, Any]) -> list[Path]:
    """The files of one pair that a request asks for: flows, then pictures."""
    suffix = FLOW_FORMATS[request["format"]].suffix
    backward, confidence = bool(request.get("backward")), bool(request.get("confidence"))
    pictures = ["_occlusion"] * backward + ["_confidence"] * confidence
    return [
        *(folder / f"{name}{ending}{suffix}" for ending in ["", *["_backward"] * backward]),
        *(folder / f"{name}{ending}.png" for ending in pictures),
    ]


class Journal:
    """The journal of one run: what an earlier run of the same command has written, and what this one adds."""

    def __init__(self, folder: Path, folders: Iterable[Path] = ()) -> None:
        """folders: where the results of each clip go, and what it hands on to its next pair."""
        self.folder = folder
        self.request: dict[str, Any] | None = None
        """What the earlier run was asked for; None where there was none."""
        self.replaces = False
        """Whether this run, or the earlier one, may replace whatever lay in the folder."""
        self.finished = False
        """Whether the earlier run has come to its end."""
        self.discarded: list[Path] = []
        """Files that an earlier run lists, and that go once this run, which begins anew, writes its first ones."""
        self.flows: dict[str, list[dict[str, Any]]] = {}
        """By clip, what was said of each flow that is written."""
        self.done: dict[str, dict[str, Any]] = {}
        """By clip, what was said of those that were finished."""
        self.begun: dict[str, set[str]] = {}
        """By clip, the names of the pairs, and the videos, whose files the earlier run may have written."""
        self.recorded: dict[str, set[str]] = {}
        """Those of `begun` that the earlier run's record names: a video beside the first may be a file of the user's own."""
        self._written: set[str] = set()
        """Clips of which this run has written something."""
        self._lines = LineJournal(
            folder / JOURNAL, folder / LOCK, max_bytes=MAX_BYTES, beside=[place / CARRIED for place in folders]
        )
        if not self._read_journal():
            self._read_summary()

    @property
    def num_flows(self) -> int:
        """How many flows the earlier run has written."""
        return sum(map(len, self.flows.values()))

    @property
    def seconds(self) -> float:
        """What they took."""
        unfinished = (flow["seconds"] for clip, said in self.flows.items() if clip not in self.done for flow in said)
        return float(sum(unfinished) + sum(said["seconds"] for said in self.done.values()))

    def forget(self) -> None:
        """Begins anew: of the earlier run nothing is taken as written, and its files go once there are new ones."""
        self.discarded = self._listed()
        self.request, self.finished, self.replaces = None, False, True
        self.flows, self.done, self.begun, self.recorded = {}, {}, {}, {}

    def cut(self, clip: str, num_flows: int) -> None:
        """Of a clip, only so many flows are to be taken as written."""
        self.flows[clip] = self.flows.get(clip, [])[:num_flows]
        self.done.pop(clip, None)

    def may_replace(self, clip: str, name: str) -> bool:
        """Whether the files of that pair, or that video, are an earlier run's own."""
        return self.replaces or name in self.begun.get(clip, ())

    def open(self, request: dict[str, Any]) -> None:
        """Takes the folder for this run, and writes what it was asked for and what is done of it.

        Where it begins anew, that is written with its first files: until then all stays as the earlier run has left it.
        MachineError where another process writes there, or the disk refuses.
        """
        self._asked = request
        self._lines.take()
        if not self.discarded:
            self._begin()

    def writes(self, clip: str, name: str) -> None:
        """The files of a pair, or a video, are about to be written."""
        if self.discarded:
            # First the files: where a kill comes between, the record that lists them is still there.
            remove_files(self.discarded)
            self.discarded = []
            self._begin()
        if not self.flows.get(clip) and clip not in self._written:  # it may have begun with frames that are gone since
            remove_files(self._listed(clip))
        self._written.add(clip)
        self._lines.add({"clip": clip, "writes": name})

    def wrote(self, clip: str, flow: Mapping[str, Any]) -> None:
        """The files of a pair are written."""
        self._lines.add({"clip": clip, "flow": flow})

    def ended(self, clip: str, said: Mapping[str, Any]) -> None:
        """A clip is finished."""
        self._lines.add({"clip": clip, "done": said})

    def close(self, *, keep: bool) -> None:
        """Gives the folder back. `keep` the journal for the next run of the same command, or take it away."""
        self._lines.close(keep=keep)

    def _begin(self) -> None:
        lines: list[dict[str, Any]] = [{"request": self._asked, "replaces": self.replaces}]
        for clip, names in self.begun.items():
            lines += [{"clip": clip, "writes": name} for name in sorted(names)]
        for clip, flows in self.flows.items():
            lines += [{"clip": clip, "flow": flow} for flow in flows]
        lines += [{"clip": clip, "done": said} for clip, said in self.done.items()]
        self._lines.begin(lines)

    def _listed(self, only: str | None = None) -> list[Path]:
        """The files of the earlier run in the output folder, its summary the last, or those of a single clip."""
        if self.request is None or self.request.get("format") not in FLOW_FORMATS:
            return []
        found, video, root = [], _video_asked_for(self.request), self.folder.resolve()
        for clip, folder in _places(self.folder, self.request).items():
            if only not in (None, clip) or not folder.resolve().is_relative_to(root):
                continue
            for name in filter(_is_file_name, sorted(self.recorded.get(clip, ()))):
                is_of_video = video is not None and is_video(name, video)
                found += [folder / name] if is_of_video else files_of_pair(folder, name, self.request)
            found.append(folder / CARRIED)
        found += [self.folder / SUMMARY] if only is None else []
        return [path for path in found if path.is_file() or path.is_symlink()]

    def _read_journal(self) -> bool:
        lines = self._lines.read()
        if not lines or not isinstance(lines[0].get("request"), dict):
            return False
        self.request, self.replaces = lines[0]["request"], bool(lines[0].get("replaces"))
        for line in lines[1:]:
            clip = line.get("clip")
            if not isinstance(clip, str):
                continue
            if isinstance(line.get("writes"), str):
                self.begun.setdefault(clip, set()).add(line["writes"])
            if _is_flow(line.get("flow")):
                self.flows.setdefault(clip, []).append(line["flow"])
            if _is_number((line.get("done") or {}).get("seconds")):
                self.done[clip] = line["done"]
        self.recorded = {clip: {*names} for clip, names in self.begun.items()}
        return True

    def _read_summary(self) -> None:
        """Takes a finished run's summary for its journal."""
        text = own_text(self.folder / SUMMARY, MAX_BYTES)
        try:
            summary = parse_json(text)
            request, clips = summary["request"], {clip["clip"]: clip for clip in summary["clips"]}
            sound = all(map(_is_flow, chain(*(clip["flows"] for clip in clips.values()))))
            if not isinstance(request, dict) or not sound:
                return
            # Not every clip that was asked for has come to have flows.
            folders = _places(self.folder, request)
            if clips.keys() - folders.keys():
                return
            self.flows = {name: clip["flows"] for name, clip in clips.items()}
            whole = {name: clip for name, clip in clips.items() if not clip["problems"]}
            self.done = {name: {key: clip[key] for key in SAID_OF_CLIP} for name, clip in whole.items()}
        except (ValueError, KeyError, TypeError):
            return
        first = _video_asked_for(request)
        videos: dict[str, set[str]] = {name: set() for name in clips}
        for name, clip in clips.items():
            if first is not None and clip.get("colour_scale") and folders[name].is_dir():
                videos[name] = {first, *(path.name for path in folders[name].iterdir() if is_video(path.name, first))}
        names = {name: {flow["name"] for flow in said} for name, said in self.flows.items()}
        self.begun = {name: videos[name] | names[name] for name in names}
        self.recorded = {name: names[name] | (videos[name] & {first}) for name in names}
        self.request, self.finished = request, len(self.done) == len(clips)


def video_of_size(video: Path, number: int) -> Path:
    """The file with the frames of a clip's number-th size, from 1 on."""
    return video if number == 1 else video.with_stem(f"{video.stem}_{number}")


def is_video(name: str, first: str) -> bool:
    """Whether it is a name of video_of_size, where that of the first size is `first`."""
    stem, suffix = (re.escape(part) for part in (Path(first).stem, Path(first).suffix))
    return re.fullmatch(rf"{stem}(_([2-9]|[1-9]\d+))?{suffix}", name) is not None


def require_same(journal: Journal, request: Mapping[str, Any]) -> None:
    """RequestError where an earlier run in the folder was asked for something else.

    A clip whose files, or initial flows, have changed since begins anew; RequestError where it was finished. What the record
    of an earlier version does not note of files that are read is taken for unchanged.
    """
    if journal.request is None:
        return
    old, new = dict(journal.request), dict(request)
    of_clips = {entry: (old.pop(entry, None), new.pop(entry)) for entry in FILES_OF_CLIPS}
    if "weights" not in old:
        new.pop("weights", None)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if names:
        shown = "; ".join(f"{name} was {_shown(old.get(name))} and is {_shown(new.get(name))}" for name in names[:3])
        raise RequestError(
            f"{journal.folder} already holds flows of another request ({shown}): give --overwrite or another --output"
        )
    for entry, (before, now) in of_clips.items():
        if before is None and entry == "initial_flows":
            continue
        for clip, files in now.items():
            if isinstance(before, dict) and before.get(clip) == files:
                continue
            if clip in journal.done:
                raise RequestError(
                    f"{journal.folder} already holds the flows of {clip}, whose {FILES_OF_CLIPS[entry]} have changed since: "
                    "give --overwrite or another --output"
                )
            journal.cut(clip, 0)


def _places(root: Path, request: Mapping[str, Any]) -> dict[str, Path]:
    """Where the results of each clip lie that a request asks for; nothing of a request that flowgru has not written."""
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or not all(map(_is_file_name, inputs)):
        return {}
    return dict(zip(inputs, clip_folders(root, inputs), strict=True))


def _video_asked_for(request: Mapping[str, Any]) -> str | None:
    """The name of the video of each clip's first size; None where none was asked for."""
    video = request.get("video")
    if isinstance(video, str):
        return video
    return VIDEO if video or request.get("arrows") else None


def _is_file_name(name: Any) -> bool:
    """Whether it names something in a folder, and leads nowhere else."""
    return isinstance(name, str) and name not in ("", "..") and Path(name).name == name


def _shown(value: Any) -> str:
    text = " ".join(value_text(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_flow(said: Any) -> bool:
    """Whether it is what summary.json says of one flow."""
    return isinstance(said, dict) and isinstance(said.get("name"), str) and _is_number(said.get("seconds"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
