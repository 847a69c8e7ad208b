"""Whether an update operator keeps its contract: one that does not is neither trained nor timed."""

import math

import torch
from torch import Tensor

from flowgru.errors import one_line
from flowgru.operators.base import UpdateOperator

HEIGHT, WIDTH, REFINEMENTS = 5, 7, 3


def broken_contract(operator: UpdateOperator) -> str | None:
    """What an operator does that UpdateOperator does not allow; None where it keeps its contract.

    Its parameters are replaced by random ones, so that what starts at zero hides nothing. Looked at are the shapes of
    several refinements, that they are finite, that one picture of a batch does not change another, and that gradients
    reach every parameter.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in operator.parameters():
            spread = 1 / math.sqrt(max(parameter[0].numel() if parameter.dim() else 1, 4))
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    hidden, context, motion = (
        torch.randn(2, size, HEIGHT, WIDTH, generator=generator)
        for size in (operator.hidden_size, operator.context_size, operator.motion_size)
    )
    try:
        together = _refined(operator, hidden, context, motion)
        is_random = not torch.equal(together[-1], _refined(operator, hidden, context, motion)[-1])
        alone = _refined(operator, hidden[:1], context[:1], motion[:1])
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        return f"its step fails ({type(error).__name__}: {one_line(error, 150)})"
    for number, found in enumerate(together, start=1):
        if found.shape != hidden.shape:
            return f"step {number} gives {list(found.shape)}: expected {list(hidden.shape)}"
        if not bool(found.isfinite().all()):
            return f"step {number} gives values that are not finite"
    if is_random:  # as with dropout: what is drawn for a picture alone is another
        mixes = _first_depends_on_second(operator, hidden, context, motion)
    else:
        mixes = not torch.allclose(together[-1][:1], alone[-1], rtol=1e-3, atol=1e-5)
    if mixes:
        return "one picture of a batch changes what another one gives"
    if not together[-1].requires_grad:
        return "no gradient reaches its parameters"
    together[-1].square().sum().backward()
    for name, parameter in operator.named_parameters():
        gradient = parameter.grad
        if gradient is None or not bool(gradient.isfinite().all()) or not bool(gradient.any()):
            return f"no gradient, or one that is not finite, reaches its parameter {name}"
    return None


def _first_depends_on_second(operator: UpdateOperator, *inputs: Tensor) -> bool:
    """Whether what is found of the first picture of a batch has a gradient by the second one."""
    inputs = tuple(each.clone().requires_grad_() for each in inputs)
    found = _refined(operator, *inputs)[-1]
    if not found.requires_grad:
        return False
    gradients = torch.autograd.grad(found[0].sum(), inputs, allow_unused=True)
    return any(each is not None and bool(each[1].any()) for each in gradients)


def _refined(operator: UpdateOperator, hidden: Tensor, context: Tensor, motion: Tensor) -> list[Tensor]:
    """What the heads read after each of some refinements."""
    state, outputs = operator.begin(hidden, context), []
    for _ in range(REFINEMENTS):
        output, state = operator.step(motion, state)
        outputs.append(output)
    return outputs
