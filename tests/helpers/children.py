"""The processes that a process has started."""

import subprocess
from pathlib import Path


def children(pid: int, words: str = "") -> list[int]:
    """Those of a process, of which there must be one at least; only those in whose command line the words stand."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=True
    ).stdout
    found = [int(line.split()[0]) for line in listed.splitlines() if words in line]
    assert found, f"process {pid} has no child with {words!r}: {listed}"
    return found


def spawned(pid: int) -> list[int]:
    """Those that Python's multiprocessing has started anew."""
    return children(pid, "spawn_main")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
