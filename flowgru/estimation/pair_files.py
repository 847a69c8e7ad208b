"""The files of one pair: its flows, its occlusions, and how sure the network is."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.data.formats.flow_files import write_flow_array
from flowgru.data.formats.images import write_image
from flowgru.estimation.geometry import occlusion_mask
from flowgru.estimation.stream import PairFlow


def write_pair(
    pair: PairFlow, folder: Path, *, extension: str, with_confidence: bool, overwrite: bool
) -> dict[str, Any]:
    """Writes what one pair gives, each file whole, and returns what the summary says of it."""
    name = pair.first.name
    write_flow_array(folder / f"{name}{extension}", _as_array(pair.forward), overwrite=overwrite)
    if pair.backward is not None:
        write_flow_array(folder / f"{name}_backward{extension}", _as_array(pair.backward), overwrite=overwrite)
        hidden = occlusion_mask(pair.forward, pair.backward).cpu().numpy().astype(np.uint8) * 255
        write_image(folder / f"{name}_occlusion.png", np.repeat(hidden[..., None], 3, axis=2), overwrite=overwrite)
    if pair.confidence is not None and with_confidence:
        levels = (pair.confidence * 255).round().byte().cpu().numpy()
        write_image(folder / f"{name}_confidence.png", np.repeat(levels[..., None], 3, axis=2), overwrite=overwrite)
    lengths = torch.linalg.vector_norm(pair.forward, dim=0).cpu().numpy()
    return {
        "name": name,
        "time": pair.first.time,
        "mean": _rounded(lengths.mean()),
        "max": _rounded(lengths.max()),
        "refinements": pair.num_refinements,
        "damaged": pair.first.damaged or pair.second.damaged,
        **dict(zip(("initial_flow", "initial_flow_backward"), pair.initial_flows, strict=False)),
    }


def _rounded(length: np.floating) -> float | None:
    return round(float(length), 4) if np.isfinite(length) else None  # JSON knows no NaN


def _as_array(flow: Float[Tensor, "2 H W"]) -> Float[np.ndarray, "H W 2"]:
    return np.ascontiguousarray(flow.permute(1, 2, 0).cpu().numpy())
