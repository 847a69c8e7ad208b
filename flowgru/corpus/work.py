"""What a worker does with one clip: read, match, write, and say what became of it. It never raises."""

import hashlib
import json
import os
import signal
import threading
import time
import warnings
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from flowgru.config.corpus import CorpusSettings
from flowgru.corpus.inputs import Clip
from flowgru.corpus.kinds import IN_FOLDERS, open_writer
from flowgru.corpus.score import ClipScore
from flowgru.corpus.shards import join_parts
from flowgru.corpus.staging import (
    DiskRefused,
    StagedClip,
    Written,
    add_files,
    final_place,
    flush_all,
    measured,
    refusing,
)
from flowgru.corpus.tables import ShardRow
from flowgru.corpus.tasks import REFUSED, Outcome, PackTask, Task
from flowgru.data.classical import use_threads
from flowgru.data.video.frames import FrameSource, open_frames
from flowgru.errors import FlowgruError, InputFileError, MachineError, lacks_memory, one_line
from flowgru.estimation.clip_frames import clip_stream, read_initial_flow
from flowgru.estimation.matching.initial_flow import FlowFolder
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.opening import match_settings, open_network
from flowgru.estimation.stream import PairGiven, matched_flows, read_ahead
from flowgru.files.bounded import is_missing
from flowgru.model.memory import peak_memory
from flowgru.processes.signals import HANG_UP

MAX_NOTES = 300
"""Letters of a clip's warnings that are kept."""


def dask_setup(_worker: object) -> None:
    """Called by dask in each new process on the driver's machine.

    Ctrl-C and the end of a terminal are meant for the driver, which then ends these.
    """
    for number in (signal.SIGINT, HANG_UP):
        if number is not None:
            signal.signal(number, signal.SIG_IGN)


class Unfit(MachineError):
    """This process can do no clip as the settings ask."""


def estimate_clip(task: Task) -> Outcome:
    """Writes all that is wanted of a clip under its final names, durably, and says what became of it."""
    began = time.perf_counter()
    with _ONE_AT_A_TIME, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)  # what is said of frames and flows; others are for programmers
        try:
            outcome = _estimated(task)
        except (DiskRefused, Unfit) as refused:
            outcome = Outcome(REFUSED, str(refused))
        except FlowgruError as error:
            outcome = Outcome("failed", str(error))
        except Exception as error:  # one clip must not end thousands
            if "CUDA error" in str(error):
                os._exit(1)  # nothing works in this process any more: it is replaced, and the clip tried again
            lack = "not enough memory: " if lacks_memory(error) else f"a bug: {type(error).__name__}: "
            outcome = Outcome("failed", lack + one_line(error))
    notes = "; ".join(dict.fromkeys(" ".join(str(one.message).split()) for one in caught))[:MAX_NOTES]
    return outcome._replace(
        seconds=round(time.perf_counter() - began, 3), notes=notes, reason=" ".join(outcome.reason.split())
    )


def pack_shard(task: PackTask) -> tuple[str, list[ShardRow]]:
    """Joins the parts of clips, durably; gives the path of the new file, which is not the final one, and its rows.

    DiskRefused where the disk refuses.
    """
    staged = StagedClip(Path(task.root), task.run, task.number)
    with refusing(staged.root):
        path = staged.folder / task.shard
        rows = join_parts([(clip, Path(part)) for clip, part in task.parts], task.shard, path)
        flush_all(path)
    return str(path), rows


_ONE_AT_A_TIME = threading.Lock()
"""A dask worker may have several threads; the matcher, and the catching of warnings, are made for one."""

_MATCHERS: dict[str, PairMatcher] = {}
"""The matcher of the run that this process works for, by its settings."""


def matcher_of(settings: CorpusSettings) -> PairMatcher:
    """The network that the settings name, ready to match; loaded once in a process. Unfit where it is not to be had."""
    key = repr(settings)
    if key not in _MATCHERS:
        _MATCHERS.clear()
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # the driver has said what it is
            try:
                network = open_network(settings)
            except FlowgruError as error:
                raise Unfit(str(error)) from error
        _MATCHERS[key] = PairMatcher(network, match_settings(network, settings, resize=settings.size_to_compute()))
    return _MATCHERS[key]


