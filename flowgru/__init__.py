"""Optical flow with a RAFT-style network whose recurrent update operator can be swapped.

    from flowgru import estimate_flow, flow_to_image, load_model
    for flow in estimate_flow(frames, load_model()):
        picture = flow_to_image(flow)

The names are imported when they are first used: `flowgru --help` needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowgru.data.formats.flow_files import read_flow, write_flow
    from flowgru.estimation.stream import estimate_flow
    from flowgru.grid import warp
    from flowgru.model.weight_files.loading import load_model
    from flowgru.view.colour_wheel import flow_to_image

__all__ = ["estimate_flow", "flow_to_image", "load_model", "read_flow", "warp", "write_flow"]

_HOMES = {
    "estimate_flow": "flowgru.estimation.stream",
    "flow_to_image": "flowgru.view.colour_wheel",
    "load_model": "flowgru.model.weight_files.loading",
    "read_flow": "flowgru.data.formats.flow_files",
    "warp": "flowgru.grid",
    "write_flow": "flowgru.data.formats.flow_files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'flowgru' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
