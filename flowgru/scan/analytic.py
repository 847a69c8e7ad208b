"""The gradient of the scan, which is itself a scan in the other direction, for every form that has none of its own.

With g the incoming gradient, G[t] = g[t] + decay[t+1] * G[t+1]; then d update = G and d decay[t] = G[t] * h[t-1].
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from flowgru.scan import parallel
from flowgru.scan.launched import launched_gradient, launched_scan

FORMS: dict[str, Callable[[Tensor, Tensor, Tensor, int, bool], None]] = {
    "in_place": parallel.in_place_scan,
    "hillis_steele": parallel.hillis_steele_scan,
    "blelloch": parallel.blelloch_scan,
    "associative_scan": parallel.torch_associative_scan,
}

Direction = tuple[int, bool, str]
"""The axis, whether from its last index to the first, and the form that does it. All forms are triton, or none is."""


class AnalyticScan(torch.autograd.Function):
    """AnalyticScan.apply(decay, update, directions): one Direction for each group of channels (dimension 1), from zero.

    Can be differentiated any number of times.
    """

    @staticmethod
    def forward(ctx, decay: Tensor, update: Tensor, directions: tuple[Direction, ...]) -> Tensor:
        if directions[0][2] == "triton":
            states = launched_scan(decay, update, *_axes(directions))
        else:
            states = torch.empty_like(update)
            for dim, reverse, form, a, b, h in _groups(directions, decay, update, states):
                FORMS[form](a.narrow(dim, 0 if reverse else 1, a.shape[dim] - 1), b, h, dim, reverse)
        ctx.save_for_backward(decay, states)
        ctx.directions = directions
        return states

    @staticmethod
    def backward(ctx, *grads: Tensor):
        decay, states = ctx.saved_tensors
        (grad,), directions = grads, ctx.directions
        if torch.is_grad_enabled():  # the gradient will be differentiated: made of differentiable operations
            return *_differentiable_gradient(decay, states, grad, directions), None
        if directions[0][2] == "triton":
            return *launched_gradient(decay, states, grad, *_axes(directions)), None
        decay_grad, update_grad = torch.empty_like(decay), torch.empty_like(states)
        for dim, reverse, form, *tensors in _groups(directions, decay, states, grad, decay_grad, update_grad):
            a, h, g, da, db = tensors
            steps = a.shape[dim] - 1
            early, late = (1, 0) if reverse else (0, 1)
            FORMS[form](a.narrow(dim, late, steps), g, db, dim, not reverse)
            later, earlier = db.narrow(dim, late, steps), h.narrow(dim, early, steps)
            parallel.write_product(later, earlier, None, da.narrow(dim, late, steps))
            da.select(dim, -1 if reverse else 0).zero_()
        return decay_grad, update_grad, None


def _differentiable_gradient(
    decay: Tensor, states: Tensor, grad: Tensor, directions: tuple[Direction, ...]
) -> tuple[Tensor, Tensor]:
    following, previous = [], []
    for dim, reverse, _, a, h in _groups(directions, decay, states):
        steps = a.shape[dim] - 1
        edge = torch.zeros_like(a.narrow(dim, 0, 1))
        if reverse:
            following.append(torch.cat([edge, a.narrow(dim, 0, steps)], dim))
            previous.append(torch.cat([h.narrow(dim, 1, steps), edge.to(h.dtype)], dim))
        else:
            following.append(torch.cat([a.narrow(dim, 1, steps), edge], dim))
            previous.append(torch.cat([edge.to(h.dtype), h.narrow(dim, 0, steps)], dim))
    back = tuple((dim, not reverse, form) for dim, reverse, form in directions)
    update_grad = AnalyticScan.apply(_joined(following), grad, back)
    return (update_grad * _joined(previous)).to(decay.dtype), update_grad


def _groups(directions: tuple[Direction, ...], *tensors: Tensor) -> Iterator[tuple]:
    """Each direction with its group of every tensor's channels."""
    if len(directions) == 1:  # the tensors may have no channels at all
        yield (*directions[0], *tensors)
    else:
        for direction, *groups in zip(directions, *(x.chunk(len(directions), 1) for x in tensors), strict=True):
            yield (*direction, *groups)


def _joined(groups: list[Tensor]) -> Tensor:
    return groups[0] if len(groups) == 1 else torch.cat(groups, 1)


def _axes(directions: tuple[Direction, ...]) -> tuple[list[int], list[bool]]:
    """The axis of each direction, and whether it runs from the last index to the first."""
    return [dim for dim, _, _ in directions], [reverse for _, reverse, _ in directions]