def own_gpu(settings: CorpusSettings, worker: object) -> CorpusSettings:
    """The settings with a GPU of its own for the worker of that name, 0, 1, and so on, where there are several."""
    if settings.device not in ("auto", "cuda") or not isinstance(worker, int) or torch.cuda.device_count() < 2:
        return settings
    return replace(settings, device=f"cuda:{worker % torch.cuda.device_count()}")


def _estimated(task: Task) -> Outcome:
    if task.num_threads is not None:
        torch.set_num_threads(task.num_threads)
        use_threads(task.num_threads)
    staged = StagedClip(Path(task.root), task.run, task.number)
    try:
        return _matched_and_written(task, staged)
    finally:
        staged.remove()


def _matched_and_written(task: Task, staged: StagedClip) -> Outcome:
    settings, clip = task.settings, task.clip
    matcher = matcher_of(own_gpu(settings, _worker_name()))
    kinds = [kind for kind in settings.write if kind != "score"]
    writers = [open_writer(kind, staged.begin(kind), clip.id, settings) for kind in kinds]
    score, flows, error = ClipScore(), 0, None
    source = _source(clip, settings)
    frames = clip_stream(source, stride=settings.stride, fps=settings.fps)
    if matcher.device.type == "cuda":  # on a CPU the worker's cores have enough to do
        frames = read_ahead(frames, matcher.device)
    try:
        for pair in matched_flows(frames, matcher, given=_given(settings, clip)):
            flows += 1
            score.add(pair)
            flow = pair.forward.permute(1, 2, 0).contiguous().float().cpu().numpy()
            with refusing(staged.root):
                for writer in writers:
                    writer.add(flows, pair.first, flow)
    except InputFileError as met:
        error = str(met)
    if not flows:
        raise InputFileError(error or f"{clip.path} has no pair of frames: need at least 2 frames of one size")
    with refusing(staged.root):
        for writer in writers:
            writer.close()
    problems = [*source.problems, *([error] if error else [])]
    row = score.row(clip.id) if "score" in settings.write else None
    digest = hashlib.sha256(b"" if row is None else json.dumps(row).encode())
    found, part_bytes = Written(0, 0), 0
    for kind in kinds:
        add_files(digest, staged.folder / kind)
        if kind in IN_FOLDERS:
            one = measured(staged.folder / kind)
            found = Written(found.files + one.files, found.bytes + one.bytes)
        else:
            part_bytes = measured(staged.folder / kind).bytes
    for kind in kinds:
        staged.move(kind, final_place(staged.root, kind, clip.id))
    return Outcome(
        "damaged" if problems else "done",
        "; ".join(problems),
        digest.hexdigest(),
        frames=score.num_frames,
        flows=flows,
        files=found.files,
        bytes=found.bytes,
        score=row,
        part_bytes=part_bytes,
        peak_memory=peak_memory(matcher.device),
    )


def _source(clip: Clip, settings: CorpusSettings) -> FrameSource:
    """The frames of a clip. InputFileError or RequestError where it is none."""
    if is_missing(clip.path):
        raise InputFileError(f"there is no file or folder {clip.path}")
    start = settings.start if clip.start is None else clip.start
    end = settings.end if clip.end is None else clip.end
    return open_frames([clip.path], start, end)[0]


def _given(settings: CorpusSettings, clip: Clip) -> PairGiven | None:
    """What gives the initial flows of a clip from files, where they are."""
    if settings.flow_folder is None:
        return None
    return partial(read_initial_flow, FlowFolder(Path(settings.flow_folder) / clip.id))


def _worker_name() -> object:
    """What dask calls this process; None outside of dask."""
    from distributed import get_worker

    try:
        return get_worker().name
    except ValueError:
        return None
