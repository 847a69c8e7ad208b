"""How much memory there is, and how much of it is in use; what is merely kept for the next pair is not in use."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from flowgru.model.buffers import idle_bytes

GROUPS, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Linux's control groups, and which of them this process is in."""


def free_memory(device: torch.device) -> int:
    """Bytes that can still be taken on the device: on the CPU what the machine has, and what its control group allows."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + _kept_by_pytorch(device)
    available = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2]
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = [1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])]
    return max(0, min([*available, *_left_of_groups()])) + idle_bytes()


def _kept_by_pytorch(device: torch.device) -> int:
    """Bytes of a CUDA device that PyTorch has taken and does not use, but for those that only CUDA graphs may use."""
    index = torch.cuda.current_device() if device.index is None else device.index
    try:
        snapshot = torch.cuda.memory_snapshot()
    except RuntimeError:  # CUDA's own allocator knows none (PYTORCH_CUDA_ALLOC_CONF=backend:cudaMallocAsync)
        return torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    segments = [each for each in snapshot if each.get("device", index) == index]
    common = [each for each in segments if tuple(each.get("segment_pool_id", (0, 0))) == (0, 0)]
    return sum(each["total_size"] - each["allocated_size"] for each in common)


def _left_of_groups() -> Iterator[int]:
    """Bytes that the control group of this process and those around it still allow, each that has a limit."""
    with contextlib.suppress(OSError, StopIteration):  # no control groups, or those of version 1
        own = next(line for line in OWN_GROUP.read_text().splitlines() if line.startswith("0::/"))[4:]
        inside = own if ".." not in own else ""  # as from another namespace of groups
        for group in (GROUPS / inside, *(GROUPS / inside).parents):
            with contextlib.suppress(OSError, ValueError):  # no limit there, or "max"
                limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
                lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
                # What is kept of files that nobody reads any more goes as soon as its memory is needed.
                yield limit - used + sum(int(number) for name, number in lines if name == "inactive_file")
            if group == GROUPS:
                return


def used_memory(device: torch.device) -> int:
    """Bytes in use now: of tensors on a CUDA device, of this process on the CPU (0 where the system does not say)."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    with contextlib.suppress(OSError):
        return os.sysconf("SC_PAGE_SIZE") * int(Path("/proc/self/statm").read_text().split()[1]) - idle_bytes()
    return 0


def peak_memory(device: torch.device) -> int:
    """The most bytes in use so far: of tensors on a CUDA device, of this process on the CPU (0 where nobody says)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):  # on Linux ru_maxrss begins with that of the process which started this one
        return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    with contextlib.suppress(ImportError):  # Windows
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 0


def forget_peak(device: torch.device) -> None:
    """Lets peak_memory count from now on; on a CPU without Linux it stays that since the process began."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
