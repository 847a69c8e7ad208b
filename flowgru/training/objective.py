"""What training makes small."""

import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.types import Flow, Valid


def sequence_loss(
    flows: tuple[Flow, ...], target: Flow, valid: Valid, *, gamma: float = 0.8, max_flow: float = 400.0
) -> Float[Tensor, ""]:
    """RAFT's loss: the L1 error after every refinement, later ones weighing more (RAFT, equation 7).

    sum_i gamma^(n-1-i) mean(valid |flow_i - target|), the mean over ALL pixels and both components, as RAFT's code has it.
    Pixels whose true flow is unknown, or max_flow pixels or longer, count nothing.
    """
    counted = (valid & (target.norm(dim=1) < max_flow))[:, None]
    target = torch.where(counted, target, 0)
    loss = target.new_zeros(())
    for iteration, flow in enumerate(flows):
        loss = loss + gamma ** (len(flows) - 1 - iteration) * ((flow - target).abs() * counted).mean()
    return loss


def endpoint_error(flow: Flow, target: Flow, valid: Valid) -> Float[Tensor, "B"]:
    """Mean distance between estimated and true flow, in pixels, over the valid pixels of each picture; NaN without any."""
    error = (flow.double() - target.double()).norm(dim=1)
    return torch.where(valid, error, 0).sum(dim=(1, 2)) / valid.sum(dim=(1, 2))
