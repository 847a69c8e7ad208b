"""Where `flowgru web` serves its page, with which models, and how much a visitor may ask for."""

import math
from dataclasses import dataclass

from flowgru.config.require import require, require_device
from flowgru.processes.ports import THIS_MACHINE, check_port


@dataclass(frozen=True)
class WebSettings:
    """An address, models, and limits."""

    host: str = THIS_MACHINE
    """Address at which the page is served: by itself, only this machine reaches it. 0.0.0.0 lets other machines in; there
    is no password."""
    port: int = 7860
    """Port of the page; 0 takes a free one."""
    models: tuple[str, ...] = ("default", "raft_large", "raft_small")
    """Models that visitors choose from, with commas between: names and files as --model of estimate takes them."""
    device: str = "auto"
    """auto (CUDA where there is one), cpu, cuda, cuda:1."""
    max_upload: float = 100.0
    """Largest file that a visitor may give, in MiB."""
    max_frames: int = 60
    """Frames that are used of a clip; the rest is left out, which the page says."""
    max_megapixels: float = 2.1
    """Largest frames, in millions of pixels; 2.1 lets 1920x1080 in."""
    max_waiting: int = 10
    """Visitors that may wait for a flow while that of another one is computed, or for a file to take home."""

    def __post_init__(self) -> None:
        check_port(self.port)
        require_device(self.device)
        require(bool(self.models), "--models", "empty", "one name or file at least")
        require(self.max_frames >= 2, "--max-frames", self.max_frames, "2 or more")
        require(self.max_waiting >= 1, "--max-waiting", self.max_waiting, "1 or more")
        for name, value in (("upload", self.max_upload), ("megapixels", self.max_megapixels)):
            require(0 < value < math.inf, f"--max-{name}", value, "above 0")
