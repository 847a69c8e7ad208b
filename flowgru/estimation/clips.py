"""The work of `flowgru estimate`: clip after clip, pair after pair, in constant memory."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from flowgru.config.estimation import EstimateSettings
from flowgru.console import progress, say, warn
from flowgru.data.formats.flow_formats import FLOW_FORMATS
from flowgru.data.formats.images import to_tensor
from flowgru.data.video.frames import Frame, FrameSource, open_frames
from flowgru.data.video.sampling import sampled
from flowgru.errors import InputFileError, RequestError
from flowgru.estimation.expected_memory import ExpectedMemory
from flowgru.estimation.geometry import size_text
from flowgru.estimation.initial_flow import FlowFolder, InitialFlow
from flowgru.estimation.matcher import PairMatcher
from flowgru.estimation.opening import is_exported, open_network
from flowgru.estimation.outputs import (
    VIDEO,
    clip_folders,
    make_folders,
    refuse_clashing_names,
    refuse_folders,
    remove_empty,
    write_summary,
)
from flowgru.estimation.pair_files import write_pair
from flowgru.estimation.side_by_side import PICTURES_A_SECOND, write_side_by_side
from flowgru.estimation.stream import PairFlow, PairGiven, StreamFrame, matched_flows
from flowgru.model.compiled import compile_seconds
from flowgru.model.memory import peak_memory
from flowgru.version import VERSION


@dataclass
class ClipReport:
    """What became of one clip."""

    clip: str
    folder: str
    problems: list[str] = field(default_factory=list)
    """One line for whatever could not be read."""
    seconds: float = 0.0
    """Seconds for reading, computing and writing the flows; without the video."""
    colour_scale: float | None = None
    """Length in pixels of the strongest colour of the video."""
    arrows: str | None = None
    """How far apart the arrows of the video are, and how many times as long as the flow."""
    flows: list[dict[str, Any]] = field(default_factory=list)
    """Name, time stamp in seconds, mean and maximum in pixels, refinements, whether damaged data went in, where the
    refinement began (of the backward flow, too), and seconds.

    Mean and maximum are None where the flow is not finite everywhere.
    """


class Estimation:
    """One run of `flowgru estimate`; nothing is written before every setting has been found to make sense."""

    def __init__(self, inputs: list[str], settings: EstimateSettings) -> None:
        self.settings = settings
        self.root = Path(settings.output)
        self.extension = FLOW_FORMATS[settings.format].suffix
        self.sources = open_frames(inputs, settings.start, settings.end)
        self.folders = clip_folders(self.root, [source.name for source in self.sources])
        pictures = settings.backward or settings.confidence or self.extension == ".png"
        paths = [path for source in self.sources for path in source.paths]
        refuse_folders(self.root, self.folders, paths, self.extension, pictures=pictures, overwrite=settings.overwrite)
        refuse_clashing_names(
            paths, ("_backward", "_occlusion") * settings.backward + ("_confidence",) * settings.confidence
        )
        self.network = open_network(settings)
        self.device = self.network.device
        if settings.device == "auto" and self.device.type == "cpu" and not is_exported(settings.model):
            warn("computing on the CPU: no CUDA device was found")
        if settings.confidence and not self.network.config.confidence:
            raise RequestError(
                f"--confidence: the model {settings.model} does not say how sure it is; train one with "
                "--network.confidence --loss mixture, or use --backward for occlusions"
            )
        self.compile_seconds = 0.0
        """What first pairs took to compile for; it is part of the clips' seconds."""
        self.way = settings.way(self.network.card)
        self.matcher = PairMatcher(
            self.network,
            self.way,
            warm_start=settings.warm_start,
            backward=settings.backward,
            resize=settings.size_to_compute(),
            precision=settings.precision,
            tiles=settings.rows_and_columns(),
            stop_below=settings.stop_below,
        )
        self.expected_memory = ExpectedMemory(self.network, self.way, settings)
        self.given: dict[str, PairGiven] = {}
        """What gives the initial flows of a clip from files, by the clip's name."""
        if self.way.initial_flow == "given":
            names = [source.name for source in self.sources]
            # Several clips have a folder each, as their results do.
            for name, folder in zip(names, clip_folders(Path(settings.initial_flow or ""), names), strict=True):
                self.given[name] = partial(read_initial_flow, FlowFolder(folder))

    def run(self) -> int:
        """Estimates every clip and writes the summary; returns 3 where an input could not be read whole, else 0."""
        new = [folder for folder in dict.fromkeys([self.root, *self.folders]) if not folder.exists()]
        make_folders([self.root, *self.folders])
        try:
            return self._run()
        finally:
            remove_empty(new)

    def _run(self) -> int:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        reports = []
        for source, folder in zip(self.sources, self.folders, strict=True):
            report = ClipReport(source.name, str(folder))
            reports.append(report)
            if not self._estimate_clip(source, folder, report) and self.settings.on_error == "fail":
                break
        num_flows = sum(len(report.flows) for report in reports)
        problems = [problem for report in reports for problem in report.problems]
        if num_flows:
            seconds = sum(report.seconds for report in reports)
            write_summary(self.root, self._summary(reports), overwrite=self.settings.overwrite)
            flows = f"{num_flows} flow{'s' if num_flows > 1 else ''}"
            say(
                f"wrote {flows} into {self.root} in {seconds:.1f} s ({num_flows / seconds:.2f} frames/s), "
                f"peak memory {peak_memory(self.device) / 2**20:.0f} MiB"
            )
        for problem in problems:
            warn(f"error: {problem}")
        return InputFileError.exit_code if problems else 0

    def _estimate_clip(self, source: FrameSource, folder: Path, report: ClipReport) -> bool:
        """Writes a clip's flows and its video. False where its frames could not be read to their end."""
        began = time.perf_counter()
        error = None
        try:
            self._write_flows(source, folder, report)
        except InputFileError as met:
            error = str(met)
        report.problems += source.problems
        report.seconds = round(time.perf_counter() - began, 3)
        if report.flows and (self.settings.video or self.settings.arrows):
            report.colour_scale, arrows = write_side_by_side(
                source,
                [folder / f"{flow['name']}{self.extension}" for flow in report.flows],
                folder / VIDEO,
                max_flow=self.settings.max_flow,
                arrows=self.settings.arrows,
                frame_rate=self._frame_rate(source),
                overwrite=self.settings.overwrite,
            )
            if arrows is not None:
                report.arrows = str(arrows)
                say(f"{folder / VIDEO} has {arrows}")
        if error is not None:
            report.problems.append(error)
        return error is None

    def _frame_rate(self, source: FrameSource) -> float:
        """Pairs a second of a clip, for its video."""
        rate, fps = float(source.frame_rate or PICTURES_A_SECOND), self.settings.fps
        return (rate if fps is None else min(rate, fps)) / self.settings.stride

    def _write_flows(self, source: FrameSource, folder: Path, report: ClipReport) -> None:
        settings = self.settings
        expected = source.expected_frames
        if settings.fps is not None and expected is not None and source.frame_rate:
            expected = min(expected, round(expected * settings.fps / source.frame_rate))
        num_pairs = None if expected is None else max(0, -(-expected // settings.stride) - 1)
        frames = self.expected_memory.announced(clip_stream(source, stride=settings.stride, fps=settings.fps))
        pairs = matched_flows(frames, self.matcher, given=self.given.get(source.name))
        with progress(source.name, num_pairs) as advance:
            began = time.perf_counter()
            for pair in pairs:
                self._say_compiled(pair)
                record = write_pair(
                    pair,
                    folder,
                    extension=self.extension,
                    with_confidence=settings.confidence,
                    overwrite=settings.overwrite,
                )
                now = time.perf_counter()
                report.flows.append({**record, "seconds": round(now - began, 4)})
                began = now
                advance()
        if not report.flows:
            raise InputFileError(f"{source.name} has no pair of frames: need at least 2 frames of one size")

    def _say_compiled(self, pair: PairFlow) -> None:
        """Says what compiling for this pair has cost, if it was the first one of its size."""
        seconds = compile_seconds(self.network)
        if seconds > self.compile_seconds:
            height, width = pair.forward.shape[1:]
            say(f"compiling for {width}x{height} took {seconds - self.compile_seconds:.1f} s, once for this size")
            self.compile_seconds = seconds

    def _given_flows(self) -> dict[str, str | None]:
        """The folder that initial flows were read from, if there is one."""
        return {"initial_flow": self.settings.initial_flow} if self.way.initial_flow == "given" else {}

    def _summary(self, reports: list[ClipReport]) -> dict[str, Any]:
        seconds = sum(report.seconds for report in reports)
        return {
            "flowgru": VERSION,
            "model": self.settings.model,
            "card": self.network.card,
            "settings": {
                **asdict(self.settings),
                **asdict(self.way),
                **self._given_flows(),
                "device": str(self.device),
            },
            "seconds": round(seconds, 3),
            "compile_seconds": round(self.compile_seconds, 3),
            "frames_per_second": round(sum(len(report.flows) for report in reports) / seconds, 3),
            "expected_memory_mib": round(max(self.expected_memory.num_bytes.values()) / 2**20, 1),
            "peak_memory_mib": round(peak_memory(self.device) / 2**20, 1),
            "clips": [asdict(report) for report in reports],
        }


def clip_stream(source: FrameSource, *, stride: int = 1, fps: float | None = None) -> Iterator[StreamFrame]:
    """The frames that are used of a clip, see sampled. InputFileError where two picture files have different sizes."""
    before = None
    for frame in sampled(source, source.name, stride=stride, fps=fps):
        if before is not None and before.segment == frame.segment and before.image.shape != frame.image.shape:
            raise InputFileError(
                f"{before.name} is {size_text(before.image.shape)} and {frame.name} {size_text(frame.image.shape)}: "
                "both frames of a pair must have one size"
            )
        before = frame
        yield StreamFrame(to_tensor(frame.image)[None], frame, frame.segment)


def read_initial_flow(folder: FlowFolder, first: Frame, size: tuple[int, ...], /, *, backward: bool) -> InitialFlow:
    """The initial flow of a pair, in a file that is named as its result."""
    return folder.read(f"{first.name}_backward" if backward else first.name, size)
