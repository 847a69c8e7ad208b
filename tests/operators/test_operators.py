"""Every update operator keeps the contract of UpdateOperator, and its step is the published or documented equations'.

Whatever is in UPDATE_OPERATORS is tested, with every value of every option; a new operator fails until it has its textbook
form and its rows in the tables.
"""

import math
from typing import Any

import pytest
import torch
from textbook import TEXTBOOK, refine
from torch.utils._pytree import tree_leaves, tree_map

from flowgru.operators import find_operator, make_operator, operator_variants

HIDDEN, MOTION, CONTEXT = 8, 6, 4

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = operator_variants() | {
    "conv_lstm peephole=true coupled=true": ("conv_lstm", {"peephole": True, "coupled": True}),
    "conv_min_gru form=chain directions=2": ("conv_min_gru", {"form": "chain", "directions": 2}),
    "conv_min_gru form=cand scan=false": ("conv_min_gru", {"form": "cand", "scan": False}),
    "conv_min_gru cap=0.9 reach=4.0": ("conv_min_gru", {"cap": 0.9, "reach": 4.0}),
}
"""What is tested: every operator, and every option by itself and in the combinations named here."""

UNBOUNDED = {"conv_relu", "conv_next"}
"""Operators without gates, whose hidden state may leave [-1, 1]."""

each_operator = pytest.mark.parametrize("name", VARIANTS)


def make(name, height, width, *, batch=2) -> tuple[Any, ...]:
    """A small float64 operator with every parameter random, and what begin and step read."""
    kind, options = VARIANTS[name]
    operator = make_operator(kind, HIDDEN, MOTION, CONTEXT, **options).double()
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.copy_(torch.randn_like(parameter) / math.sqrt(max(parameter[0].numel(), 4)))
    sizes = (HIDDEN, CONTEXT, MOTION)
    return operator, *(torch.randn(batch, size, height, width, dtype=torch.float64) for size in sizes)


@each_operator
def test_pictures_of_a_batch_do_not_meet(name):
    operator, hidden, context, motion = make(name, 5, 7, batch=3)
    together = refine(operator, hidden, context, [motion] * 3)
    for i in range(3):
        alone = refine(operator, hidden[i : i + 1], context[i : i + 1], [motion[i : i + 1]] * 3)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-12, atol=1e-12)


@each_operator
def test_gradients_reach_every_parameter_and_input(name):
    operator, *inputs = make(name, 5, 6)
    for values in inputs:
        values.requires_grad_()
    hidden, context, motion = inputs
    refine(operator, hidden, context, [motion] * 2).square().sum().backward()
    for part, values in [*operator.named_parameters(), *zip(("hidden", "context", "motion"), inputs, strict=True)]:
        assert values.grad is not None and values.grad.isfinite().all(), part
        assert values.grad.count_nonzero() > 0.4 * values.grad.numel(), part  # context is seen through a ReLU


@pytest.mark.parametrize("name", [name for name, (kind, _) in VARIANTS.items() if kind not in UNBOUNDED])
@pytest.mark.parametrize("scale", [1, 100])
def test_the_hidden_state_stays_within_one(name, scale):
    operator, hidden, context, motion = (x.float() for x in make(name, 9, 12))
    state = operator.begin(scale * hidden, scale * context)
    for _ in range(20):
        hidden, state = operator.step(scale * torch.randn_like(motion), state)
        assert hidden.abs().max() <= 1  # exactly: a blend of two numbers never rounds beyond them


@each_operator
def test_a_step_leaves_what_it_reads_unchanged(name):
    operator, hidden, context, motion = make(name, 4, 5)
    state = operator.begin(hidden, context)
    read = (hidden, context, motion, state)
    before = tree_map(torch.clone, read)
    first, _ = operator.step(motion, state)
    second, _ = operator.step(motion, state)
    for old, new in zip(tree_leaves(before), tree_leaves(read), strict=True):
        assert torch.equal(old, new)
    assert torch.equal(first, second)


@each_operator
@pytest.mark.parametrize("height, width", [(1, 1), (1, 4), (3, 1), (7, 10)])
def test_begin_and_step_equal_the_textbook_in_values_and_gradients(name, height, width):
    kind, options = VARIANTS[name]
    assert kind in TEXTBOOK, f"{kind} has no textbook form: write its equations into tests/helpers/textbook.py"
    operator, hidden, context, motion = make(name, height, width)
    motions = [motion, torch.randn_like(motion)]
    leaves = [*operator.parameters(), *(x.requires_grad_() for x in (hidden, context, *motions))]
    result = refine(operator, hidden, context, motions)
    assert result.shape == (2, HIDDEN, height, width)
    expected = TEXTBOOK[kind](operator, hidden, context, motions, **options)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    weight = torch.randn_like(result)
    # A picture one pixel wide does not use every weight, but both forms agree on that.
    grads, expected_grads = (torch.autograd.grad((x * weight).sum(), leaves) for x in (result, expected))
    torch.testing.assert_close(grads, expected_grads, rtol=1e-10, atol=1e-12)


REACH = {
    "conv_gru": 2,
    "seq_conv_gru": 4,
    "conv_min_gru": 16,
    "conv_gru reset=after": 1,
    "seq_conv_gru reset=after": 2,
    "conv_lstm": 1,
    "conv_relu": 3,
    "conv_next": 6,
    "min_gru": 1,
    "conv_min_lstm": 16,
} | {
    f"{name} {options}": reach
    for name in ("conv_min_gru", "conv_min_lstm")
    for options, reach in {"directions=2": (1, 16), "scan=false": 1, "form=cand scan=false": 1}.items()
}
"""Coarse pixels along a row or column, of an operator and of the variants that differ from it; the impulse stands 16 from
every side. Two numbers are against and along the way to the right and down."""


@each_operator
def test_reach_of_one_step(name):
    reach = REACH.get(name, REACH.get(VARIANTS[name][0]))
    assert reach is not None, f"{name} has no row in REACH"
    operator, hidden, context, motion = make(name, 33, 33, batch=1)
    impulse = motion.clone()
    impulse[:, :, 16, 16] += 10
    with torch.no_grad():
        change = refine(operator, hidden, context, [impulse]) - refine(operator, hidden, context, [motion])
    rows, columns = change.abs().amax((0, 1)).nonzero().T
    assert [(16 - x.min().item(), x.max().item() - 16) for x in (rows, columns)] == [
        reach if isinstance(reach, tuple) else (reach, reach)
    ] * 2


def test_conv_min_gru_carries_to_the_far_end_of_row_and_column_from_its_first_weights():
    operator = find_operator("conv_min_gru")(80, 80, 48).double()
    hidden, context, motion = (torch.randn(1, size, 48, 64, dtype=torch.float64) for size in (80, 48, 80))
    impulse = motion.clone()
    impulse[:, :, 0, 0] += 10
    with torch.no_grad():
        change = (
            (refine(operator, hidden, context, [impulse]) - refine(operator, hidden, context, [motion])).abs().amax(1)
        )
    assert change[0, 0, -1] > 1e-6 and change[0, -1, 0] > 1e-6
    assert change[0, -1, -1] == 0  # rows and columns, not diagonals: those take a second step


def test_conv_min_gru_starts_with_channels_that_carry_one_to_eight_pixels():
    operator: Any = find_operator("conv_min_gru")(80, 80, 48)
    passing = torch.sigmoid(operator.gates.recurrent.bias[160:].detach()).reshape(4, 20)
    for group in passing / (1 - passing):
        assert group.min() == pytest.approx(1) and group.max() == pytest.approx(8)
