"""Every update operator keeps the contract of UpdateOperator, and its step is the published or documented equations'.

Whatever is in UPDATE_OPERATORS is tested; a new operator should get its textbook form and a row in the tables.
"""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

from flowgru.config import PRESETS, NetworkConfig
from flowgru.errors import RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.operators import UPDATE_OPERATORS, find_operator

HIDDEN, MOTION, CONTEXT = 8, 6, 4
each_operator = pytest.mark.parametrize("name", UPDATE_OPERATORS)


def make(name, height, width, *, batch=2) -> tuple[Any, ...]:
    """A small float64 operator with every parameter random, and what begin and step read."""
    operator = UPDATE_OPERATORS[name](HIDDEN, MOTION, CONTEXT).double()
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.copy_(torch.randn_like(parameter) / math.sqrt(max(parameter[0].numel(), 4)))
    sizes = (HIDDEN, CONTEXT, MOTION)
    return operator, *(torch.randn(batch, size, height, width, dtype=torch.float64) for size in sizes)


def refine(operator, hidden, context, motions):
    """What the heads read after the last of several steps."""
    state = operator.begin(hidden, context)
    for motion in motions:
        hidden, state = operator.step(motion, state)
    return hidden


@each_operator
@pytest.mark.parametrize("height, width", [(1, 1), (1, 6), (5, 1), (7, 10)])
def test_a_step_gives_a_hidden_state_of_the_pictures_extent(name, height, width):
    operator, hidden, context, motion = make(name, height, width)
    assert refine(operator, hidden, context, [motion] * 2).shape == (2, HIDDEN, height, width)


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


@each_operator
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


