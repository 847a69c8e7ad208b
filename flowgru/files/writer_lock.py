"""One writer at a time in a run's folder."""

import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from flowgru.errors import MachineError

ORPHAN_SECONDS = 10.0
"""How long the loader workers of a killed writer may outlive it, and hold its lock."""


class WriterLock:
    """The lock on the file `path`, in which process and host of the writer stand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path)

    @property
    def held(self) -> bool:
        """Whether this object has the lock."""
        return self._lock.is_locked

    def acquire(self) -> None:
        """Takes it, also from a dead process. MachineError where a living one has it, OSError where the disk refuses."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            self._acquire_from_dead()
        # filelock's own format, which it reads where the file system has no locks and the file's existence is the lock.
        self.path.write_text(f"{os.getpid()}\n{socket.gethostname()}\n")

    def release(self) -> None:
        """Gives it back; the file stays."""
        self._lock.release()

    def _acquire_from_dead(self) -> None:
        pid, host = self._owner()
        alive = host != socket.gethostname() or is_alive(pid)
        try:
            self._lock.acquire(timeout=0 if alive else ORPHAN_SECONDS)
        except Timeout:
            pid, host = self._owner()
            raise MachineError(
                f"{self.path.parent} is being written by process {pid or 'unknown'} on {host or 'an unknown host'}: "
                "wait for it, or name another folder"
            ) from None

    def _owner(self) -> tuple[int, str]:
        """Process and host that have the lock; (0, "") where the file does not say."""
        try:
            pid, host = self.path.read_text().split()[:2]
            return int(pid), host
        except (OSError, ValueError):
            return 0, ""


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine."""
    if os.name == "nt":  # Windows has no signal that only asks
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
