"""Estimates what a visitor gives into a folder that is the visitor's own."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from flowgru.config.estimation import size_to_compute
from flowgru.config.model_settings import ModelSettings
from flowgru.config.require import require
from flowgru.config.way import COMPUTED
from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.images import image_size, write_image
from flowgru.data.video.elapsed import Elapsed
from flowgru.data.video.frames import Frame, FrameSource, open_clip
from flowgru.errors import InputFileError, RequestError, size_text
from flowgru.estimation.clip_frames import clip_stream
from flowgru.estimation.opening import match_settings, open_network
from flowgru.estimation.outputs import refuse_clashing_names
from flowgru.estimation.pair_files import PairToWrite
from flowgru.estimation.side_by_side import FLOWS_FOR_SCALE, PICTURES_A_SECOND
from flowgru.estimation.stream import PairFlow, pair_flows
from flowgru.files.names import shortest_names
from flowgru.model.pair_network import PairNetwork
from flowgru.model.weight_files.hub import is_hub_address
from flowgru.model.weight_files.loading import RELEASED, device_of_option
from flowgru.view.colour_wheel import suggest_max_flow
from flowgru.web.settings import WebSettings

MOST_REFINEMENTS = 64
"""That a visitor may ask for."""


@dataclass(frozen=True)
class Wishes:
    """How a visitor wants the flow estimated; None is as the model's card says."""

    model: str
    iterations: int | None = None
    initial_flow: str | None = None
    polish: bool | None = None
    size: str | None = None
    """Size at which it is computed, as --resize of estimate; None is the frames' own."""
    backward: bool = False
    """The backward flow too, and with it the occlusion."""


class Pair(NamedTuple):
    """A pair of frames whose flow lies in the visitor's folder, under the name."""

    name: str
    first: Path
    """The picture of its first frame."""
    second: Path
    shown_at: float | None = None
    """Seconds after the first frame of the clip; None where frames have no times."""


@dataclass
class EstimatedClip:
    """What was estimated of a clip, or of two pictures."""

    folder: Path
    """Holds NAME.flo and, where there are such, NAME_backward.flo, NAME_occlusion.png and NAME_confidence.png."""
    pairs: list[Pair] = field(default_factory=list)
    frame_rate: float = PICTURES_A_SECOND
    scale: float = 1.0
    """Length in pixels of the strongest colour that suits all of its flows."""
    has_backward: bool = False
    has_confidence: bool = False
    notes: list[str] = field(default_factory=list)
    """What a visitor should know of it, a line each."""


class Models:
    """The networks that visitors choose from, each opened when it is first asked for."""

    def __init__(self, settings: WebSettings) -> None:
        self._device = settings.device
        models = [*dict.fromkeys(settings.models)]
        self._paths = dict(zip(shortest_names(models), models, strict=True))
        self._opened: dict[str, PairNetwork] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """As visitors see them: files without their folders, unless these tell two files apart."""
        return [*self._paths]

    def open_files(self) -> None:
        """Opens what needs no download, so that a name that is no model is refused before anybody asks for it.

        RequestError and MachineError as of open_network.
        """
        device_of_option(self._device)
        for model in self._paths.values():
            if model not in RELEASED and not is_hub_address(model):
                self.network(ModelSettings(model=model))

    def settings(self, wishes: Wishes) -> ModelSettings:
        """What --model and its companions say. RequestError for what a visitor may not ask for."""
        if wishes.model not in self._paths:
            raise RequestError(f"the model is {wishes.model!r}: expected one of {', '.join(self._paths)}")
        if wishes.initial_flow not in (None, *COMPUTED):
            raise RequestError(f"the initial flow is {wishes.initial_flow!r}: expected one of {', '.join(COMPUTED)}")
        count = wishes.iterations
        require(count is None or 1 <= count <= MOST_REFINEMENTS, "iterations", count, f"from 1 to {MOST_REFINEMENTS}")
        return ModelSettings(
            model=self._paths[wishes.model],
            iterations=count,
            initial_flow=wishes.initial_flow,
            polish=wishes.polish,
            device=self._device,
        )

    def network(self, settings: ModelSettings) -> PairNetwork:
        """RequestError and MachineError as of open_network."""
        with self._lock:
            if settings.model not in self._opened:
                self._opened[settings.model] = open_network(ModelSettings(model=settings.model, device=self._device))
            return self._opened[settings.model]


