"""Folders that a command writes into: they are its own, stay inside its output folder, and stay there while it works."""

import contextlib
import os
import tempfile
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from flowgru.errors import MachineError, RequestError
from flowgru.files.atomic import TEMPORARY

OF_THE_DISK = (f"{TEMPORARY}*", "lost+found", ".nfs*", ".DS_Store", "._*")
"""Names in a folder that nobody has put there: what a killed process left of a file, and what a system keeps."""


def refuse_foreign(folder: Path, what: str, record: str, before_record: Collection[str]) -> None:
    """RequestError where a folder that is not empty is not the folder of `what`: the file `record` is not in it.

    before_record: patterns of what may be there before the record is, because a run is killed then.
    """
    refuse_file(folder)
    if (folder / record).exists() or not folder.exists():
        return
    allowed = (*OF_THE_DISK, *before_record)
    found = (name for name in os.listdir(folder) if not any(fnmatch(name, pattern) for pattern in allowed))
    if first := min(found, default=None):
        raise RequestError(
            f"{folder} holds {first} and no {record}: it is not the folder of {what}, name another --output"
        )


def refuse_link(folder: Path, root: Path) -> None:
    """RequestError where a folder, which lies below `root` by its name, is reached by a link that leads out of `root`."""
    if not folder.resolve().is_relative_to(root.resolve()):
        raise RequestError(f"{folder} is a link to {folder.resolve()}, outside --output {root}: remove the link")


def refuse_file(folder: Path, option: str = "--output", file: Path | None = None) -> None:
    """RequestError where a file stands at the name of a folder that an option names, or of one above it.

    file: what is to lie in the folder, where the option names that.
    """
    there = next((place for place in (folder, *folder.absolute().parents) if os.path.lexists(place)), None)
    if there is not None and there.exists() and not there.is_dir():
        named, kind = (folder, "a folder") if file is None else (file, "another file")
        within = "" if there == named else f" is to lie in {there}, which"
        raise RequestError(f"{option} {named}{within} is a file: name {kind}")


def require_writable(path: Path, option: str = "--output") -> None:
    """MachineError where the folder of a file that an option names takes no file: to be known before long work is done for
    it. The folder is made.

    RequestError where a file stands at its name.
    """
    refuse_file(path.parent, option)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror or error}; name another {option}") from None


def make_folders(folders: Sequence[Path]) -> None:
    """Makes the folders and proves that they can be written. MachineError where the machine does not let us."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            reason = error.strerror or str(error)
            raise MachineError(f"cannot write into {folder} ({reason}): name another --output") from None


def remove_files(files: Iterable[Path]) -> None:
    """Takes away results of an earlier run, which would be taken for those of this one. MachineError where that fails."""
    for path in files:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise MachineError(f"cannot remove {path}: {error.strerror or error}") from error


def remove_empty(folders: Sequence[Path]) -> None:
    """Takes back folders in which nothing was written."""
    for folder in reversed(folders):
        with contextlib.suppress(OSError):
            folder.rmdir()


class KeptFolders:
    """Folders that must stay while a command writes into them; one that was removed would lose what was written."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._identities = {folder: _identity(folder) for folder in folders}

    def check(self) -> None:
        """MachineError where one of them was removed, or another one put in its place."""
        for folder, identity in self._identities.items():
            if identity is None or _identity(folder) != identity:
                raise MachineError(f"{folder} was removed while results were written into it: run the command again")


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino
