"""How well the errors of a flow can be told without the true flow, from four signs of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.config.model_settings import ModelSettings
from flowgru.console import progress
from flowgru.data.classical import grey_levels
from flowgru.data.formats.images import to_levels
from flowgru.data.polish import LONGEST, census_error
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.evaluation.measures.sections import Chart, Column, Curve, MeasuredTable, Section, Value
from flowgru.evaluation.measures.subjects import Pair, Subject, estimated, read_pairs
from flowgru.evaluation.trust import BINS, calibration, kept_errors, ordered, sparsification_error
from flowgru.grid import backward_warp, lengths
from flowgru.model.exported.flow import ExportedFlow

SIGNS = {
    "confidence": "what the model says, read as the probability of an error of at most 1 px",
    "forward-backward": "distance of the flow from the opposite of the backward flow where it leads [px]; infinite where it "
    "leaves the picture",
    "last update": "length of what the last refinement changed, before any polish [px]",
    "census": "how unlike the matched pixels look, averaged over 15x15 pixels",
}
PIXELS_A_PAIR = 10_000
"""Valid pixels of each pair that are kept, evenly spread."""
COVERAGES = (0.8, 0.9)
SHARES = 50
"""Shares of the pixels at which a curve is drawn."""


class Kept(NamedTuple):
    """What is kept of the pixels of a data set: errors in pixels, and by name each sign, larger where less is trusted."""

    errors: list[Float[Tensor, "N"]]
    signs: dict[str, list[Float[Tensor, "N"]]]


class TrustMeasure:
    """Gathers the signs of each pair with a true flow, and the errors that they are to tell."""

    def __init__(self, subject: Subject, settings: ModelSettings) -> None:
        self.subject = subject
        self._matcher = None
        network, way = subject.network, subject.way
        if network is None or way is None:
            return
        gives_all_flows = not isinstance(network, ExportedFlow)
        asked = MatchSettings(
            way,
            backward=way.initial_flow != "given",
            padding=subject.padding,
            precision=settings.precision,
            tiles=settings.rows_and_columns(),
            stop_below=settings.stop_below,
            can_resize=False,
            confidence=True,
            cuda_graph=settings.cuda_graph,
            last_update=way.iterations > 1 and gives_all_flows and settings.stop_below is None,
        )
        self._matcher = PairMatcher(network, asked)

    def measure(self) -> Kept:
        """All pairs of the data set that can be read."""
        kept = Kept([], {name: [] for name in SIGNS})
        with progress(f"{self.subject.label} trust", len(self.subject.pairs), "pairs") as advance:
            for pair in read_pairs(self.subject):
                self._add(pair, kept)
                advance()
        return kept

    def _add(self, pair: Pair, kept: Kept) -> None:
        sample = pair.sample
        places = sample.valid.flatten().nonzero()[:, 0]
        if not len(places):
            return
        places = places[:: max(1, -(-len(places) // PIXELS_A_PAIR))]
        flow, signs = self._signs(pair)
        error = lengths(flow - sample.flow).nan_to_num(nan=torch.inf, posinf=torch.inf)
        kept.errors.append(error.flatten()[places].double())
        for name in SIGNS:
            if (sign := signs.get(name)) is not None:
                kept.signs[name].append(sign.nan_to_num(nan=torch.inf, posinf=torch.inf).flatten()[places].double())

    @torch.inference_mode()
    def _signs(self, pair: Pair) -> tuple[Float[Tensor, "2 H W"], dict[str, Float[Tensor, "H W"]]]:
        """The flow of a pair, and its signs."""
        first, second = pair.sample.first, pair.sample.second
        signs: dict[str, Tensor] = {}
        if self._matcher is None:
            flow = estimated(self.subject.estimator, first, second, pair.start).float()
            backward = estimated(self.subject.estimator, second, first).float()
        else:
            found = self._matcher.match(first[None], second[None], [pair.start, None])
            flow, backward = found.forward.cpu(), None if found.backward is None else found.backward.cpu()
            if found.confidence is not None:
                signs["confidence"] = -found.confidence.cpu()
            if found.last_update is not None:
                signs["last update"] = lengths(found.last_update.cpu())
        if backward is not None:
            returned, inside = backward_warp(backward[None], flow[None])
            signs["forward-backward"] = torch.where(inside[0], lengths(flow + returned[0]), torch.inf)
        if max(first.shape) <= LONGEST:
            greys = [grey_levels(to_levels(picture)) for picture in (first, second)]
            array = np.ascontiguousarray(flow.permute(1, 2, 0).numpy(), np.float32)
            signs["census"] = torch.from_numpy(census_error(greys[0], greys[1], array))
        return flow, signs


def measure_trust(subjects: Sequence[Subject], settings: ModelSettings) -> Section:
    """AUSE, calibration and risk of each sign on each set whose true flow is known."""
    table: list[list[Value]] = []
    bins: list[list[Value]] = []
    charts, notes = [], []
    for subject in subjects:
        if not subject.has_truth:
            notes.append(f"{subject.label} has no true flow: --trust compares errors, which need one.")
            continue
        kept = TrustMeasure(subject, settings).measure()
        if not kept.errors:
            notes.append(f"{subject.label} has no pixel with a valid true flow: nothing is known of its errors.")
            continue
        errors = torch.cat(kept.errors)
        curves, calibrated = [Curve("the errors themselves", *_curve(errors, errors))], []
        for name in SIGNS:
            if not kept.signs[name]:
                table.append([subject.label, name, *[None] * 5])
                continue
            sign = torch.cat(kept.signs[name])
            stated = name == "confidence"
            calibration_error, rows = calibration(-sign if stated else sign, errors, stated=stated)
            risks = [kept_errors(errors, -sign, coverage) for coverage in COVERAGES]
            ause = sparsification_error(errors, -sign)
            table.append([subject.label, name, ause, *risks, float(errors.mean()), calibration_error])
            bins += [[subject.label, name, *row] for row in rows]
            calibrated.append(Curve(name, [float(row.number) for row in rows], [100 * row.within for row in rows]))
            curves.append(Curve(name, *_curve(errors, sign)))
        title = f"{subject.label}: error of the pixels that are trusted most"
        charts.append(Chart(title, "share of the pixels that are kept [%]", "mean error [px]", curves))
        title = f"{subject.label}: calibration in {BINS} bins"
        charts.append(Chart(title, "bin, the most trusted first", "error of at most 1 px [%]", calibrated))
    return Section("--trust", "Trust", _tables(table, bins), charts, notes) if table else _empty(notes)


def _empty(notes: list[str]) -> Section:
    return Section("--trust", "Trust", [], notes=notes)


def _tables(table: list[list[Value]], bins: list[list[Value]]) -> list[MeasuredTable]:
    signs = "; ".join(f"{name}: {text}" for name, text in SIGNS.items())
    says = (
        f"How well signs tell the errors, on up to {PIXELS_A_PAIR:,} pixels of each pair. ause is the area between the "
        "curve of the error of the pixels that are left when the least trusted are taken away and the same curve by the "
        "errors themselves, relative to the mean error: 0 is perfect. risk_80 and risk_90 are the mean error of the 80 % "
        "and 90 % trusted most, epe that of all. calibration_error is the mean distance between a stated probability "
        f"and how often it comes true. {signs}. A dash stands where the method does not have the sign."
    )
    columns = [
        Column("set"), Column("sign"), Column("ause"), Column("risk_80", "px"), Column("risk_90", "px"),
        Column("epe", "px"), Column("calibration_error"),
    ]  # fmt: skip
    bin_says = (
        f"Calibration in {BINS} bins, the most trusted first: of the confidence bins of equal width, of the other signs "
        "bins of equally many pixels. value is the mean of the sign in the bin where it is finite, within_1px the share of "
        "its pixels with an error of at most 1 px."
    )
    bin_columns = [
        Column("set"), Column("sign"), Column("bin"), Column("value"), Column("within_1px"), Column("epe", "px"),
        Column("share_of_pixels"),
    ]  # fmt: skip
    return [
        MeasuredTable("trust", says, columns, table),
        MeasuredTable("trust_bins", bin_says, bin_columns, bins, shown=False),
    ]


def _curve(errors: Float[Tensor, "N"], sign: Float[Tensor, "N"]) -> tuple[list[float], list[float]]:
    """Mean error over the share of the pixels that is kept, the most trusted first."""
    sums = ordered(errors, sign).cumsum(dim=0)
    numbers = [max(1, len(errors) * (step + 1) // SHARES) for step in range(SHARES)]
    return [100 * number / len(errors) for number in numbers], [sums[number - 1].item() / number for number in numbers]
