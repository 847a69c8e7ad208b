"""The journal of an estimation: what was asked for, and which flows are written, so that the same command goes on.

    {"request": {...}, "replaces": false}       the first line: what was asked for
    {"clip": "walk", "writes": "frame_1"}       before the files of a pair are written
    {"clip": "walk", "flow": {...}}             after, as summary.json will say it
    {"clip": "walk", "done": {...}}             a clip without problems, with its video

The journal is gone once summary.json names all files, and so says the same.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flowgru.estimation.earlier_run import MAX_BYTES, EarlierRun
from flowgru.estimation.file_names import CARRIED, JOURNAL, LOCK
from flowgru.files.line_journal import LineJournal
from flowgru.files.own_folders import remove_files


class Journal:
    """The journal of one run: what an earlier run of the same command has written, and what this one adds."""

    def __init__(self, folder: Path, folders: Iterable[Path] = ()) -> None:
        """folders: where the results of each clip go, and what it hands on to its next pair."""
        self.discarded: list[Path] = []
        """Files that an earlier run lists, and that go once this run, which begins anew, writes its first ones."""
        self._written: set[str] = set()
        """Clips of which this run has written something."""
        self._lines = LineJournal(
            folder / JOURNAL, folder / LOCK, max_bytes=MAX_BYTES, beside=[place / CARRIED for place in folders]
        )
        self.earlier = EarlierRun(folder, self._lines.read())

    def forget(self) -> None:
        """Begins anew: of the earlier run nothing is taken as written, and its files go once there are new ones."""
        self.discarded = self.earlier.listed()
        self.earlier.forget()

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
        # It may have begun with frames that are gone since.
        if not self.earlier.flows.get(clip) and clip not in self._written:
            remove_files(self.earlier.listed(clip))
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
        first = {"request": self._asked, "replaces": self.earlier.replaces}
        self._lines.begin([first, *self.earlier.lines()])
