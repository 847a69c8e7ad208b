"""What `flowgru corpus` computes of every clip, what it writes, and who does the work."""

import math
from dataclasses import dataclass, field
from typing import Literal

from flowgru.config.estimation import check_frames, size_to_compute
from flowgru.config.model_settings import ModelSettings
from flowgru.config.require import require_effect_of
from flowgru.errors import RequestError

Kind = Literal["score", "jpeg", "png16", "half", "shards"]
"""What is written of a clip; flowgru.corpus.kinds says what each of them is."""


@dataclass(frozen=True)
class CorpusSettings(ModelSettings):
    """What is computed of every clip, what is written, and who does the work."""

    output: str = field(kw_only=True)
    """Folder that receives manifest.csv and all results; the same command goes on in it where it stopped."""
    write: tuple[Kind, ...] = ("score",)
    """One or more of: score (one row of numbers for each clip, in scores.csv), jpeg (u and v as 8-bit pictures), png16
    (KITTI's 16-bit .png), half (.npz in 16 bits), shards (tar files for webdataset, with flows in 16 bits)."""
    bound: float = 20.0
    """Pixels: jpeg holds -bound to bound, and what is longer is cut to it."""
    shard_size: float = 1000.0
    """Megabytes (10^6 bytes) of a shard; only a clip that is larger by itself makes a larger one."""
    stride: int = 1
    """Pair frame i with frame i + stride, then go on by stride."""
    fps: float | None = None
    """Use at most so many frames a second, by the times of the frames, which pictures have not, before --stride counts
    them."""
    start: int = 1
    """Number of the first frame that is used, from 1; a list may say another one for a clip."""
    end: int | None = None
    """Number of the last frame that is used; a list may say another one for a clip."""
    resize: str | None = None
    """Compute at this size, HEIGHTxWIDTH or a factor such as 0.5; the flow is written at the frames' own size."""
    workers: int | None = None
    """Processes that work at a time, which share the cores that this process may use; without it one for each GPU, else one
    for every two cores, or for every OMP_NUM_THREADS cores where that is set; each then has so many threads. With --slurm,
    the number of jobs; 1 where it is not given."""
    scheduler: str | None = None
    """Address of a running dask scheduler, such as tcp://10.0.0.1:8786, whose workers do the work."""
    slurm: str | None = None
    """Let jobs of SLURM do the work, such as "partition=gpu,gres=gpu:1,cpus-per-task=4,mem=16G,time=12:00:00"; these are
    sbatch's long options."""
    max_failures: int | None = None
    """Stop once more clips than this could not be read whole, those that an earlier run has found damaged among them;
    without it no number of them stops the run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_frames(self.start, self.end, self.stride, self.fps)
        self.size_to_compute()
        if not self.write or len({*self.write}) < len(self.write):
            raise RequestError(f"--write is {','.join(self.write)!r}: name one or more kinds, each once")
        for name, value in (("bound", self.bound), ("shard-size", self.shard_size)):
            if not 0 < value < math.inf:
                raise RequestError(f"--{name} is {value}: it must be above 0")
        for name, kind in (("bound", "jpeg"), ("shard_size", "shards")):
            require_effect_of(self, name, kind in self.write, f"where --write has no {kind}")
        for name, count, least in (("workers", self.workers, 1), ("max-failures", self.max_failures, 0)):
            if count is not None and count < least:
                raise RequestError(f"--{name} is {count}: it must be {least} or more")
        if self.scheduler is not None and (self.slurm is not None or self.workers is not None):
            other = "--workers" if self.slurm is None else "--slurm"
            raise RequestError(f"--scheduler has workers of its own: leave {other} out")

    def size_to_compute(self) -> tuple[int, int] | float | None:
        """--resize as (height, width), as a factor, or None."""
        return size_to_compute(self.resize)
