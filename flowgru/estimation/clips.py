"""The work of `flowgru estimate`: clip after clip, pair after pair, in constant memory."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from flowgru.config.estimation import EstimateSettings
from flowgru.console import progress, say, warn
from flowgru.data.video.frames import FrameSource, open_frames
from flowgru.data.video.sources import UnreadableSource
from flowgru.errors import InputFileError, RequestError, counted, size_text
from flowgru.estimation.clip_frames import clip_stream, read_initial_flow
from flowgru.estimation.earlier_run import SAID_OF_CLIP
from flowgru.estimation.expected_memory import ExpectedMemory
from flowgru.estimation.geometry import computed_size
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.opening import match_settings, open_network, warn_without_gpu
from flowgru.estimation.outputs import (
    ClipReport,
    Place,
    expected_flows,
    refuse_clashing_names,
    refuse_still_picture,
    write_summary,
)
from flowgru.estimation.pair_files import EarlierFlows, PairToWrite, read_carried
from flowgru.estimation.side_by_side import PICTURES_A_SECOND, write_side_by_side
from flowgru.estimation.stream import PairFlow, PairGiven, matched_flows, read_ahead
from flowgru.files.atomic import remove_leftovers
from flowgru.files.own_folders import KeptFolders, make_folders, remove_empty
from flowgru.model.compiled import compile_seconds
from flowgru.model.memory import peak_memory
from flowgru.processes.beside import in_order
from flowgru.version import VERSION


def estimate_clips(inputs: list[str], settings: EstimateSettings) -> int:
    """The work of `flowgru estimate`; returns 3 where an input could not be read whole, else 0.

    Nothing is written before every setting has been found to make sense. What an earlier run of the same command has
    written stays, and the work goes on after it.
    """
    sources = open_frames(inputs, settings.start, settings.end, Path(settings.output))
    if settings.on_error == "fail":  # known already, and told before the others' work
        for source in sources:
            if isinstance(source, UnreadableSource):
                raise source.failure
    place = Place(sources, settings)
    refuse_still_picture(sources, settings)
    for source in sources:
        refuse_clashing_names(source, place.endings, settings.stride)
    if place.finished:
        flows = counted(place.earlier.num_flows, "flow")
        say(f"{place.root} holds the {flows} of this command already; --overwrite computes them anew")
        return 0
    return Estimation(sources, place, settings).run()


class Estimation:
    """One run of `flowgru estimate`."""

    def __init__(self, sources: Sequence[FrameSource], place: Place, settings: EstimateSettings) -> None:
        self.settings = settings
        self.sources, self.place = sources, place
        self.journal, self.earlier = place.journal, place.earlier
        self.network = open_network(settings)
        self.device = self.network.device
        warn_without_gpu(settings, self.network)
        if settings.confidence and not self.network.config.confidence:
            raise RequestError(
                f"--confidence: the model {settings.model} does not say how sure it is; train one with "
                "--network.confidence --loss mixture, or use --backward for occlusions"
            )
        self.compile_seconds = 0.0
        """What first pairs took to compile for; it is part of the clips' seconds."""
        self.way = settings.way(self.network.card)
        size, backward, confidence = settings.size_to_compute(), settings.backward, settings.confidence
        asked = match_settings(self.network, settings, backward=backward, resize=size, confidence=confidence)
        self.matcher = PairMatcher(self.network, asked)
        self.expected_memory = ExpectedMemory(self.network, self.way, settings)
        self.num_written = 0
        """Flows that this run has written."""
        self.reports: list[ClipReport] = []
        """What became of the clips so far."""
        self.is_told = False
        """Whether summary.json says all that there is."""
        self.given: dict[str, PairGiven] = {}
        """What gives the initial flows of a clip from files, by the clip's name."""
        for name, folder in place.reads.flow_folders.items():
            self.given[name] = partial(read_initial_flow, folder)

    def run(self) -> int:
        """Estimates every clip and writes the summary."""
        folders = list(dict.fromkeys([self.place.root, *self.place.folders]))
        new = [folder for folder in folders if not folder.exists()]
        make_folders(folders)
        finished = False
        if self.matcher.goes_on:
            self._take_back()
        try:
            self.journal.open(self.place.request)
            for folder in folders:
                remove_leftovers(folder)
            code = self._run(KeptFolders(folders))
            # Where the summary does not say all, only the journal tells an earlier run's files from others.
            finished = self.is_told or not self.earlier.begun
            return code
        finally:
            goes_on = not finished and self.place.has_results()
            self.journal.close(keep=goes_on)
            num_flows = max(self.earlier.num_flows, sum(len(report.flows) for report in self.reports))
            if goes_on and num_flows:
                warn(
                    f"{counted(num_flows, 'flow')} of this command in {self.place.root}: the same command goes on after them"
                )
            remove_empty(new)

    def _take_back(self) -> None:
        """Lets a clip go on only from the pair of which it is known what the next one begins at, else from its beginning."""
        for name, folder in zip(self.place.names, self.place.folders, strict=True):
            if name not in self.earlier.done:
                num_carried, num_there = read_carried(folder, name)[0], len(self.earlier.flows.get(name, ()))
                self.earlier.cut(name, num_carried if num_carried <= num_there else 0)

    def _run(self, kept: KeptFolders) -> int:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        say(f"{self.settings.model}: {self.way}")
        num_before, seconds_before = self.earlier.num_flows, self.earlier.seconds
        if num_before:
            say(f"{self.place.root} holds {counted(num_before, 'flow')} of this command already: going on after them")
        reports, not_reached = self.reports, list[ClipReport]()
        for source, folder in zip(self.sources, self.place.folders, strict=True):
            report = ClipReport(source.name, str(folder))
            reports.append(report)
            if not self._estimate_clip(source, folder, report, kept) and self.settings.on_error == "fail":
                not_reached = [*self._not_reached(after=source.name)]
                break
        reports += not_reached
        num_flows = sum(len(report.flows) for report in reports)
        problems = [problem for report in reports for problem in report.problems]
        kept.check()
        if num_flows:
            # An earlier run's flows of a clip that begins anew stay until there are new ones.
            told = {report.clip for report in reports if report.flows}
            self.is_told = not not_reached and told >= {clip for clip, names in self.earlier.begun.items() if names}
            write_summary(self.place.root, self._summary(reports), overwrite=self.place.may_replace_summary)
            num_new, seconds = self.num_written, sum(report.seconds for report in reports) - seconds_before
            rate = f" in {seconds:.1f} s ({num_new / seconds:.2f} pairs/s)" if num_new > 0 and seconds > 0 else ""
            say(
                f"wrote {counted(num_new, 'flow')} into {self.place.root}{rate}, "
                f"peak memory {peak_memory(self.device) / 2**30:.2f} GiB"
            )
        for problem in problems:
            warn(f"error: {problem}")
        return InputFileError.exit_code if problems else 0

    def _estimate_clip(self, source: FrameSource, folder: Path, report: ClipReport, kept: KeptFolders) -> bool:
        """Writes a clip's flows and its video. False where its frames could not be read to their end."""
        if self._is_done(report):
            return True
        began = time.perf_counter()
        error = None
        try:
            self._write_flows(source, folder, report, kept)
        except InputFileError as met:
            error = str(met)
        report.problems += source.problems
        report.seconds = round(time.perf_counter() - began + report.seconds, 3)
        kept.check()
        if report.flows and self.settings.video_name:
            self._write_video(source, folder / self.settings.video_name, report)
        if error is not None:
            report.problems.append(error)
        if not report.problems:
            self.journal.ended(source.name, {name: getattr(report, name) for name in SAID_OF_CLIP})
        return error is None

    def _is_done(self, report: ClipReport) -> bool:
        """Whether an earlier run has finished a clip; the report then says what that run said of it."""
        if (said := self.earlier.done.get(report.clip)) is None:
            return False
        report.flows = self.earlier.flows[report.clip]
        for name in SAID_OF_CLIP:
            setattr(report, name, said.get(name))
        return True

    def _not_reached(self, after: str) -> Iterator[ClipReport]:
        """What an earlier run has written of the clips that come after one that could not be read."""
        for name, folder in list(zip(self.place.names, self.place.folders, strict=True))[len(self.reports) :]:
            report = ClipReport(name, str(folder))
            if not self._is_done(report) and (flows := self.earlier.flows.get(name)):
                report.flows, report.seconds = flows, float(sum(flow["seconds"] for flow in flows))
                report.problems.append(f"{name} is not gone on with, because {after} could not be read")
            if report.flows:
                yield report

    def _frame_rate(self, source: FrameSource) -> float:
        """Pairs a second of a clip, for its video."""
        rate, fps = float(source.frame_rate or PICTURES_A_SECOND), self.settings.fps
        return (rate if fps is None else min(rate, fps)) / self.settings.stride

    def _write_video(self, source: FrameSource, video: Path, report: ClipReport) -> None:
        report.colour_scale, arrows = write_side_by_side(
            source,
            [video.with_name(f"{flow['name']}{self.place.extension}") for flow in report.flows],
            video,
            max_flow=self.settings.max_flow,
            arrows=self.settings.arrows,
            frame_rate=self._frame_rate(source),
            begins=partial(self.place.begins, source.name, video.parent, is_video=True),
        )
        if arrows is not None:
            report.arrows = str(arrows)
            say(f"{video} has {arrows}")

    def _write_flows(self, source: FrameSource, folder: Path, report: ClipReport, kept: KeptFolders) -> None:
        settings = self.settings
        written = EarlierFlows(folder, self.earlier, source.name, report.flows, goes_on=self.matcher.goes_on)
        report.seconds = float(sum(flow["seconds"] for flow in written.remaining))
        num_pairs = expected_flows(source, settings)
        num_left = None if num_pairs is None else max(0, num_pairs - len(written.remaining))
        frames = clip_stream(source, stride=settings.stride, fps=settings.fps)
        frames = read_ahead(frames, self.device) if settings.overlap else frames
        frames = self.expected_memory.announced(frames)
        pairs = matched_flows(frames, self.matcher, given=self.given.get(source.name), known=written)
        began = time.perf_counter()

        def write(pair: PairToWrite) -> None:
            nonlocal began
            kept.check()
            name = pair.pair.first.name
            overwrite = self.place.begins(source.name, folder, name)
            record = pair.write(folder, extension=self.place.extension, overwrite=overwrite)
            now = time.perf_counter()
            report.flows.append({**record, "seconds": round(now - began, 4)})
            self.journal.wrote(source.name, report.flows[-1])
            self.num_written += 1
            if self.matcher.goes_on:
                pair.write_carried(folder, source.name, len(report.flows))
            began = now

        with (
            progress(source.name, num_left, "pairs") as advance,
            in_order(advance, beside=settings.overlap) as do,
        ):
            for pair in pairs:
                self._say_compiled(pair)
                given = PairToWrite(pair, goes_on=self.matcher.goes_on)
                do(partial(write, given))
        if not report.flows:
            raise InputFileError(f"{source.name} has no pair of frames: need at least 2 frames of one size")

    def _say_compiled(self, pair: PairFlow) -> None:
        """Says what compiling for this pair has cost, if it was the first one of its size."""
        seconds = compile_seconds(self.network)
        if seconds > self.compile_seconds:
            size = computed_size(tuple(pair.forward.shape[1:]), self.settings.size_to_compute())
            say(
                f"compiling for {size_text(size)} took {seconds - self.compile_seconds:.1f} s, once for each size computed"
            )
            self.compile_seconds = seconds

    def _summary(self, reports: list[ClipReport]) -> dict[str, Any]:
        seconds = sum(report.seconds for report in reports)
        expected = self.expected_memory.num_bytes.values()
        return {
            "flowgru": VERSION,
            "model": self.settings.model,
            "card": self.network.card,
            "settings": {
                **asdict(self.settings),
                **asdict(self.way),
                **({} if self.settings.flow_folder is None else {"initial_flow": self.settings.flow_folder}),
                "device": str(self.device),
            },
            "request": self.place.request,
            "seconds": round(seconds, 3),
            "compile_seconds": round(self.compile_seconds, 3),
            "frames_per_second": round(sum(len(report.flows) for report in reports) / max(seconds, 1e-3), 3),
            "expected_memory_mib": round(max(expected, default=0) / 2**20, 1),
            "peak_memory_mib": round(peak_memory(self.device) / 2**20, 1),
            "clips": [asdict(report) for report in reports],
        }
