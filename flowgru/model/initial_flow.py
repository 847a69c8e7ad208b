"""Where a refinement begins: a flow that is known before, in pixels of the picture, made ready for the network."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float

from flowgru.errors import RequestError
from flowgru.grid import Padding
from flowgru.kinds import UNKNOWN_ABOVE
from flowgru.types import CoarseFlow, Flow, Valid

Plane = Float[np.ndarray, "H W"]


def start_from(
    initial_flow: Flow | None,
    initial_coarse: CoarseFlow | None,
    shape: list[int],
    padding: Padding,
    device: torch.device,
) -> CoarseFlow:
    """The coarse flow at which a pair's refinement begins: of pictures of `shape` [B, 3, H, W], which grow by `padding`.

    initial_flow is in pixels of the picture, and may be unknown in places (see fill_unknown); its coarse form is the mean
    over each block of 8x8 pixels. initial_coarse is what an earlier prediction gave as `coarse`. Without both, the start
    is zero, on `device`. RequestError where both are given, or where the one that is given has another size.
    """
    batch, _, height, width = shape
    coarse_shape = [batch, 2, *padding.coarse_size(height, width)]
    if initial_flow is not None and initial_coarse is not None:
        raise RequestError(
            "initial_flow and initial_coarse are both given: a refinement begins at one flow, leave one out"
        )
    if initial_coarse is not None and [*initial_coarse.shape] != coarse_shape:
        raise RequestError(
            f"initial_coarse is {[*initial_coarse.shape]}: expected {coarse_shape}, the `coarse` of a prediction for "
            "pictures of this size"
        )
    if initial_flow is None:
        return torch.zeros(coarse_shape, device=device) if initial_coarse is None else initial_coarse
    if [*initial_flow.shape] != [batch, 2, height, width]:
        raise RequestError(
            f"initial_flow is {[*initial_flow.shape]}: expected {[batch, 2, height, width]}, in pixels of the picture"
        )
    return coarse_flow(fill_unknown(initial_flow.float()), padding)


def coarse_flow(flow: Flow, padding: Padding) -> CoarseFlow:
    """A flow that is known in every pixel, of pictures that grow by `padding`, in coarse pixels: the mean of each block."""
    return F.avg_pool2d(F.pad(flow, padding, mode="replicate"), 8) / 8


def fill_unknown(flow: Flow) -> Flow:
    """The same flow with every pixel known, filled in where it is not finite or beyond 1e9, as flow files mark it.

    Values are interpolated linearly between the known pixels around a gap, and copied from the nearest known pixel
    beyond them. RequestError where no pixel of a picture is known.
    """
    known = known_pixels(flow)
    if bool(known.all()):
        return flow
    if not bool(known.flatten(1).any(dim=1).all()):
        raise RequestError(
            "initial_flow has a picture without any known pixel: every value of it is NaN, infinite or beyond 1e9"
        )
    filled = [_filled(one, here) for one, here in zip(flow.cpu().numpy(), known.cpu().numpy(), strict=True)]
    return torch.from_numpy(np.stack(filled)).to(flow)


def known_pixels(flow: Flow) -> Valid:
    """Where both components of a flow say where a pixel goes."""
    return (flow.isfinite() & (flow.abs() <= UNKNOWN_ABOVE)).all(dim=1)


def _filled(flow: Float[np.ndarray, "2 H W"], known: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "2 H W"]:
    from scipy.interpolate import griddata
    from scipy.ndimage import binary_dilation, distance_transform_edt

    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = flow[:, *nearest]  # pyright: ignore[reportOptionalIterable]
    # The values in a gap depend on the pixels at its edge alone.
    places, edge = np.argwhere(~known), np.argwhere(known & binary_dilation(~known))
    if len(edge) < 4 or np.linalg.matrix_rank(edge - edge[0]) < 2:  # on one line there is no triangle to interpolate in
        return filled
    values = griddata(edge, flow[:, *edge.T].T, places, method="linear")
    inside = np.isfinite(values).all(axis=1)
    filled[:, *places[inside].T] = values[inside].T
    return filled
