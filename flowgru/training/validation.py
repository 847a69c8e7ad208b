"""How far a network is from the exact flow of held-back pairs, after several numbers of refinements."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from flowgru.data.sample import FlowSample
from flowgru.model.flow_network import FlowNetwork
from flowgru.training.objective import endpoint_error
from flowgru.training.sampler import collate


def validate(
    network: FlowNetwork, data: Dataset[FlowSample], iterations: tuple[int, ...], device: torch.device
) -> dict[int, float]:
    """Mean end-point error in pixels over the pairs after each number of refinements, in full precision."""
    means = pair_errors(network, data, iterations, device).nanmean(dim=0)
    return dict(zip(iterations, means.tolist(), strict=True))


@torch.inference_mode()
@torch.compiler.set_stance("force_eager")  # what is compiled is compiled for the training's crops
def pair_errors(
    network: FlowNetwork,
    data: Dataset[FlowSample],
    iterations: tuple[int, ...],
    device: torch.device,
    *,
    share: int = 0,
    shares: int = 1,
) -> Float[Tensor, "pairs counts"]:
    """Mean end-point error of each pair after each number of refinements; every shares-th pair, the others stay 0.

    Infinite where the flow is not finite, NaN where no pixel is valid.
    """
    network.eval()
    length = len(data)  # pyright: ignore[reportArgumentType]
    errors = torch.zeros(length, len(iterations), dtype=torch.float64, device=device)
    for index in range(share, length, shares):
        batch = collate([data[index]])
        target, valid = batch.flow.to(device), batch.valid.to(device)
        flows = network(batch.first.to(device), batch.second.to(device), iterations=iterations[-1]).flows
        for column, count in enumerate(iterations):
            error = endpoint_error(flows[count - 1], target, valid)[0]
            errors[index, column] = error.nan_to_num(nan=torch.inf) if valid.any() else error
    return errors
