"""The driver of a corpus: what is done already, what is to do, and the row of each clip when its results are whole."""

import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from flowgru.config.corpus import CorpusSettings
from flowgru.console import progress, say, warn
from flowgru.corpus.folder import CorpusFolder
from flowgru.corpus.inputs import Clip, find_clips
from flowgru.corpus.packing import Packing
from flowgru.corpus.parquet import remove_parquet, write_parquet
from flowgru.corpus.staging import SHARDS, num_deaths
from flowgru.corpus.tables import MANIFEST, WRITTEN, ManifestRow
from flowgru.corpus.tasks import REFUSED, Died, Job, Lost, Outcome, PackTask, Task, Workers
from flowgru.corpus.work import estimate_clip
from flowgru.corpus.workers.opening import opened_engine
from flowgru.corpus.workers.slurm import job_settings
from flowgru.errors import InputFileError, MachineError, RequestError, counted
from flowgru.estimation.opening import is_exported, open_network
from flowgru.model.weight_files.digest import weights_digest
from flowgru.model.weight_files.hub import is_hub_address
from flowgru.model.weight_files.loading import RELEASED

MAX_DEATHS = 3
"""A clip at which so many processes have died is recorded, and not tried again."""

MAX_LOSSES = 10
"""So often a clip may wait for a worker that dies, without having begun, before it is recorded."""


def run_corpus(
    inputs: list[str], settings: CorpusSettings, work: Callable[[Task], Outcome] = estimate_clip
) -> list[ManifestRow]:
    """Does all clips that are not done yet; gives the rows of all of them, in their order.

    work: what a worker does with a clip.
    RequestError where the request makes no sense; InputFileError after more than max_failures; MachineError where the
    machine refuses; Stopped where this process is asked to stop. What is done stays done.
    """
    root = Path(settings.output)
    if settings.slurm is not None:
        job_settings(settings.slurm)
    clips = find_clips(inputs, root)
    deciding = deciding_settings(settings)
    options = {name: value for name, value in asdict(settings).items() if name in deciding}
    with CorpusFolder(root, deciding, clips, options) as folder:
        run = _Run(folder, settings, work)
        run.do([(number, clip) for number, clip in enumerate(clips) if clip.id not in folder.rows])
        rows = [run.rows[clip.id] for clip in clips]
        if folder.scores is not None:
            write_parquet(root)
        return rows


def deciding_settings(settings: CorpusSettings) -> dict[str, Any]:
    """All that decides about the results: what a folder is begun with, and goes on with.

    Not who does the work, or where: the same clip gives the same flow, up to rounding, on any machine.
    """
    if settings.device.startswith("cuda:"):
        raise RequestError(f"--device is {settings.device}: name cuda, and choose GPUs by CUDA_VISIBLE_DEVICES")
    # The network is only looked at here, where the workers' GPU need not be.
    looked_at = (
        settings if is_exported(settings.model) else replace(settings, device="cpu", precision="32", compile=False)
    )
    network = open_network(looked_at)
    size = settings.size_to_compute()
    facts = {
        "write": sorted(settings.write),
        **({"bound": settings.bound} if "jpeg" in settings.write else {}),
        "model": weights_digest(network, settings.model),
        **asdict(settings.way(network.card)),
        **{name: getattr(settings, name) for name in ("warm_start", "stop_below", "stride", "fps", "start", "end")},
        "resize": [*size] if isinstance(size, tuple) else size,
        "precision": settings.precision,
        "tiles": settings.tiles,
    }
    if settings.flow_folder is not None:
        facts["initial_flow"] = settings.flow_folder
    return facts


def _with_absolute_paths(settings: CorpusSettings) -> CorpusSettings:
    """The settings for workers, whose working directory is another one than the driver's."""
    flows, model = settings.flow_folder, settings.model
    is_file = model not in ("default", *RELEASED) and not is_hub_address(model)
    return replace(
        settings,
        model=os.path.abspath(model) if is_file else model,
        initial_flow=settings.initial_flow if flows is None else os.path.abspath(flows),
    )


