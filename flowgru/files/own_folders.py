"""Folders that a command writes into: they stay inside its output folder, and stay there while it works."""

import os
from collections.abc import Iterable
from pathlib import Path

from flowgru.errors import MachineError, RequestError


def refuse_link(folder: Path, root: Path) -> None:
    """RequestError where a folder, which lies below `root` by its name, is reached by a link that leads out of `root`."""
    if not folder.resolve().is_relative_to(root.resolve()):
        raise RequestError(f"{folder} is a link to {folder.resolve()}, outside --output {root}: remove the link")


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