class Counted(NamedTuple):
    """How far the work has come."""

    done: int
    total: int | None


def estimated(
    inputs: Sequence[Path], wishes: Wishes, models: Models, limits: WebSettings, folder: Path
) -> Iterator[Counted | EstimatedClip]:
    """Counts the pairs that are done, and gives the whole at last, in a new folder.

    inputs: two pictures, or a clip. Errors are those of open_clip, pair_flows and open_network, and InputFileError for
    frames that are larger than the limit, and for an animation among two pictures.
    """
    folder.mkdir(parents=True)
    settings, size = models.settings(wishes), size_to_compute(wishes.size)
    if len(inputs) > 1:
        for picture in inputs:
            width, height = image_size(picture)  # also says which of them is no single picture
            require_small(picture.name, height, width, limits.max_megapixels)
    source = FirstFrames(open_clip(inputs, end=limits.max_frames + 1), limits)
    refuse_clashing_names(source, ("_backward", "_occlusion", "_confidence"))
    network = models.network(settings)
    clip = EstimatedClip(folder, has_backward=wishes.backward, has_confidence=network.config.confidence)
    num_frames = source.expected_frames
    total = None if num_frames is None else max(1, min(num_frames, limits.max_frames) - 1)
    yield Counted(0, total)
    frames = clip_stream(source)
    latest: tuple[Frame, Path] | None = None
    clock = Elapsed()
    asked = match_settings(network, settings, backward=wishes.backward, resize=size, confidence=True)
    for pair in pair_flows(frames, network, asked):
        latest = _write(pair, clip, latest, clock.shown_at(pair.first.time))
        yield Counted(len(clip.pairs), total)
    if not clip.pairs:
        raise InputFileError("there is no pair of frames: need at least 2 frames of one size")
    clip.notes += source.problems
    if source.is_cut:
        num_frames = open_clip(inputs).expected_frames
        of_all = "" if num_frames is None else f"of {num_frames} frames "
        clip.notes.append(f"{of_all}the first {limits.max_frames} are used, which is the limit here")
    clip.frame_rate = float(source.frame_rate or PICTURES_A_SECOND)
    step = -(-len(clip.pairs) // FLOWS_FOR_SCALE)
    clip.scale = suggest_max_flow(read_flow(folder / f"{pair.name}.flo").flow for pair in clip.pairs[::step])
    yield clip


class FirstFrames(FrameSource):
    """The frames of a clip that are used, as long as they are no larger than a visitor's may be."""

    def __init__(self, source: FrameSource, limits: WebSettings) -> None:
        self.name, self.paths, self.frame_names = source.name, source.paths, source.frame_names
        self.expected_frames = source.expected_frames
        self.is_cut = False
        """Whether the clip goes on after the frames that came."""
        self._source, self._limits = source, limits

    @property
    def frame_rate(self) -> Fraction | None:
        return self._source.frame_rate

    @property
    def problems(self) -> list[str]:
        return self._source.problems

    def __iter__(self) -> Iterator[Frame]:
        for number, frame in enumerate(self._source):
            if number == self._limits.max_frames:
                self.is_cut = True
                return
            height, width = frame.image.shape[:2]
            require_small(frame.name, height, width, self._limits.max_megapixels)
            yield frame


def require_small(name: str, height: int, width: int, max_megapixels: float) -> None:
    """InputFileError for a frame that is larger than a visitor's may be."""
    if height * width > max_megapixels * 1e6:
        raise InputFileError(
            f"{name} is {size_text((height, width))}: at most {max_megapixels:g} million pixels are taken here; make it "
            "smaller"
        )


def _write(
    pair: PairFlow, clip: EstimatedClip, latest: tuple[Frame, Path] | None, shown_at: float | None
) -> tuple[Frame, Path]:
    """Writes a pair's flows, and its frames for the eye; `latest` is the frame that was written last, and where."""
    PairToWrite(pair, goes_on=False).write(clip.folder, extension=".flo", overwrite=False)
    frames = clip.folder / "frames"
    number = len(clip.pairs)
    if latest is None or latest[0] is not pair.first:
        latest = pair.first, frames / f"{number:06d}_first.jpg"
        write_image(latest[1], pair.first.image)
    second = frames / f"{number:06d}_second.jpg"
    write_image(second, pair.second.image)
    clip.pairs.append(Pair(pair.first.name, latest[1], second, shown_at))
    return pair.second, second
