"""What `flowgru benchmark` measures."""

from dataclasses import dataclass
from pathlib import Path

from flowgru.config.choices import CorrelationMethod, Precision, Preset
from flowgru.config.require import (
    MAX_PROCESSES,
    height_and_width,
    require,
    require_choices,
    require_device,
    require_effect,
    require_effect_of,
    require_refinements,
)
from flowgru.errors import RequestError


@dataclass(frozen=True)
class BenchmarkSettings:
    """What is measured against what: every combination of the lists is a case, the first one is the reference."""

    model: tuple[str, ...] = ("default",)
    """Models: default, raft_large, raft_small, or files of weights."""
    iterations: tuple[int, ...] = (12,)
    """Refinements of each flow."""
    correlation: tuple[CorrelationMethod, ...] = ("auto",)
    """How matches are computed, see flowgru estimate."""
    precision: tuple[Precision, ...] = ("32",)
    """Precision of the arithmetic in bits; bf16 and 16 compute in mixed precision."""
    compile: bool = False
    """Also measure every case compiled by torch.compile, which takes minutes before the first time."""
    size: str | None = None
    """HEIGHTxWIDTH of the frames in pixels; without it 440x1024, or the size of --clip."""
    clip: str | None = None
    """A video or folder whose first frames are used; without it they are generated."""
    frames: int = 4
    """Frames of the video that is timed, in which each frame is encoded once; at least 2."""
    operators: tuple[str, ...] = ()
    """Measure one step of update operators instead: all, or names such as conv_gru and "conv_min_gru form=cand"."""
    preset: Preset = "large"
    """The preset whose widths the operators have; only with --operators."""
    rounds: int = 5
    """Rounds in which all cases take turns; times are medians."""
    memory: bool = True
    """Also measure the peak of memory, each case in a process of its own."""
    threads: int | None = None
    """Threads of the CPU; without it PyTorch's own choice."""
    device: str = "auto"
    """auto (CUDA where there is one), cpu, cuda, cuda:1."""
    json: str | None = None
    """File that receives the conditions and every row."""
    overwrite: bool = False
    """Replace the file of --json; without it the command refuses before any work."""

    def __post_init__(self) -> None:
        require_choices(self, "--")
        require_device(self.device)
        for name, values in (("model", self.model), ("iterations", self.iterations)):
            require(bool(values), f"--{name}", "empty", "one or more, with commas between")
        for iterations in self.iterations:
            require_refinements("--iterations", iterations)
        for name, value, least in (
            ("frames", self.frames, 2),
            ("rounds", self.rounds, 1),
            ("threads", self.threads, 1),
        ):
            require(value is None or value >= least, f"--{name}", value, f"{least} or more")
        require((self.threads or 1) <= MAX_PROCESSES, "--threads", self.threads, f"{MAX_PROCESSES} or less")
        require(bool(self.correlation), "--correlation", "empty", "one or more, with commas between")
        require(bool(self.precision), "--precision", "empty", "one or more, with commas between")
        require_effect(not self.overwrite or self.json is not None, "--overwrite", "without --json")
        if self.json is not None and Path(self.json).is_dir():
            raise RequestError(
                f"--json {self.json} is a folder: name a file, such as {Path(self.json) / 'benchmark.json'}"
            )
        if self.json is not None and Path(self.json).exists() and not self.overwrite:
            raise RequestError(f"{self.json} exists already: give --overwrite or another --json")
        cases = ("model", "iterations", "correlation", "precision", "compile", "clip", "frames", "memory")
        for name in cases if self.operators else ("preset",):
            with_or_without = "--operators measures steps alone" if self.operators else "it belongs to --operators"
            require_effect_of(self, name, False, f"here: {with_or_without}")
        self.height_and_width()

    def height_and_width(self) -> tuple[int, int] | None:
        """--size in pixels."""
        if self.size is None:
            return None
        size = height_and_width(self.size)
        if size is None or not all(size):
            raise RequestError(f"--size is {self.size!r}: expected HEIGHTxWIDTH in pixels, such as 1080x1920")
        return size