class _Run:
    """One run of the driver over the clips that are to do."""

    def __init__(self, folder: CorpusFolder, settings: CorpusSettings, work: Callable[[Task], Outcome]) -> None:
        self.folder, self.settings, self.work = folder, settings, work
        self.settings_of_workers = _with_absolute_paths(settings)
        self.rows = dict(folder.rows)
        self.packing = Packing(folder, settings.shard_size) if SHARDS in folder.kinds else None
        self.failures = self.frames = self.peak_memory = 0
        self.damaged_before = sum(self.rows[clip.id].status != "done" for clip in folder.clips if clip.id in self.rows)
        """Clips of this run that an earlier one could not read whole, and that are not tried again."""
        self.losses: Counter[int] = Counter()
        self.fingerprints: dict[str, str] = {}
        """By clip, what decides about its results, as it was before the work: files may change meanwhile."""

    def do(self, clips: list[tuple[int, Clip]]) -> None:
        """Does the clips, and keeps each one's row."""
        num_all = len(self.folder.clips)
        say(f"{counted(num_all, 'clip')}: {num_all - len(clips)} are done, {len(clips)} are to do")
        if clips:
            self._refuse_more_failures("an earlier run tells of them")
        if not clips and not (self.packing and self.packing.waiting):
            return
        with opened_engine(self.settings) as engine:
            say(engine.description)
            began = time.perf_counter()
            jobs = engine.run(self._job(number, clip, engine) for number, clip in clips)
            with progress(self.folder.root.name, len(clips), "clips") as advance, closing(jobs):
                for job, result in jobs:
                    if isinstance(job.argument, PackTask):
                        self._packed(engine, job, result)
                    elif self._ended(engine, job, result):
                        advance(
                            f"{self.frames / (time.perf_counter() - began):.1f} frames/s, {self.failures} not whole"
                        )
            with closing(engine.run(self.packing.rest() if self.packing else ())) as jobs:
                for job, result in jobs:
                    self._packed(engine, job, result)
        seconds = time.perf_counter() - began
        memory = f", peak memory of a worker {self.peak_memory / 2**20:.0f} MiB" if self.peak_memory else ""
        failures = f", and {counted(self.failures, 'clip')} not whole" if self.failures else ""
        say(
            f"did {counted(len(clips) - self.failures, 'clip')}{failures}, in {seconds:.1f} s "
            f"({len(clips) / seconds:.2f} clips/s, {self.frames / seconds:.1f} frames/s) into {self.folder.root}{memory}"
        )

    def _job(self, number: int, clip: Clip, engine: Workers) -> Job:
        self.fingerprints[clip.id] = self.folder.fingerprint(clip)
        root, path = os.path.abspath(self.folder.root), os.path.abspath(clip.path)
        task = Task(
            number, clip._replace(path=path), root, self.folder.run, self.settings_of_workers, engine.num_threads
        )
        return Job(self.work, task)

    def _packed(self, engine: Workers, job: Job, result: object) -> None:
        assert self.packing is not None
        if (again := self.packing.ended(job, result)) is not None:
            engine.submit(again)

    def _ended(self, engine: Workers, job: Job, result: Any) -> bool:
        """Keeps the row of a clip, or has it done again; whether it has ended.

        MachineError where no clip can be done; InputFileError after more than max_failures.
        """
        task = job.argument
        if isinstance(result, Died):
            self.losses[task.number] += 1
            deaths = num_deaths(self.folder.root, self.folder.run, task.number)
            warn(f"a process died while {task.clip.id} was with it, killed or out of memory; another one takes over")
            if deaths < MAX_DEATHS and self.losses[task.number] < MAX_LOSSES:
                engine.submit(job)
                return False
            result = Outcome(
                "failed", f"the process that worked on it died {MAX_DEATHS} times: killed, or out of memory"
            )
        if isinstance(result, Lost):
            result = Outcome("failed", f"a bug: {result.reason}")
        if lost := self.losses[task.number]:
            note = f"{lost} process{'es' * (lost > 1)} died while the clip was with them"
            result = result._replace(notes="; ".join(filter(None, (result.notes, note))))
        if result.status == REFUSED:
            raise MachineError(f"{result.reason}; what is done is kept, and the same command goes on from here")
        self._keep(engine, task.clip, result)
        self._refuse_more_failures(f"the last one was {task.clip.id}: {result.reason}")
        return True

    def _refuse_more_failures(self, said: str) -> None:
        """InputFileError where more clips than max_failures could not be read whole."""
        num_failed = self.damaged_before + self.failures
        if self.settings.max_failures is not None and num_failed > self.settings.max_failures:
            raise InputFileError(
                f"{counted(num_failed, 'clip')} could not be read whole, and --max-failures is "
                f"{self.settings.max_failures}: {self.folder.root / MANIFEST} says why, {said}"
            )

    def _keep(self, engine: Workers, clip: Clip, result: Outcome) -> None:
        """Writes the rows of a clip whose results are whole, its own at last."""
        values = {name: getattr(result, name) for name in ManifestRow._fields if hasattr(result, name)}
        settings = self.fingerprints.pop(clip.id)
        row = ManifestRow(**values, id=clip.id, settings=settings, path=os.path.abspath(clip.path))
        if self.folder.scores is not None and result.score is not None:
            remove_parquet(self.folder.root)  # which would say less
            self.folder.scores.add(result.score)
        self.folder.manifest.add(row._asdict())
        self.rows[clip.id] = row
        self.failures += row.status != "done"
        self.frames += row.frames
        self.peak_memory = max(self.peak_memory, result.peak_memory)
        if self.packing is not None and row.status in WRITTEN:
            for job in self.packing.add(clip.id, result.part_bytes):
                engine.submit(job)
