"""An exported file in the network's place, wherever pairs of pictures are matched."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from flowgru.errors import RequestError, counted, lacks_memory, one_line, sides, size_text
from flowgru.grid import Padding, PaddingMode, padding_for
from flowgru.model.correlation.all_pairs import pyramid_bytes
from flowgru.model.correlation.choice import MatchPlan
from flowgru.model.exported.formats import INPUT_NAMES
from flowgru.model.exported.runtimes import open_file
from flowgru.model.initial_flow import start_from
from flowgru.model.memory import used_memory
from flowgru.model.memory_estimate import MemoryEstimate
from flowgru.model.prediction import FlowPrediction
from flowgru.model.weight_files.card_network import network_of_card
from flowgru.types import CoarseFlow, Flow, Images


class PaddedFrame(NamedTuple):
    """A picture at a size that the file takes; nothing is computed of one picture alone."""

    picture: Images
    padding: Padding

    @property
    def picture_shape(self) -> list[int]:
        """[1, 3, H, W] of the picture without its padding."""
        return [*self.padding.remove(self.picture).shape]


class ExportedFlow:
    """Flow by an exported file: `encode` and `match` as FlowNetwork's, on the CPU, with a fixed number of refinements."""

    def __init__(self, path: str | Path) -> None:
        """RequestError where the file is missing, damaged, or none of flowgru's; see open_file."""
        self.path = Path(path)
        self.opened, self.card = open_file(self.path)
        if {*self.opened.input_names} not in ({*INPUT_NAMES[:2]}, {*INPUT_NAMES}):
            raise RequestError(
                f"{path} takes {', '.join(self.opened.input_names)[:80]}, expected {', '.join(INPUT_NAMES)}"
            )
        self.runtime = self.opened.runtime
        self.iterations: int = self.card["iterations"]
        self.hold: int = self.card.get("hold", 0)
        self.max_size: int = self.card["export"]["max_size"]
        self.warm_start = "initial_flow" in self.opened.input_names
        self.device = torch.device("cpu")
        self.plan = MatchPlan("all_pairs")
        self.config = network_of_card(self.card, str(path))

    def encode(self, frame: Images, *, with_context: bool = True, padding: PaddingMode = "sintel") -> PaddedFrame:
        """The picture padded. RequestError where it is larger than the file takes."""
        height, width = frame.shape[-2:]
        added = padding_for(height, width, padding)
        padded = F.pad(frame.float(), added, mode="replicate")
        if max(padded.shape[-2:]) > self.max_size:
            raise RequestError(
                f"the picture is {sides((height, width))} and {self.path.name} takes at most "
                f"{size_text((self.max_size, self.max_size))}: use --tiles 2x2 or --resize 0.5, or export with "
                "a larger --max-size"
            )
        return PaddedFrame(padded, added)

    def match(
        self,
        first: PaddedFrame,
        second: PaddedFrame,
        *,
        iterations: int,
        initial_flow: Flow | None = None,
        initial_coarse: CoarseFlow | None = None,
        hold: int = 0,
        final_only: bool = True,
        stop_below: float | None = None,
        plan: MatchPlan | None = None,
        confidence: bool = True,
    ) -> FlowPrediction:
        """The flow of a pair, and how sure the file is of it where it says so and `confidence` is asked for.

        RequestError for other numbers of refinements, or a start or a plan, that the file does not have.
        """
        if plan is not None and plan != self.plan:
            raise RequestError(f"the correlation is {plan.correlation} and {self.path.name} keeps all pairs of pixels")
        for name, wanted, fixed in (("iterations", iterations, self.iterations), ("hold", hold, self.hold)):
            if wanted != fixed:
                raise RequestError(
                    f"{name} is {wanted} and {self.path.name} always does {fixed}, at every size: export it again with "
                    f"--{name} {wanted}"
                )
        if stop_below is not None:
            raise RequestError(
                f"stop_below is {stop_below} and {self.path.name} always does {counted(self.iterations, 'refinement')}"
            )
        inputs = {"first": _array(first.picture), "second": _array(second.picture)}
        if self.warm_start:
            start = start_from(initial_flow, initial_coarse, first.picture_shape, first.padding, torch.device("cpu"))
            inputs["initial_flow"] = _array(start)
        elif initial_coarse is not None or initial_flow is not None:
            raise RequestError(f"{self.path.name} cannot begin at a flow: export it again with --warm-start")
        found = self._run(inputs)
        sure = found.get("confidence") if confidence else None
        if sure is not None:
            sure = first.padding.remove(sure[:, None])[:, 0]
        return FlowPrediction(
            (first.padding.remove(found["flow"]),), found["coarse_flow"], sure, num_refinements=self.iterations
        )

    def _run(self, inputs: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """The outputs. RequestError where the file does not compute, or gives something else than a flow."""
        try:
            found = {name: torch.from_numpy(np.array(values)) for name, values in self.opened.run(inputs).items()}
        except Exception as error:  # each runtime has kinds of its own
            if lacks_memory(error):
                raise
            raise RequestError(f"{self.path} cannot be run ({one_line(error)}): export it again") from None
        height, width = inputs["first"].shape[-2:]
        shapes = {"flow": [1, 2, height, width], "coarse_flow": [1, 2, height // 8, width // 8]}
        shapes |= {"confidence": [1, height, width]} if "confidence" in found else {}
        for name, shape in shapes.items():
            values = found.get(name)
            if values is None or [*values.shape] != shape or values.dtype != torch.float32:
                got = "nothing" if values is None else f"{values.dtype} {[*values.shape]}"
                raise RequestError(f"{self.path} gives {got} as {name}, expected float32 {shape}: export it again")
        return found

    def smaller_plan(self, plan: MatchPlan) -> MatchPlan | None:
        """None: the file has one plan."""

    def expected_memory(
        self,
        height: int,
        width: int,
        *,
        num_tiles: int = 1,
        tile_shape: tuple[int, int] | None = None,
        after: int = 0,
        graph: bool = False,
        scales: int = 1,
        plan: MatchPlan | None = None,
    ) -> MemoryEstimate:
        """What a pair of that size takes at least: the correlation of all pairs of pixels, which is most of it when large.

        tile_shape: (height, width) of the tiles that are computed one after the other.
        after: bytes that are taken once its flow is there. graph, scales: change next to nothing here.
        """
        height, width = tile_shape or (height, width)
        rows, columns = padding_for(height, width).coarse_size(height, width)
        correlation = pyramid_bytes(1, rows, columns, self.config.sizes.correlation_levels)
        peak = 36 * height * width + max(correlation, after)
        return MemoryEstimate(self.device, "all_pairs", used_memory(self.device) + peak)


def _array(values: Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.numpy())
