"""Muon: kernels of hidden convolutions move by their orthogonalised momentum, all other weights by AdamW."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial that is applied to the singular values; it brings all of them close to 1."""
NUM_POLYNOMIALS = 5
LIKE_ADAMW = 0.2
"""The root mean square of a usual step of AdamW, relative to its learning rate."""
FEWEST_CHANNELS = 8
"""Kernels with fewer channels on either side have few singular values, and are left to AdamW."""


class Muon(torch.optim.AdamW):
    """AdamW, but that the kernel w of a hidden convolution, as a matrix with a row for each output channel, moves by

        m <- 0.95 m + 0.05 g
        w <- (1 - rate weight_decay) w - 0.2 rate sqrt(max(rows, columns)) U V^T,    U S V^T = 0.95 m + 0.05 g

    so that all directions of a kernel move as far, and not those alone that have the largest gradients. Jordan et al. 2024,
    "Muon: An optimizer for hidden layers in neural networks"; its scale, with which a learning rate of AdamW serves both
    kinds of weights, is that of Liu et al. 2025, arXiv 2502.16982, equation 4.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        assert closure is None, "the gradients are there already"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and is_hidden_kernel(parameter):
                    self._move(parameter, parameter.grad, group["lr"], group["weight_decay"])
                    parameter.grad = None  # AdamW passes over it
        super().step()

    def _move(self, kernel: Tensor, gradient: Tensor, rate: float, weight_decay: float) -> None:
        state = self.state[kernel]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(kernel)
            state["step"] = torch.tensor(0.0)  # AdamW, when it loads a state, asks each parameter for its count
        state["step"] += 1
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - MOMENTUM)
        direction = orthogonalised(gradient.lerp(momentum, MOMENTUM).reshape(len(kernel), -1))
        kernel.mul_(1 - rate * weight_decay)
        kernel.add_(direction.reshape(kernel.shape), alpha=-rate * LIKE_ADAMW * max(direction.shape) ** 0.5)


def is_hidden_kernel(parameter: Tensor) -> bool:
    """Whether Muon moves it: no bias, and no convolution from colours or to a flow, which has few channels."""
    return parameter.ndim == 4 and min(parameter.shape[:2]) >= FEWEST_CHANNELS


def moments(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """What the optimizer keeps of a parameter, by kind and shape."""
    if isinstance(optimizer, Muon) and is_hidden_kernel(parameter):
        return {"step": torch.tensor(0.0), "momentum_buffer": parameter}
    return {"step": torch.tensor(0.0), "exp_avg": parameter, "exp_avg_sq": parameter}


def orthogonalised(matrix: Float[Tensor, "M N"]) -> Float[Tensor, "M N"]:
    """U V^T of the matrix U S V^T, but that its singular values are not 1: they are 0.68 to 1.21, and less where those of
    the matrix were below a hundredth of its length.

    Newton-Schulz iterations with the coefficients of Jordan et al. 2024, which need no decomposition.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    found = matrix.T if is_tall else matrix
    found = found / found.norm().clamp(min=1e-7)
    first, third, fifth = COEFFICIENTS
    for _ in range(NUM_POLYNOMIALS):
        gram = found @ found.T
        found = first * found + (third * gram + fifth * gram @ gram) @ found
    return found.T if is_tall else found
