"""What the device that a process computes on is called."""

import platform
from pathlib import Path

import torch


def device_text(device: torch.device) -> str:
    """The device and what its maker calls it."""
    return f"{device} ({device_name(device)})"


def device_name(device: torch.device) -> str:
    """What its maker calls a device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()


def processor_name() -> str:
    """What the system calls its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, names), "") or platform.processor() or platform.machine()
