"""Optical flow with a RAFT-style network whose recurrent update operator can be swapped.

    from flowgru import estimate_flow, flow_to_image
    for flow in estimate_flow("clip.mp4"):
        picture = flow_to_image(flow)

The names are imported when they are first used: `flowgru --help` needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from flowgru.version import VERSION as __version__

if TYPE_CHECKING:
    from flowgru.data.formats.flow_files import read_flow, write_flow
    from flowgru.estimation.public.flows import estimate_flow, estimate_pairs
    from flowgru.estimation.public.warping import occlusion, warp
    from flowgru.model.weight_files.loading import load_model
    from flowgru.model.weight_files.saving import push_model, save_model
    from flowgru.tracking.public import track
    from flowgru.view.arrows import draw_arrows
    from flowgru.view.colour_wheel import flow_to_image
    from flowgru.view.legend import colour_wheel_legend

__all__ = [
    "__version__",
    "colour_wheel_legend",
    "draw_arrows",
    "estimate_flow",
    "estimate_pairs",
    "flow_to_image",
    "load_model",
    "occlusion",
    "push_model",
    "read_flow",
    "save_model",
    "track",
    "warp",
    "write_flow",
]

_HOMES = {
    "colour_wheel_legend": "flowgru.view.legend",
    "draw_arrows": "flowgru.view.arrows",
    "estimate_flow": "flowgru.estimation.public.flows",
    "estimate_pairs": "flowgru.estimation.public.flows",
    "flow_to_image": "flowgru.view.colour_wheel",
    "load_model": "flowgru.model.weight_files.loading",
    "occlusion": "flowgru.estimation.public.warping",
    "push_model": "flowgru.model.weight_files.saving",
    "save_model": "flowgru.model.weight_files.saving",
    "read_flow": "flowgru.data.formats.flow_files",
    "track": "flowgru.tracking.public",
    "warp": "flowgru.estimation.public.warping",
    "write_flow": "flowgru.data.formats.flow_files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'flowgru' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
