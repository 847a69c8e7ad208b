"""The steps of a way around the network: what begins the refinement of a pair, and what is done to its flow after."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from flowgru.config.way import Way
from flowgru.data.classical import grey_levels
from flowgru.data.formats.images import to_levels
from flowgru.data.polish import Grey, polish
from flowgru.estimation.matching.initial_flow import ZERO, InitialFlow, dis_initial_flow
from flowgru.types import Flow, Images, Levels

BYTES_PER_PIXEL = 30
"""Of what a way keeps of a pair besides the network: an initial flow, both pictures in grey, and what DIS leaves behind."""

POLISH_BYTES_PER_PIXEL = 210
"""Of what polish takes while it runs, measured at 1080x1920: OpenCV's variational refinement takes most; the gate less."""


def grey_of(way: Way, picture: Images | Levels) -> Grey | None:
    """The picture as the steps around the network compare it; None where the way has no such step."""
    return grey_levels(to_levels(picture[0])) if way.polish or way.initial_flow == "dis" else None


def begin(way: Way, first: Grey | None, second: Grey | None) -> InitialFlow:
    """Where the way begins between two pictures for which there is no flow yet."""
    if way.initial_flow != "dis":
        return ZERO
    assert first is not None and second is not None
    return dis_initial_flow(first, second)


def finish(way: Way, flow: Flow, start: InitialFlow, first: Grey | None, second: Grey | None) -> Flow:
    """The network's flow of one pair, polished where the way says so; the gate needs an initial flow in full."""
    if not way.polish:
        return flow
    assert first is not None and second is not None
    begun = None if start.flow is None else _as_array(start.flow)
    polished = polish(first, second, _as_array(flow), begun)
    return torch.from_numpy(np.ascontiguousarray(polished.transpose(2, 0, 1)))[None].to(flow.device)


def beside(device: torch.device, work: Callable[[], InitialFlow]) -> Callable[[], InitialFlow]:
    """What gives the result of `work`: done in a thread meanwhile where a GPU computes, else when it is asked for."""
    if device.type != "cuda":
        return work
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="initial flow")
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future.result


def memory_of(way: Way, height: int, width: int) -> tuple[int, int]:
    """Bytes that the steps around the network keep for pictures of height x width, and those that polish takes after it."""
    steps = way.polish or way.initial_flow != "zero"
    pixels = height * width
    return BYTES_PER_PIXEL * pixels * steps, POLISH_BYTES_PER_PIXEL * pixels * way.polish


def _as_array(flow: Flow) -> np.ndarray:
    return np.ascontiguousarray(flow[0].float().permute(1, 2, 0).cpu().numpy())
