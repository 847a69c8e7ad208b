"""What an earlier run has left in an output folder, as its journal or its summary says it."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from flowgru.data.formats.flow_formats import FLOW_FORMATS
from flowgru.errors import RequestError, value_text
from flowgru.estimation.file_names import (
    CARRIED,
    SUMMARY,
    files_of_pair,
    folders_of_request,
    is_file_name,
    is_video,
    video_of_request,
)
from flowgru.files.json_text import parse_json
from flowgru.files.line_journal import own_text

SAID_OF_CLIP = ("seconds", "colour_scale", "arrows")
"""What summary.json says of a whole clip that took work."""

FILES_OF_CLIPS = {"files": "files", "initial_flows": "initial flows"}
"""Entries of a request that tell, by clip, the files that are read from others, and what these are called."""

MAX_BYTES = 2**28
"""A journal of a million flows has less."""


class EarlierRun:
    """What an earlier run has left in an output folder, as far as this one takes it for written."""

    def __init__(self, folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
        """lines: of its journal; where there are none, its summary is read."""
        self.folder = folder
        self.request: dict[str, Any] | None = None
        """What it was asked for; None where there was none."""
        self.replaces = False
        """Whether it, or this run, may replace whatever lay in the folder."""
        self.finished = False
        """Whether it has come to its end."""
        self.flows: dict[str, list[dict[str, Any]]] = {}
        """By clip, what was said of each flow that is written."""
        self.done: dict[str, dict[str, Any]] = {}
        """By clip, what was said of those that were finished."""
        self.begun: dict[str, set[str]] = {}
        """By clip, the names of the pairs, and the videos, whose files it may have written."""
        self.recorded: dict[str, set[str]] = {}
        """Those of `begun` that its record names: a video beside the first may be a file of the user's own."""
        if not self._read_lines(lines):
            self._read_summary()

    @property
    def num_flows(self) -> int:
        """How many flows it has written."""
        return sum(map(len, self.flows.values()))

    @property
    def seconds(self) -> float:
        """What they took."""
        unfinished = (flow["seconds"] for clip, said in self.flows.items() if clip not in self.done for flow in said)
        return float(sum(unfinished) + sum(said["seconds"] for said in self.done.values()))

    def forget(self) -> None:
        """Nothing of it is taken as written, and whatever lies there may be replaced."""
        self.request, self.finished, self.replaces = None, False, True
        self.flows, self.done, self.begun, self.recorded = {}, {}, {}, {}

    def cut(self, clip: str, num_flows: int) -> None:
        """Of a clip, only so many flows are to be taken as written."""
        self.flows[clip] = self.flows.get(clip, [])[:num_flows]
        self.done.pop(clip, None)

    def may_replace(self, clip: str, name: str) -> bool:
        """Whether the files of that pair, or that video, are its own, or all that lies there may be replaced."""
        return self.replaces or name in self.begun.get(clip, ())

    def lines(self) -> list[dict[str, Any]]:
        """What a journal says of it, but for the first line."""
        said: list[dict[str, Any]] = []
        for clip, names in self.begun.items():
            said += [{"clip": clip, "writes": name} for name in sorted(names)]
        for clip, flows in self.flows.items():
            said += [{"clip": clip, "flow": flow} for flow in flows]
        return said + [{"clip": clip, "done": done} for clip, done in self.done.items()]

    def listed(self, only: str | None = None) -> list[Path]:
        """Its files in the output folder, the summary the last, or those of a single clip."""
        if self.request is None or self.request.get("format") not in FLOW_FORMATS:
            return []
        found, video, root = [], video_of_request(self.request), self.folder.resolve()
        for clip, folder in folders_of_request(self.folder, self.request).items():
            if only not in (None, clip) or not folder.resolve().is_relative_to(root):
                continue
            for name in filter(is_file_name, sorted(self.recorded.get(clip, ()))):
                is_of_video = video is not None and is_video(name, video)
                found += [folder / name] if is_of_video else files_of_pair(folder, name, self.request)
            found.append(folder / CARRIED)
        found += [self.folder / SUMMARY] if only is None else []
        return [path for path in found if path.is_file() or path.is_symlink()]

    def _read_lines(self, lines: Sequence[Mapping[str, Any]]) -> bool:
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
            folders = folders_of_request(self.folder, request)
            if clips.keys() - folders.keys():
                return
            self.flows = {name: clip["flows"] for name, clip in clips.items()}
            whole = {name: clip for name, clip in clips.items() if not clip["problems"]}
            self.done = {name: {key: clip[key] for key in SAID_OF_CLIP} for name, clip in whole.items()}
        except (ValueError, KeyError, TypeError):
            return
        first = video_of_request(request)
        videos: dict[str, set[str]] = {name: set() for name in clips}
        for name, clip in clips.items():
            if first is not None and clip.get("colour_scale") and folders[name].is_dir():
                videos[name] = {first, *(path.name for path in folders[name].iterdir() if is_video(path.name, first))}
        names = {name: {flow["name"] for flow in said} for name, said in self.flows.items()}
        self.begun = {name: videos[name] | names[name] for name in names}
        self.recorded = {name: names[name] | (videos[name] & {first}) for name in names}
        self.request, self.finished = request, len(self.done) == len(clips)


def require_same(earlier: EarlierRun, request: Mapping[str, Any]) -> None:
    """RequestError where an earlier run in the folder was asked for something else.

    A clip whose files, or initial flows, have changed since begins anew; RequestError where it was finished. What the record
    of an earlier version does not note of files that are read is taken for unchanged.
    """
    if earlier.request is None:
        return
    old, new = dict(earlier.request), dict(request)
    of_clips = {entry: (old.pop(entry, None), new.pop(entry)) for entry in FILES_OF_CLIPS}
    if "weights" not in old:
        new.pop("weights", None)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if names:
        shown = "; ".join(f"{name} was {_shown(old.get(name))} and is {_shown(new.get(name))}" for name in names[:3])
        raise RequestError(
            f"{earlier.folder} already holds flows of another request ({shown}): give --overwrite or another --output"
        )
    for entry, (before, now) in of_clips.items():
        if before is None and entry == "initial_flows":
            continue
        for clip, files in now.items():
            if isinstance(before, dict) and before.get(clip) == files:
                continue
            if clip in earlier.done:
                raise RequestError(
                    f"{earlier.folder} already holds the flows of {clip}, whose {FILES_OF_CLIPS[entry]} have changed since: "
                    "give --overwrite or another --output"
                )
            earlier.cut(clip, 0)


def _shown(value: Any) -> str:
    text = " ".join(value_text(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_flow(said: Any) -> bool:
    """Whether it is what summary.json says of one flow."""
    return isinstance(said, dict) and isinstance(said.get("name"), str) and _is_number(said.get("seconds"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
