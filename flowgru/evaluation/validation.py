"""How far a network is from the exact flow of held-out pairs, after several numbers of refinements."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from flowgru.data.sample import FlowSample
from flowgru.evaluation.metrics import endpoint_error
from flowgru.grid import PaddingMode
from flowgru.layers.arithmetic import convolutions
from flowgru.model.flow_network import FlowNetwork
from flowgru.types import Flow

Watch = Callable[[int, FlowSample, Sequence[Flow]], None]
"""Is told of each pair: its index, the pair, and its flow after each of the numbers of refinements."""


def validate(
    network: FlowNetwork,
    data: Dataset[FlowSample],
    iterations: tuple[int, ...],
    device: torch.device,
    *,
    padding: PaddingMode = "sintel",
    watch: Watch | None = None,
) -> dict[int, float]:
    """epe_per_image in pixels after each number of refinements: the mean of the pairs' means, in float32 without TF32."""
    means = pair_errors(network, data, iterations, device, padding=padding, watch=watch).nanmean(dim=0)
    return dict(zip(iterations, means.tolist(), strict=True))


@torch.inference_mode()
@convolutions(tf32=False, tuned=False)  # pairs come in many sizes
@torch.compiler.set_stance("force_eager")  # what is compiled is compiled for the training's crops
def pair_errors(
    network: FlowNetwork,
    data: Dataset[FlowSample],
    iterations: tuple[int, ...],
    device: torch.device,
    *,
    padding: PaddingMode = "sintel",
    rank: int = 0,
    world_size: int = 1,
    asked_to_stop: Sequence[int] = (),
    watch: Watch | None = None,
) -> Float[Tensor, "pairs counts"]:
    """Mean end-point error of each pair after each number of refinements; those of other ranks stay 0.

    In float32 without TF32, whatever the training's precision is.

    Pairs with an initial flow begin at it, after as many refinements that hold it as the data set's `hold` says.
    Ends early, with errors of no use, once `asked_to_stop` is not empty. Infinite where the flow is not finite, NaN where no
    pixel is valid.
    """
    network.eval()
    length = len(data)  # pyright: ignore[reportArgumentType]
    errors = torch.zeros(length, len(iterations), dtype=torch.float64, device=device)
    for index in range(rank, length, world_size):
        if asked_to_stop:
            break
        pair = data[index]
        first, second, target, valid = (values[None].to(device) for values in pair[:4])
        start = None if pair.initial_flow is None else pair.initial_flow[None].to(device)
        hold = getattr(data, "hold", 0)
        flows = network(
            first,
            second,
            iterations=iterations[-1],
            initial_flow=start,
            hold=hold,
            padding=padding,
            confidence=False,
        ).flows
        for column, count in enumerate(iterations):
            error = endpoint_error(flows[count - 1], target, valid)[0]
            errors[index, column] = error.nan_to_num(nan=torch.inf, posinf=torch.inf) if valid.any() else error
        if watch is not None:
            watch(index, pair, [flows[count - 1] for count in iterations])
    return errors
