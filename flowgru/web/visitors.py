"""What visitors do on the page, without the page: each has a folder, and every error becomes the line of the command."""

import hashlib
import os
import secrets
import shutil
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from flowgru.console import warn
from flowgru.errors import FlowgruError, RequestError, lacks_memory
from flowgru.web.downloads import made
from flowgru.web.looking import Look
from flowgru.web.settings import WebSettings
from flowgru.web.work import Counted, EstimatedClip, Models, Wishes, estimated

SECONDS_FOR_A_PAIR = 20.0
"""For which the last pair is waited for when the server ends."""


class Visitors:
    """The folders of all who have the page open."""

    def __init__(self, root: Path, settings: WebSettings) -> None:
        self._root, self._settings = root, settings
        self._step = threading.Lock()
        """Held while a pair is estimated and written."""
        self._running: dict[str, object] = {}
        """What tells the newest estimation of each page from those before it, as long as it goes on and the page is open."""
        self._newest: dict[str, Path] = {}
        """The folder of that estimation, as long as the page is open."""
        self.models = Models(settings)

    def folder(self, session: str) -> Path:
        """The folder of one page that is open; the session's name, which a browser chooses, is no path."""
        return self._root / hashlib.sha256(session.encode("utf-8", "replace")).hexdigest()[:32]

    def end(self) -> None:
        """Lets the pair that is being estimated be the last one, so that nothing is written after it."""
        self._step.acquire(timeout=SECONDS_FOR_A_PAIR)

    def leave(self, session: str) -> None:
        """Removes what was estimated for a page that is closed, after the pair that is being estimated for it."""
        self._running.pop(session, None)
        self._newest.pop(session, None)
        with self._step:
            shutil.rmtree(self.folder(session), ignore_errors=True)

    def estimate(
        self, session: str, inputs: Sequence[str | None], wishes: Wishes
    ) -> Iterator[Counted | EstimatedClip | str]:
        """What estimated gives; the line of an error ends it."""
        paths = [Path(given) for given in inputs if given]
        folders = [path.parent for path in paths]
        self._running[session] = own = object()
        try:
            if len(paths) < len(inputs):
                missing = "two pictures are needed: one is missing" if paths else "nothing was given yet"
                raise RequestError(f"{missing}; drop a file above, or take it with the camera")
            # A folder of its own: a file may still be made of what was estimated before.
            folder = self.folder(session) / secrets.token_hex(4)
            with self._step:
                if self._running.get(session) is not own:  # stopped, or begun anew, while another pair was estimated
                    return
                self._newest[session] = folder
                shutil.rmtree(folder.parent, ignore_errors=True)
            steps = estimated(paths, wishes, self.models, self._settings, folder)
            while True:
                with self._step:
                    step = next(steps, None) if self._running.get(session) is own else None
                if step is None:
                    return
                if isinstance(step, EstimatedClip):
                    step.notes = [_without(folders, note) for note in step.notes]
                yield step
        except Exception as error:
            yield error_line(error, folders)
        finally:
            if self._running.get(session) is own:
                del self._running[session]

    def make(self, session: str, clip: EstimatedClip, kind: str, look: Look) -> Path:
        """The file to take home, see made. RequestError where another estimation has taken the place of the clip."""
        try:
            path = made(clip, kind, look)
        except (FlowgruError, OSError):
            if self._newest.get(session) == clip.folder:
                raise
        else:
            if self._newest.get(session) == clip.folder:
                return path
        shutil.rmtree(clip.folder, ignore_errors=True)  # where something was written while it was removed
        raise RequestError("the flow is estimated anew: make the file of the new one when it is there")


def error_line(error: Exception, folders: Sequence[Path] = ()) -> str:
    """The line of an error, with names of files instead of paths in these folders; a bug is told to the server too."""
    if isinstance(error, FlowgruError):
        text = str(error)
    elif lacks_memory(error):
        text = "not enough memory: compute at a smaller size"
    elif isinstance(error, OSError):
        text = f"{error.strerror or type(error).__name__}"
    else:
        traceback.print_exc(file=sys.stderr)
        text = f"{type(error).__name__}: {error} (a bug)"
    line = f"error: {' '.join(_without(folders, text).split())}"
    warn(line)
    return line


def _without(folders: Sequence[Path], text: str) -> str:
    """The text without the folders of the server."""
    for folder in folders:
        text = text.replace(f"{folder}{os.sep}", "")
    return text
