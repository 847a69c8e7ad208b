"""When parts become shards: as soon as there are enough of them, and at the end of a run; point 5 of the protocol."""

import os
from collections.abc import Iterator
from pathlib import Path

from flowgru.corpus.folder import CorpusFolder
from flowgru.corpus.shards import shard_name, shard_number
from flowgru.corpus.staging import PART, SHARDS, final_place, refusing, remove_part, waiting_parts
from flowgru.corpus.tables import ShardRow
from flowgru.corpus.tasks import Died, Job, Lost, PackTask
from flowgru.corpus.work import pack_shard
from flowgru.errors import MachineError
from flowgru.files.atomic import flush

MAX_TRIES = 3
"""A shard at whose making so many processes have died ends the run."""


class Packing:
    """The parts that wait, and the shards that are being made."""

    def __init__(self, folder: CorpusFolder, megabytes: float) -> None:
        self.folder, self.limit = folder, megabytes * 1e6
        self.waiting = [(clip, path, path.stat().st_size) for clip, path in waiting_parts(folder.root)]
        numbers = [shard_number(row.shard) for row in folder.shard_rows.values()]
        self.next_number = 1 + max([number for number in numbers if number is not None], default=-1)
        self.tries: dict[str, int] = {}

    def add(self, clip: str, num_bytes: int) -> list[Job]:
        """Takes note of a part that is whole; gives the making of a shard where it has filled one."""
        if clip in self.folder.shard_rows:  # it was done again for results of another kind
            remove_part(self.folder.root, clip)
            return []
        full = bool(self.waiting) and self._num_bytes() + num_bytes > self.limit
        jobs = [self._job()] if full else []
        self.waiting.append((clip, final_place(self.folder.root, SHARDS, clip) / PART, num_bytes))
        return jobs

    def rest(self) -> Iterator[Job]:
        """The making of the last shards, of all parts that wait."""
        waiting, self.waiting = self.waiting, []
        for part in waiting:
            if self.waiting and self._num_bytes() + part[2] > self.limit:
                yield self._job()
            self.waiting.append(part)
        if self.waiting:
            yield self._job()

    def ended(self, job: Job, result: object) -> Job | None:
        """Gives a new shard its name and its rows; gives the job anew where its process has died."""
        task = job.argument
        assert isinstance(task, PackTask)
        if isinstance(result, Died):
            self.tries[task.shard] = self.tries.get(task.shard, 0) + 1
            if self.tries[task.shard] < MAX_TRIES:
                return job
            raise MachineError(
                f"{MAX_TRIES} processes died while they made {task.shard}: its parts are kept, and the same command goes on"
            )
        if isinstance(result, Lost):
            raise MachineError(
                f"cannot make {task.shard}: {result.reason}; its parts are kept, and the same command goes on"
            )
        assert isinstance(result, tuple)
        path, rows = result
        self._commit(Path(path), rows)
        return None

    def _commit(self, made: Path, rows: list[ShardRow]) -> None:
        root, index = self.folder.root, self.folder.index
        assert index is not None
        final = root / SHARDS / made.name
        for table in (self.folder.scores, self.folder.manifest):  # the rows of its clips
            if table is not None:
                table.flush()
        index.add_all([row._asdict() for row in rows], durable=True)
        with refusing(root):
            final.parent.mkdir(exist_ok=True)
            os.replace(made, final)
            flush(final.parent)
        made.parent.rmdir()
        for row in rows:
            self.folder.shard_rows[row.id] = row
            remove_part(root, row.id)

    def _job(self) -> Job:
        """The making of a shard of what waits."""
        parts = [(clip, os.path.abspath(path)) for clip, path, _ in self.waiting]
        self.waiting.clear()
        number, self.next_number = self.next_number, self.next_number + 1
        root, name = os.path.abspath(self.folder.root), shard_name(number)
        return Job(pack_shard, PackTask(-1 - number, root, self.folder.run, name, parts))

    def _num_bytes(self) -> int:
        return sum(size for _, _, size in self.waiting)
