"""How a clip's files get their final names: whole, and at once; see the protocol in flowgru/corpus/__init__.py."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from flowgru.errors import MachineError, RequestError
from flowgru.files.atomic import TEMPORARY, flush
from flowgru.files.own_folders import OF_THE_DISK, refuse_link

UNFINISHED = ".unfinished"
PARTS = ".parts"
PART = "part.tar"

SHARDS = "shards"
"""The kind of results whose clips wait as parts until a shard is made of them, and the folder of the shards."""

FLUSHED_AT_ONCE = 16
"""Files of a clip that are flushed to the disk at a time."""

FILES_OF_A_TURN = 1024
"""Files of a clip that the threads which flush them are given at a time."""


def final_place(root: Path, kind: str, clip: str) -> Path:
    """The folder of a clip's results of one kind in the end, or until a shard is made of them."""
    return root / (PARTS if kind == SHARDS else kind) / clip


def waiting_parts(root: Path) -> list[tuple[str, Path]]:
    """The parts that wait for a shard, by their clips' ids."""
    found = sorted(path for path in (root / PARTS).rglob(PART) if path.is_file())
    return [(path.parent.relative_to(root / PARTS).as_posix(), path) for path in found]


def remove_part(root: Path, clip: str) -> None:
    """Takes away a part that is in a shard."""
    refuse_link(final_place(root, SHARDS, clip), root)
    shutil.rmtree(final_place(root, SHARDS, clip), ignore_errors=True)


class Written(NamedTuple):
    """What the files of a folder are."""

    files: int
    bytes: int


class DiskRefused(MachineError):
    """The disk refuses to be written: no clip can be done, and the run must stop."""


@contextmanager
def refusing(folder: Path) -> Iterator[None]:
    """DiskRefused for whatever the disk refuses inside."""
    try:
        yield
    except DiskRefused:
        raise
    except (OSError, MachineError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError) or cause.errno is None:  # an encoder's, of what it was given
            raise
        raise DiskRefused(f"cannot write into {folder}: {cause.strerror or cause}") from error


class StagedClip:
    """The folder in which one attempt at a clip writes, until its files are moved to their final names.

    It stays where the process dies, which tells the driver how often that has happened to the clip.
    """

    def __init__(self, root: Path, run: str, number: int) -> None:
        self.root = root
        self.folder = root / UNFINISHED / run / f"{number}-{secrets.token_hex(4)}"
        with refusing(root):
            self.folder.mkdir()  # whose parent is not there any more where another driver has taken over

    def begin(self, kind: str) -> Path:
        """A new folder for the files of one kind."""
        folder = self.folder / kind
        with refusing(self.root):
            folder.mkdir()
        return folder

    def move(self, kind: str, final: Path) -> None:
        """Moves a folder, or a file, of this clip to its final name, durably; what a killed run has left there goes.

        RequestError where something stands there that no run has left.
        """
        refuse_link(final.parent, self.root)  # through which the results of somebody else would be moved
        _refuse_foreign(final, self.folder / kind)
        with refusing(self.root):
            staged = self.folder / kind
            flush_all(staged)
            final.parent.mkdir(parents=True, exist_ok=True)
            if final.is_dir():
                os.replace(final, self.folder / f"old-{kind}")
            os.replace(staged, final)
            flush(final.parent)

    def remove(self) -> None:
        """Takes the folder away; what is not moved yet is gone."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _refuse_foreign(final: Path, staged: Path) -> None:
    """RequestError where the place of a folder holds something else than the files that come there."""
    there = next((place for place in (final, *final.parents) if os.path.lexists(place)), None)
    if there is not None and not there.is_dir():
        raise RequestError(f"{there} is a file, and the results of a clip go there: move it")
    if there != final or not staged.is_dir():
        return
    ours = {path.name for path in staged.iterdir()}
    for path in sorted(final.iterdir()):
        if path.name not in ours and not any(fnmatch(path.name, pattern) for pattern in OF_THE_DISK):
            raise RequestError(f"{path} is in the place of a clip's results, and is none of them: move it")


def flush_all(path: Path) -> None:
    """Makes a file, or a folder of files, outlive a power cut. OSError where the disk refuses."""
    if path.is_dir():
        # A disk that takes many files at once needs little more time than for one.
        with ThreadPoolExecutor(max_workers=FLUSHED_AT_ONCE) as pool, os.scandir(path) as entries:
            # A pool is given as many as it can hold in little memory: a clip may have any number of files.
            while some := [*islice(entries, FILES_OF_A_TURN)]:
                for _ in pool.map(flush, some):
                    pass
    flush(path)


def measured(folder: Path) -> Written:
    """Number and size of the files of a folder, but for hidden ones; none where there is no folder."""
    sizes = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        shown = (entry for entry in entries if not entry.name.startswith("."))  # systems put such files everywhere
        sizes = [entry.stat(follow_symlinks=False).st_size for entry in shown]
    return Written(len(sizes), sum(sizes))


def add_files(digest: "hashlib._Hash", folder: Path) -> None:
    """Adds the name and the content of every file of a folder to a digest, in the order of their names."""
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{folder.name}/{path.name} {content}\n".encode("utf-8", "surrogateescape"))


def begin_run(root: Path) -> str:
    """A new run's folder below .unfinished, and its name; those of earlier runs are gone. MachineError if it cannot be."""
    with refusing(root):
        unfinished = root / UNFINISHED
        unfinished.mkdir(exist_ok=True)
        run = secrets.token_hex(6)
        _remove_all(unfinished)
        for left in root.glob(f"{TEMPORARY}*"):  # of the tables
            left.unlink()
        (unfinished / run).mkdir()
        return run


def _remove_all(unfinished: Path) -> None:
    """Takes away what runs have left; at once, so that a worker that still writes there finds no folder to move."""
    for left in [*unfinished.iterdir()]:
        gone = unfinished / f"gone-{secrets.token_hex(4)}"
        os.replace(left, gone)
        shutil.rmtree(gone, ignore_errors=True)


def num_deaths(root: Path, run: str, number: int) -> int:
    """How often a process has died at a clip of this run."""
    return sum(1 for _ in (root / UNFINISHED / run).glob(f"{number}-*"))


def end_run(root: Path) -> None:
    """Takes what a run has left below .unfinished, and empty folders below .parts."""
    with suppress(OSError):
        _remove_all(root / UNFINISHED)
    shutil.rmtree(root / UNFINISHED, ignore_errors=True)
    for folder, _, _ in os.walk(root / PARTS, topdown=False):
        with suppress(OSError):  # which holds a part
            os.rmdir(folder)
