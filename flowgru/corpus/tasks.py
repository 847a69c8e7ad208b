"""What the driver asks of a worker, and what it answers."""

from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from flowgru.config.corpus import CorpusSettings
from flowgru.corpus.inputs import Clip

REFUSED = "refused"
"""The status of a clip whose worker can do none: the disk refuses, or the model or the device is not to be had."""


class Task(NamedTuple):
    """One clip to do."""

    number: int
    """No two clips of a run have the same."""
    clip: Clip
    root: str
    run: str
    """Name of the run's folder below .unfinished."""
    settings: CorpusSettings
    num_threads: int | None
    """Threads that this process may use; None: as it stands."""


class PackTask(NamedTuple):
    """One shard to make."""

    number: int
    root: str
    run: str
    shard: str
    """Its name."""
    parts: list[tuple[str, str]]
    """Ids of clips, and where their parts lie."""


class Outcome(NamedTuple):
    """What became of a clip."""

    status: str
    """done, damaged or failed; or REFUSED, and the run must stop."""
    reason: str = ""
    digest: str = ""
    seconds: float = 0.0
    frames: int = 0
    flows: int = 0
    files: int = 0
    bytes: int = 0
    notes: str = ""
    score: dict[str, Any] | None = None
    part_bytes: int = 0
    """Size of the clip's part of a shard."""
    peak_memory: int = 0
    """The most bytes that the process has used so far."""


class Job(NamedTuple):
    """A function of a module, and what it is called with."""

    function: Callable[[Any], Any]
    argument: Any


class Died(NamedTuple):
    """Instead of a result: the process that worked for it has died."""


class Lost(NamedTuple):
    """Instead of a result: it failed in a way that its function has no word for."""

    reason: str


@runtime_checkable
class Workers(Protocol):
    """What a driver needs of whoever does the jobs; see Engine."""

    num_threads: int | None
    """Threads that each of them may use; None: as they stand."""
    description: str
    """Who they are, in one line."""

    def run(self, jobs: Iterable[Job], /) -> Generator[tuple[Job, Any]]: ...

    def submit(self, job: Job, /) -> None: ...