def textbook_gru(operator, hidden, context, motions):
    """RAFT's cells, each gate by one convolution over the concatenated [hidden, motion, context]."""
    hidden, context = torch.tanh(hidden), torch.relu(context)
    for motion in motions:
        for cell in operator.cells:
            gates_weight = torch.cat([cell.gates.recurrent.weight, cell.gates.context.weight], 1)
            candidate_weight = torch.cat([cell.candidate.recurrent.weight, cell.candidate.context.weight], 1)
            padding = (gates_weight.shape[2] // 2, gates_weight.shape[3] // 2)
            whole = torch.cat([hidden, motion, context], 1)
            gates = F.conv2d(whole, gates_weight, cell.gates.recurrent.bias, padding=padding)
            z, r = torch.sigmoid(gates[:, :HIDDEN]), torch.sigmoid(gates[:, HIDDEN:])
            whole = torch.cat([r * hidden, motion, context], 1)
            candidate = F.conv2d(whole, candidate_weight, cell.candidate.recurrent.bias, padding=padding)
            hidden = (1 - z) * hidden + z * torch.tanh(candidate)
    return hidden


def textbook_conv_min_gru(operator, hidden, context, motions):
    """The equations of ConvMinGRU's docstring, pixel by pixel."""
    _, _, height, width = hidden.shape
    size = HIDDEN // 4
    weight = torch.cat([operator.gates.recurrent.weight, operator.gates.context.weight], 1)
    mix_weight, carried_weight = operator.mix_gate.weight[:, :, 0, 0], operator.carried.weight[:, :, 0, 0]
    hidden, context = torch.tanh(hidden), torch.relu(context)
    for motion in motions:
        x = F.pad(torch.cat([hidden, motion, context], 1), (1, 1, 1, 1))
        v, A, s = {}, {}, {}
        for row in range(height):
            for column in range(width):
                window = x[:, :, row : row + 3, column : column + 3]
                gates = torch.einsum("bcij,ocij->bo", window, weight) + operator.gates.recurrent.bias
                z, c, a = gates[:, :HIDDEN], gates[:, HIDDEN : 2 * HIDDEN], gates[:, 2 * HIDDEN :]
                share = 1 / (1 + torch.exp(-z))
                v[row, column] = (1 - share) * hidden[:, :, row, column] + share * torch.tanh(c)
                A[row, column] = 1 / (1 + torch.exp(-a))
        steps = ((0, 1), (0, -1), (1, 0), (-1, 0))  # (rows, columns): right, left, down, up
        for direction, (down, right) in enumerate(steps):
            group = slice(direction * size, (direction + 1) * size)
            for row in range(height)[:: down or 1]:
                for column in range(width)[:: right or 1]:
                    before = s.get((direction, row - down, column - right))
                    here = v[row, column][:, group]
                    passing = A[row, column][:, group]
                    s[direction, row, column] = here if before is None else passing * before + (1 - passing) * here
        rows = []
        for row in range(height):
            pixels = []
            for column in range(width):
                scanned = torch.cat([s[direction, row, column] for direction in range(4)], 1)
                both = torch.cat([v[row, column], scanned], 1)
                u = 1 / (1 + torch.exp(-(both @ mix_weight.T + operator.mix_gate.bias)))
                pixels.append(
                    (1 - u) * v[row, column] + u * torch.tanh(scanned @ carried_weight.T + operator.carried.bias)
                )
            rows.append(torch.stack(pixels, -1))
        hidden = torch.stack(rows, -2)
    return hidden


TEXTBOOK = {"conv_gru": textbook_gru, "seq_conv_gru": textbook_gru, "conv_min_gru": textbook_conv_min_gru}


@each_operator
@pytest.mark.parametrize("height, width", [(1, 1), (1, 4), (3, 1), (5, 6)])
def test_begin_and_step_equal_the_textbook_in_values_and_gradients(name, height, width):
    if name not in TEXTBOOK:
        pytest.skip(f"{name} has no textbook form in TEXTBOOK yet")
    operator, hidden, context, motion = make(name, height, width)
    motions = [motion, torch.randn_like(motion)]
    leaves = [*operator.parameters(), *(x.requires_grad_() for x in (hidden, context, *motions))]
    result, expected = (form(operator, hidden, context, motions) for form in (refine, TEXTBOOK[name]))
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    weight = torch.randn_like(result)
    # A picture one pixel wide does not use every weight, but both forms agree on that.
    grads, expected_grads = (torch.autograd.grad((x * weight).sum(), leaves) for x in (result, expected))
    torch.testing.assert_close(grads, expected_grads, rtol=1e-10, atol=1e-12)


REACH = {"conv_gru": 2, "seq_conv_gru": 4, "conv_min_gru": 16}
"""Coarse pixels along a row or column; the impulse stands 16 from every side."""


@each_operator
def test_reach_of_one_step(name):
    if name not in REACH:
        pytest.skip(f"{name} has no row in REACH yet")
    operator, hidden, context, motion = make(name, 33, 33, batch=1)
    impulse = motion.clone()
    impulse[:, :, 16, 16] += 10
    with torch.no_grad():
        change = refine(operator, hidden, context, [impulse]) - refine(operator, hidden, context, [motion])
    rows, columns = change.abs().amax((0, 1)).nonzero().T
    assert [(16 - x.min().item(), x.max().item() - 16) for x in (rows, columns)] == [(REACH[name], REACH[name])] * 2


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


def test_conv_min_gru_refuses_a_width_that_four_directions_cannot_share():
    with pytest.raises(ValueError, match=r"hidden_size is 10: .* multiple of 4"):
        find_operator("conv_min_gru")(10, 8, 8)


NUM_PARAMETERS = {  # (operator, whole network)
    ("conv_gru", "large"): (1_327_488, 5_109_696),
    ("conv_gru", "small"): (627_552, 990_162),  # RAFT-small
    ("conv_gru", "compact"): (449_520, 1_393_224),
    ("seq_conv_gru", "large"): (1_475_328, 5_257_536),  # RAFT
    ("seq_conv_gru", "small"): (697_536, 1_060_146),
    ("seq_conv_gru", "compact"): (499_680, 1_443_384),
    ("conv_min_gru", "large"): (1_376_896, 5_159_104),
    ("conv_min_gru", "small"): (655_392, 1_018_002),
    ("conv_min_gru", "compact"): (468_880, 1_412_584),
}


@each_operator
@pytest.mark.parametrize("preset", PRESETS)
def test_parameter_counts(name, preset):
    if (name, preset) not in NUM_PARAMETERS:
        pytest.skip(f"{name} in {preset} has no row in NUM_PARAMETERS yet")
    network = FlowNetwork(NetworkConfig(preset, name))
    counts = tuple(sum(p.numel() for p in module.parameters()) for module in (network.operator, network))
    assert counts == NUM_PARAMETERS[name, preset]


class ElementwiseCounter(TorchDispatchMode):
    """Counts one multiply-add per element that an elementwise multiplication, addition or blend writes."""

    multiply_adds = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in ("add", "sub", "mul", "addcmul", "lerp"):
            self.multiply_adds += result.numel()
        return result


def count_multiply_adds(name, preset, height, width, num_steps):
    """Of begin and the steps: convolutions by torch's counter, everything elementwise by the elements it writes."""
    sizes = PRESETS[preset]
    operator = UPDATE_OPERATORS[name](sizes.hidden_size, sizes.motion_size, sizes.context_size)
    hidden, context, motion = (
        torch.randn(1, size, height, width) for size in (sizes.hidden_size, sizes.context_size, sizes.motion_size)
    )
    with torch.no_grad(), FlopCounterMode(display=False) as convolutions, ElementwiseCounter() as elementwise:
        refine(operator, hidden, context, [motion] * num_steps)
    return convolutions.get_total_flops() // 2, elementwise.multiply_adds


@pytest.mark.parametrize("preset", PRESETS)
def test_conv_min_gru_costs_no_more_than_seq_conv_gru(preset):
    assert NUM_PARAMETERS["conv_min_gru", preset][0] <= NUM_PARAMETERS["seq_conv_gru", preset][0]
    costs = {name: count_multiply_adds(name, preset, 16, 24, num_steps=3) for name in ("conv_min_gru", "seq_conv_gru")}
    assert sum(costs["conv_min_gru"]) <= sum(costs["seq_conv_gru"])
    # Odd-even reduction takes at most 3 multiply-adds per element; beside it: one share added, two blends, one entry.
    per_step_and_pixel = 16 * 24 * PRESETS[preset].hidden_size
    assert costs["conv_min_gru"][1] <= 3 * per_step_and_pixel * (3 + 3 + 2 + 1)


def test_an_unknown_operator_gets_the_nearest_name():
    with pytest.raises(
        RequestError, match=r"unknown update operator 'mingru'; did you mean 'conv_min_gru'\? Known: .*conv_gru"
    ):
        find_operator("mingru")
    with pytest.raises(RequestError, match=r"unknown update operator 'zzz'\. Known: "):
        find_operator("zzz")
    with pytest.raises(RequestError, match="did you mean 'seq_conv_gru'"):
        FlowNetwork(NetworkConfig("compact", "seqconvgru"))
