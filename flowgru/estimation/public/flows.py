"""`estimate_flow` for the frames of a clip, and `estimate_pairs` for pairs that have nothing to do with each other.

Their settings are annotated as Any, because it is they that check what a caller gives.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.config.way import COMPUTED, MAX_SCALES, resolve_way
from flowgru.data.formats.picture_kinds import picture_tensor
from flowgru.errors import RequestError, sides, size_text
from flowgru.estimation.matching.initial_flow import GivenFlows, num_listed
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.estimation.opening import is_exported
from flowgru.estimation.public.frames import open_stream, several_pictures
from flowgru.estimation.stream import PairFlow, PairGiven, pair_flows
from flowgru.kinds import given_path, positive_number, whole_number
from flowgru.model.exported.flow import ExportedFlow
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.pair_network import PairNetwork
from flowgru.model.weight_files.loading import load_model
from flowgru.types import PictureLike


def estimate_flow(
    frames: Any,
    model: Any = None,
    *,
    iterations: Any = None,
    initial_flow: Any = None,
    hold: Any = None,
    polish: Any = None,
    scales: Any = None,
    coarse_iterations: Any = None,
    warm_start: Any = False,
    tiles: tuple[int, int] = (1, 1),
    stop_below: Any = None,
) -> Iterator[Float[Tensor, "2 H W"]]:
    """Flow from each frame to the next, float32 [2, H, W] in pixels: N frames give N - 1 flows.

    frames: the path of a video, a folder of pictures or a pattern; or a list, a stack or any other iterable of pictures of
    one size, each a path, a PIL picture, or an array or tensor: grey [H, W], RGB or RGBA, the channels first or last, uint8,
    uint16, bool, or floating-point in [0, 1]. They are read one ahead of the flow.
    model: what load_model gives or takes, or the path of an exported model; without it, the model that comes with flowgru.
    iterations: refinements of each flow.
    initial_flow: where they begin: "dis", OpenCV's DIS flow of the pair; "zero"; or one flow for each pair, in pixels, with
    NaN, or what is beyond 1e9, where it is not known.
    hold: refinements before them that settle the hidden state and leave the flow where it is.
    polish: take the initial flow where the pictures agree better with it, and refine the flow by variation.
    scales: sizes of the pictures at which the flow is refined one after the other, each half as large as the next.
    coarse_iterations: refinements at each of these sizes but the full one.
    Each of these six is as the model's card says where it is None, else 12, "zero", 0, False, 1 and as iterations; where
    initial_flow is "zero", scales is 1 unless it is given.
    warm_start: begin each refinement at the previous pair's flow, carried along by itself; the first pair, a pair across a
    cut and the one after it begin at initial_flow.
    tiles: rows and columns of overlapping tiles that are computed one after the other, for frames that memory cannot hold.
    stop_below: end a refinement where a step has moved the flow by less than this many pixels, in the mean.

    Runs on the model's device; where memory does not suffice, with a smaller plan (see MatchSettings). RequestError where a
    frame or an initial flow is none of these, where sizes differ, or where there are fewer than two frames; InputFileError
    where a file cannot be read.
    """
    _require_known(initial_flow, "a flow for each pair")
    num_frames = num_listed(frames)
    num_pairs = num_frames - 1 if num_frames is not None and num_frames > 1 else None
    given = None if _is_computed(initial_flow) else GivenFlows(initial_flow, num_pairs)
    wanted = checked_way(iterations, initial_flow, hold, polish, scales, coarse_iterations)
    least = None if stop_below is None else positive_number("stop_below", stop_below)
    if not isinstance(warm_start, bool | np.bool_):
        raise RequestError(f"warm_start is {warm_start!r}: expected True or False")
    stream = open_stream(frames)
    network = opened(model)
    way = resolve_way(getattr(network, "card", None), **wanted)
    settings = MatchSettings(way, warm_start=bool(warm_start), tiles=tiles, stop_below=least, can_resize=False)
    pairs = pair_flows(stream, network, settings, given=None if given is None else _in_turn(given))
    return _forward_flows(pairs, given)


def estimate_pairs(
    first: PictureLike,
    second: PictureLike,
    model: Any = None,
    *,
    iterations: Any = None,
    initial_flow: Any = None,
    hold: Any = None,
    polish: Any = None,
    scales: Any = None,
    coarse_iterations: Any = None,
    tiles: tuple[int, int] = (1, 1),
    stop_below: Any = None,
) -> Float[Tensor, "*B 2 H W"]:
    """The flow from each first picture to its second, float32 [B, 2, H, W] in pixels; [2, H, W] from two single pictures.

    first, second: batches [B, 3, H, W] or [B, H, W, 3], lists of pictures, or one picture each, of any kind that
    estimate_flow takes; all of one size. They are computed pair by pair, so that a large batch takes no more memory.
    initial_flow: "dis", "zero", or one flow for each pair. The other arguments and the errors are those of estimate_flow.
    """
    _require_known(initial_flow, "a flow for each pair")
    wanted = checked_way(iterations, initial_flow, hold, polish, scales, coarse_iterations)
    least = None if stop_below is None else positive_number("stop_below", stop_below)
    firsts, several = several_pictures(first, "first")
    seconds, several_seconds = several_pictures(second, "second")
    if len(firsts) != len(seconds) or several != several_seconds or not firsts:
        counts = [f"{len(each)} picture{'s' * (len(each) != 1)}" for each in (firsts, seconds)]
        raise RequestError(f"first is {counts[0]} and second {counts[1]}: expected as many of both, one at least")
    starts = None
    if not _is_computed(initial_flow):
        starts = GivenFlows(initial_flow if several else [initial_flow], len(firsts))
    network = opened(model)
    way = resolve_way(getattr(network, "card", None), **wanted)
    matcher = PairMatcher(network, MatchSettings(way, tiles=tiles, stop_below=least, can_resize=False))
    flows: list[Tensor] = []
    for index, pair in enumerate(zip(firsts, seconds, strict=True)):
        place = f" {index}" * several
        before, after = (
            picture_tensor(each, f"{name}{place}")[None] for name, each in zip(("first", "second"), pair, strict=True)
        )
        size = tuple(before.shape[2:])
        for name, other in (
            ("its second", tuple(after.shape[2:])),
            ("the first of all", tuple(flows[0].shape[1:]) if flows else size),
        ):
            if other != size:
                raise RequestError(
                    f"first{place} is {sides(size)} and {name} {size_text(other)}: expected pictures of one size"
                )
        start = None if starts is None else starts.next(size)
        flows.append(matcher.match(before, after, [start]).forward.clone())
    return torch.stack(flows) if several else flows[0]


def _forward_flows(pairs: Iterable[PairFlow], given: GivenFlows | None) -> Iterator[Float[Tensor, "2 H W"]]:
    for pair in pairs:
        yield pair.forward
    if given is not None:
        given.check_number()


def opened(model: Any) -> PairNetwork:
    """The network that a caller names or gives."""
    if model is None:
        return load_model()
    if isinstance(model, str | os.PathLike):
        path = given_path(model, "model")
        return ExportedFlow(path) if is_exported(str(path)) else load_model(str(path))
    matches = callable(getattr(model, "encode", None)) and callable(getattr(model, "match", None))
    if isinstance(model, type) or not matches:
        raise RequestError(f"model is a {type(model).__name__}: expected what load_model gives, a name or a file")
    weights = model.parameters() if isinstance(model, FlowNetwork) else ()
    if other := next((each.dtype for each in weights if each.dtype != torch.float32), None):
        raise RequestError(f"model has weights in {other}: expected float32, which model.float() makes of them")
    return model


def _is_computed(initial_flow: Any) -> bool:
    return initial_flow is None or isinstance(initial_flow, str)


def _require_known(initial_flow: Any, otherwise: str) -> None:
    if isinstance(initial_flow, str) and initial_flow not in COMPUTED:
        raise RequestError(f"initial_flow is {initial_flow!r}: expected dis, zero, or {otherwise}")


def checked_way(
    iterations: Any, initial_flow: Any, hold: Any, polish: Any, scales: Any, coarse_iterations: Any
) -> dict[str, Any]:
    """The settings of a way that make sense by themselves."""
    if polish is not None and not isinstance(polish, bool):
        raise RequestError(f"polish is {polish!r}: expected True, False or None")
    return {
        "iterations": None if iterations is None else whole_number("iterations", iterations, 1),
        "initial_flow": initial_flow if _is_computed(initial_flow) else "given",
        "hold": None if hold is None else whole_number("hold", hold, 0),
        "polish": polish,
        "scales": None if scales is None else whole_number("scales", scales, 1, MAX_SCALES),
        "coarse_iterations": None
        if coarse_iterations is None
        else whole_number("coarse_iterations", coarse_iterations, 1),
    }


def _in_turn(flows: GivenFlows) -> PairGiven:
    return lambda source, size, /, *, backward: flows.next(size)
