"""The one door through which files are written: whole or not at all, and never through a link."""

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from flowgru.errors import MachineError, RequestError
from flowgru.files.writer_lock import is_alive

TEMPORARY = ".flowgru-"
"""What the name of a file begins with that is being written; a killed process leaves it."""


@contextmanager
def atomic_write(path: str | Path, overwrite: bool, *, durable: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there once the body has ended without an exception.

    Whatever interrupts the body, `path` is as it was before and the temporary file is gone (a kill -9 leaves a hidden
    file `.flowgru-*`). A symbolic link at `path` is replaced, never written through. Missing folders are made.
    `durable` flushes to the disk, for files that must outlive a power cut.
    RequestError if `path` is a folder, or exists without `overwrite`; MachineError if the disk refuses. An error of
    another file, which the body could not read, is raised as it is.
    """
    path = Path(path)
    try:
        refuse_to_replace(path, overwrite)
        # The suffix stays, because encoders choose the format by it.
        temporary = path.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            refuse_to_replace(path, overwrite)
            if durable:
                flush(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        if durable:
            flush(path.parent)
    except BrokenPipeError:
        raise
    except OSError as error:
        if not _is_of_writing(error, path):
            raise
        raise MachineError(f"cannot write {path}: {error.strerror or error}") from error


def _is_of_writing(error: OSError, path: Path) -> bool:
    """Whether an error is of a file that is being written, or of its folders; one that names no file is taken for that."""
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return True
    path, named = (Path(os.path.abspath(os.fsdecode(one))) for one in (path, error.filename))
    return named in (path, *path.parents) or (named.parent == path.parent and named.name.startswith(TEMPORARY))


def write_file(path: str | Path, content: bytes | str, overwrite: bool, *, durable: bool = False) -> None:
    """Write a whole file, text in UTF-8; see atomic_write."""
    # A name that is no UTF-8 is written with escapes.
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with atomic_write(path, overwrite, durable=durable) as temporary:
        temporary.write_bytes(data)


def open_to_append(path: Path) -> TextIO:
    """A text file, made where there is none, to whose end lines are added. OSError as of descriptor_to_append."""
    return os.fdopen(descriptor_to_append(path), "a", encoding="utf-8")


def descriptor_to_append(path: Path) -> int:
    """The descriptor of a file, made where there is none, that is written at its end.

    OSError where the disk refuses, and where a link, a pipe or a device stands at `path`.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # Opening a pipe that nobody reads would wait for ever.
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link", str(path))
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return descriptor


def remove_leftovers(folder: str | Path) -> None:
    """Removes the temporary files that processes which were killed have left in a folder.

    The process that calls it has none there: a file of its own number is that of an earlier process.
    """
    for path in Path(folder).glob(".flowgru-*"):
        pid = re.match(r"\.flowgru-(\d+)-[0-9a-f]{8}", path.name)
        if pid is None or path.is_dir() or (int(pid[1]) != os.getpid() and is_alive(int(pid[1]))):
            continue
        with suppress(OSError):
            path.unlink()


def refuse_to_replace(path: Path, overwrite: bool) -> None:
    """RequestError where a file may not be written: what is there is no file or, without `overwrite`, anything."""
    if path.is_dir() and not path.is_symlink():
        raise RequestError(f"cannot write {path}: it is a folder, a file name was expected")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise RequestError(f"cannot write {path}: it is a device or a pipe, a file name was expected")
    if not overwrite and os.path.lexists(path):
        raise RequestError(
            f"{path} exists already: choose another name, or give --overwrite (overwrite=True in Python)"
        )


def flush(path: str | os.PathLike[str]) -> None:
    """What a file holds, or the names in a folder where the system can flush one, outlives a power cut.

    OSError where the disk refuses.
    """
    is_folder = os.path.isdir(path)
    if is_folder and os.name == "nt":  # Windows cannot open one
        return
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)  # Windows flushes what may be written to
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
