"""Every update operator keeps the contract of UpdateOperator, and its step is the published or documented equations'.

Whatever is in UPDATE_OPERATORS is tested, with every value of every option; a new operator should get its textbook form
and a row in the tables.
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
from flowgru.operators import UPDATE_OPERATORS, find_operator, make_operator, operator_variants

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


def joined(split, inputs, context):
    """A SplitConv as the one convolution over [inputs, context] that it stands for."""
    weight = torch.cat([split.recurrent.weight, split.context.weight], 1)
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    return F.conv2d(torch.cat([inputs, context], 1), weight, split.recurrent.bias, padding=padding)


def textbook_gru(operator, hidden, context, motions, reset="before"):
    """RAFT's cells, each gate by one convolution over the concatenated [hidden, motion, context]."""
    hidden, context = torch.tanh(hidden), torch.relu(context)
    for motion in motions:
        for cell in operator.cells:
            gates = joined(cell.gates, torch.cat([hidden, motion], 1), context)
            z, r = torch.sigmoid(gates[:, :HIDDEN]), torch.sigmoid(gates[:, HIDDEN:])
            if reset == "before":
                candidate = joined(cell.candidate, torch.cat([r * hidden, motion], 1), context)
            else:
                own = cell.hidden_candidate
                padding = (own.weight.shape[2] // 2, own.weight.shape[3] // 2)
                candidate = joined(cell.candidate, motion, context)
                candidate = candidate + r * F.conv2d(hidden, own.weight, own.bias, padding=padding)
            hidden = (1 - z) * hidden + z * torch.tanh(candidate)
    return hidden


def textbook_lstm(operator, hidden, context, motions, peephole=False, coupled=False):
    """Shi et al.'s equations, gate by gate."""
    cell = hidden = torch.tanh(hidden)
    context = torch.relu(context)
    names = "igo" if coupled else "ifgo"
    look = (
        dict(zip(names.replace("g", ""), operator.cell.peepholes, strict=True)) if peephole else dict.fromkeys("ifo", 0)
    )
    for motion in motions:
        gates = joined(operator.cell.gates, torch.cat([hidden, motion], 1), context)
        gate = {name: gates[:, k * HIDDEN : (k + 1) * HIDDEN] for k, name in enumerate(names)}
        i = torch.sigmoid(gate["i"] + look["i"] * cell)
        f = 1 - i if coupled else torch.sigmoid(gate["f"] + look["f"] * cell)
        cell = f * cell + i * torch.tanh(gate["g"])
        hidden = torch.sigmoid(gate["o"] + look["o"] * cell) * torch.tanh(cell)
    return hidden


def textbook_conv_relu(operator, hidden, context, motions):
    """Three convolutions, the first over [hidden, motion, context]."""
    hidden, context = torch.tanh(hidden), torch.relu(context)
    for motion in motions:
        hidden = torch.relu(joined(operator.first, torch.cat([hidden, motion], 1), context))
        for conv in (operator.second, operator.third):
            hidden = torch.relu(F.conv2d(hidden, conv.weight, conv.bias, padding=1))
    return hidden


def textbook_conv_next(operator, hidden, context, motions):
    """SEA-RAFT's blocks, each over the concatenated [hidden, motion, context], every layer written out."""
    for motion in motions:
        for block in operator.blocks:
            whole = torch.cat([hidden, motion, context], 1)
            parts = (block.depthwise, block.depthwise_context)
            weight, bias = (torch.cat([getattr(part, name) for part in parts]) for name in ("weight", "bias"))
            mixed = F.conv2d(whole, weight, bias, padding=3, groups=whole.shape[1]).movedim(1, -1)
            centred = mixed - mixed.mean(-1, keepdim=True)
            mixed = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
            mixed = (mixed * block.norm.weight + block.norm.bias) @ block.expand.weight.T + block.expand.bias
            mixed = mixed * (1 + torch.erf(mixed / math.sqrt(2))) / 2
            mixed = block.scale * (mixed @ block.contract.weight.T + block.contract.bias)
            hidden = F.conv2d(whole + mixed.movedim(-1, 1), block.out.weight, block.out.bias)
    return hidden


def carried_along(A, v, down, right):
    """s_p = A_p s_{p-1} + (1 - A_p) v_p pixel by pixel, p lying `down` rows and `right` columns after p - 1."""
    height, width = v.shape[2:]
    s = {}
    for row in range(height)[:: down or 1]:
        for column in range(width)[:: right or 1]:
            before = s.get((row - down, column - right))
            here, passing = v[:, :, row, column], A[:, :, row, column]
            s[row, column] = here if before is None else passing * before + (1 - passing) * here
    return torch.stack([torch.stack([s[row, column] for column in range(width)], -1) for row in range(height)], -2)


def textbook_routes(form, directions):
    right, left, down, up = (0, 1), (0, -1), (1, 0), (-1, 0)  # (rows, columns)
    if form == "chain":
        return (
            [(right, down), (right, up), (left, down), (left, up)] if directions == 4 else [(right, down), (left, up)]
        )
    return [(right,), (left,), (down,), (up,)][:: 4 // directions]


def textbook_conv_min_gru(
    operator,
    hidden,
    context,
    motions,
    *,
    cell="gru",
    form="mix",
    gate="sigmoid",
    directions=4,
    mixing="gate",
    reach=8.0,
    cap=1.0,
    scan=True,
):
    """The equations of ConvMinGRU's docstring, the scans pixel by pixel; reach is a matter of the first weights."""
    hidden, context = torch.tanh(hidden), torch.relu(context)
    routes = textbook_routes(form, directions)
    for motion in motions:
        maps = joined(operator.gates, torch.cat([hidden, motion], 1), context)
        *gates, c, a = maps.split(HIDDEN, 1)
        if cell == "gru":
            share = 1 / (1 + torch.exp(-gates[0]))
        else:
            forget, enter = (1 / (1 + torch.exp(-x)) for x in gates)
            share = enter / (forget + enter)
        A = cap * (1 / (1 + torch.exp(-a)) if gate == "sigmoid" else torch.exp(-torch.exp(-a)))
        v = torch.tanh(c) if form == "cand" else (1 - share) * hidden + share * torch.tanh(c)
        groups = []
        for group, route in zip(torch.arange(HIDDEN).chunk(len(routes)), routes, strict=True):
            s = v[:, group]
            for down, right in route:
                s = carried_along(A[:, group], s, down, right)
            groups.append(s)
        s = torch.cat(groups, 1) if scan else A * hidden + (1 - A) * v
        carried = F.conv2d(s, operator.carried.weight, operator.carried.bias)
        if form == "cand":
            hidden = (1 - share) * hidden + share * torch.tanh(c + carried)
            continue
        mix = operator.mix_gate
        logits = operator.mix_bias if mixing == "add" else F.conv2d(torch.cat([v, s], 1), mix.weight, mix.bias)
        u = 1 / (1 + torch.exp(-logits))
        hidden = (1 - u) * v + u * torch.tanh(carried)
    return hidden


def textbook_conv_min_lstm(operator, hidden, context, motions, **options):
    return textbook_conv_min_gru(operator, hidden, context, motions, cell="lstm", **options)


def textbook_min_gru(operator, hidden, context, motions):
    """minGRU as published, with tanh: the gates see neither the hidden state nor a neighbour's."""
    hidden, context = torch.tanh(hidden), torch.relu(context)
    for motion in motions:
        z, c = joined(operator.cell.gates, motion, context).split(HIDDEN, 1)
        share = 1 / (1 + torch.exp(-z))
        hidden = (1 - share) * hidden + share * torch.tanh(c)
    return hidden


TEXTBOOK = {
    "conv_gru": textbook_gru,
    "seq_conv_gru": textbook_gru,
    "conv_min_gru": textbook_conv_min_gru,
    "conv_lstm": textbook_lstm,
    "conv_relu": textbook_conv_relu,
    "conv_next": textbook_conv_next,
    "min_gru": textbook_min_gru,
    "conv_min_lstm": textbook_conv_min_lstm,
}
"""Each is given the operator, what begin reads, the motions, and the variant's options by keyword."""


@each_operator
@pytest.mark.parametrize("height, width", [(1, 1), (1, 4), (3, 1), (5, 6)])
def test_begin_and_step_equal_the_textbook_in_values_and_gradients(name, height, width):
    kind, options = VARIANTS[name]
    if kind not in TEXTBOOK:
        pytest.skip(f"{kind} has no textbook form in TEXTBOOK yet")
    operator, hidden, context, motion = make(name, height, width)
    motions = [motion, torch.randn_like(motion)]
    leaves = [*operator.parameters(), *(x.requires_grad_() for x in (hidden, context, *motions))]
    result = refine(operator, hidden, context, motions)
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
    if reach is None:
        pytest.skip(f"{name} has no row in REACH yet")
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
    ("conv_lstm", "large"): (1_769_984, 5_552_192),
    ("conv_lstm", "small"): (836_736, 1_199_346),
    ("conv_lstm", "compact"): (599_360, 1_543_064),
    ("conv_relu", "large"): (737_664, 4_519_872),  # RAFT's 4.1 M without the mask head's 443,200
    ("conv_relu", "small"): (375_264, 737_874),
    ("conv_relu", "compact"): (265_200, 1_208_904),
    ("conv_next", "large"): (927_488, 4_709_696),
    ("conv_next", "small"): (445_272, 807_882),
    ("conv_next", "compact"): (322_784, 1_266_488),
    ("min_gru", "large"): (590_080, 4_372_288),
    ("min_gru", "small"): (252_480, 615_090),
    ("min_gru", "compact"): (184_480, 1_128_184),
    ("conv_min_lstm", "large"): (1_819_392, 5_601_600),
    ("conv_min_lstm", "small"): (864_576, 1_227_186),
    ("conv_min_lstm", "compact"): (618_720, 1_562_424),
}


@pytest.mark.parametrize("name", UPDATE_OPERATORS)
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


def test_a_network_takes_its_operators_width_from_the_configuration():
    network = FlowNetwork(NetworkConfig("compact", "conv_gru", hidden_size=48))
    assert network.operator.hidden_size == 48
    frames = torch.rand(2, 1, 3, 40, 48)
    assert network(frames[0], frames[1], iterations=1).flows[0].shape == (1, 2, 40, 48)
    with pytest.raises(RequestError, match=r"network.hidden_size is 0: it must be 1 or more"):
        NetworkConfig(hidden_size=0)
    with pytest.raises(RequestError, match=r"hidden_size is 10: .* multiple of 4"):
        FlowNetwork(NetworkConfig("compact", "conv_min_gru", hidden_size=10))


def test_an_unknown_option_of_an_operator_is_refused_with_those_it_has():
    with pytest.raises(RequestError, match=r"^seq_conv_gru has no option 'direction': its options are "):
        FlowNetwork(NetworkConfig("compact", "seq_conv_gru", options={"direction": "down"}))


def test_an_unknown_operator_gets_the_nearest_name():
    with pytest.raises(
        RequestError, match=r"unknown update operator 'mingru': did you mean 'min_gru'\? known are .*conv_gru"
    ):
        find_operator("mingru")
    with pytest.raises(RequestError, match=r"unknown update operator 'zzz': known are "):
        find_operator("zzz")
    with pytest.raises(RequestError, match="did you mean 'seq_conv_gru'"):
        FlowNetwork(NetworkConfig("compact", "seqconvgru"))
