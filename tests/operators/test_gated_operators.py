"""The gated cells are torch's cells on one pixel, and autograd's gradients of the GRU are those derived by hand."""

import inspect
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowgru.config import NetworkConfig
from flowgru.errors import RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.operators import make_operator, operator_variants
from flowgru.operators.conv_gru import GRUCell
from flowgru.operators.conv_lstm import LSTMCell

BATCH, HIDDEN, MOTION, CONTEXT = 3, 8, 6, 4
POINT = (1, 1)


def randomise(module: nn.Module) -> Any:
    """The module with random weights, large enough that no gate stays near its middle."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) / math.sqrt(max(parameter[0].numel(), 4)))
    return module


def draw(*sizes, height=1, width=1, dtype=torch.float32) -> list[Tensor]:
    return [torch.randn(BATCH, size, height, width, dtype=dtype) for size in sizes]


def set_split(split, theirs, rows, hidden_size, bias):
    """torch's rows of weight_hh and weight_ih, whose input is [motion, context], as a SplitConv; hidden_size may be 0."""
    hidden, motion, context = theirs.weight_hh[rows], *theirs.weight_ih[rows].split([MOTION, CONTEXT], dim=1)
    split.recurrent.weight.copy_(torch.cat([hidden[:, :hidden_size], motion], dim=1)[..., None, None])
    split.recurrent.bias.copy_(bias[rows])
    split.context.weight.copy_(context[..., None, None])


def test_a_gru_cell_that_resets_after_is_torchs_on_one_pixel():
    theirs, ours = (
        randomise(nn.GRUCell(MOTION + CONTEXT, HIDDEN)),
        GRUCell(HIDDEN, MOTION, CONTEXT, POINT, reset="after"),
    )
    reset, update, new = (slice(i * HIDDEN, (i + 1) * HIDDEN) for i in range(3))
    with torch.no_grad():
        rows = torch.cat([torch.arange(3 * HIDDEN)[update], torch.arange(3 * HIDDEN)[reset]])
        set_split(ours.gates, theirs, rows, HIDDEN, theirs.bias_ih + theirs.bias_hh)
        for parameter in ours.gates.parameters():
            parameter[:HIDDEN] *= -1  # torch's update gate is the share of the old value
        set_split(ours.candidate, theirs, new, 0, theirs.bias_ih)
        assert ours.hidden_candidate is not None and ours.hidden_candidate.bias is not None
        ours.hidden_candidate.weight.copy_(theirs.weight_hh[new][..., None, None])
        ours.hidden_candidate.bias.copy_(theirs.bias_hh[new])
        hidden, context = draw(HIDDEN, CONTEXT)
        expected, shares = hidden.flatten(1), ours.begin(context)
        for _ in range(5):
            (motion,) = draw(MOTION)
            hidden = ours(hidden, motion, shares)
            expected = theirs(torch.cat([motion, context], dim=1).flatten(1), expected)
            torch.testing.assert_close(hidden.flatten(1), expected, rtol=0, atol=1e-6)


def test_an_lstm_cell_is_torchs_on_one_pixel():
    theirs, ours = randomise(nn.LSTMCell(MOTION + CONTEXT, HIDDEN)), LSTMCell(HIDDEN, MOTION, CONTEXT, POINT)
    with torch.no_grad():
        set_split(ours.gates, theirs, slice(None), HIDDEN, theirs.bias_ih + theirs.bias_hh)
        hidden, cell, context = draw(HIDDEN, HIDDEN, CONTEXT)
        expected, shares = (hidden.flatten(1), cell.flatten(1)), ours.begin(context)
        for _ in range(5):
            (motion,) = draw(MOTION)
            hidden, cell = ours((hidden, cell), motion, shares)
            expected = theirs(torch.cat([motion, context], dim=1).flatten(1), expected)
            torch.testing.assert_close((hidden.flatten(1), cell.flatten(1)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", [GRUCell, LSTMCell])
def test_a_cell_without_context_is_the_cell_whose_context_is_zero(make):
    without, given = make(HIDDEN, MOTION, 0, (3, 3)), make(HIDDEN, MOTION, CONTEXT, (3, 3))
    given.load_state_dict(without.state_dict(), strict=False)
    hidden, motion, context = draw(HIDDEN, MOTION, CONTEXT, height=4, width=5)
    state = hidden if make is GRUCell else (hidden, hidden)
    results = [
        cell(state, motion, cell.begin(seen)) for cell, seen in ((without, context[:, :0]), (given, 0 * context))
    ]
    torch.testing.assert_close(*results, rtol=0, atol=1e-6)


def patches(values: Tensor, kernel_size) -> Tensor:
    """[B, C * kernel, pixels]: what a convolution that keeps the extent sees in each pixel."""
    return F.unfold(values, kernel_size, padding=(kernel_size[0] // 2, kernel_size[1] // 2))


def weight_gradient(delta: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """The outer products of delta and of what the convolution saw, summed over pixels and batch."""
    return torch.einsum("bop,bip->oi", delta.flatten(2), patches(values, weight.shape[2:])).reshape(weight.shape)


def through(delta: Tensor, weight: Tensor) -> Tensor:
    """delta W^T: what a convolution hands back to its input."""
    return F.conv_transpose2d(delta, weight, padding=(weight.shape[2] // 2, weight.shape[3] // 2))


def gradients_by_hand(cell: Any, hidden: Tensor, motions, context: Tensor, outer) -> dict[str, Tensor]:
    """Back-propagation through time of sum_t <outer_t, h_t>: of every parameter, the first hidden state and the inputs."""
    after, shares, steps = cell.hidden_candidate, cell.begin(context), []
    for motion in motions:
        z, r = torch.sigmoid(cell.gates(torch.cat([hidden, motion], 1), shares.gates)).chunk(2, 1)
        seen = motion if after else torch.cat([r * hidden, motion], 1)
        own = after(hidden) if after else 0
        candidate = torch.tanh(cell.candidate(seen, shares.candidate) + r * own)
        steps.append((hidden, motion, z, r, candidate, seen, own))
        hidden = (1 - z) * hidden + z * candidate

    found = {name: torch.zeros_like(value) for name, value in cell.named_parameters()}
    found |= {"context": torch.zeros_like(context)}
    back = torch.zeros_like(hidden)
    for t in reversed(range(len(steps))):
        before, motion, z, r, candidate, seen, own = steps[t]
        d = outer[t] + back
        update = d * (candidate - before) * z * (1 - z)
        new = d * z * (1 - candidate**2)
        back = d * (1 - z)
        into = through(new, cell.candidate.recurrent.weight)
        if after:
            reset = new * own * r * (1 - r)
            back = back + through(r * new, after.weight)
            found["hidden_candidate.weight"] += weight_gradient(r * new, before, after.weight)
            found["hidden_candidate.bias"] += (r * new).sum((0, 2, 3))
        else:
            reset = into[:, :HIDDEN] * before * r * (1 - r)
            back = back + into[:, :HIDDEN] * r
        gates = torch.cat([update, reset], 1)
        into_gates = through(gates, cell.gates.recurrent.weight)
        back = back + into_gates[:, :HIDDEN]
        found[f"motion {t}"] = into_gates[:, HIDDEN:] + into[:, -MOTION:]
        for name, delta, inputs in (("gates", gates, torch.cat([before, motion], 1)), ("candidate", new, seen)):
            conv = getattr(cell, name)
            found[f"{name}.recurrent.weight"] += weight_gradient(delta, inputs, conv.recurrent.weight)
            found[f"{name}.recurrent.bias"] += delta.sum((0, 2, 3))
            found[f"{name}.context.weight"] += weight_gradient(delta, context, conv.context.weight)
            found["context"] += through(delta, conv.context.weight)
    return found | {"hidden": back}


@pytest.mark.parametrize("reset", ["before", "after"])
@pytest.mark.parametrize("kernel_size, height, width", [(POINT, 1, 1), ((3, 3), 4, 5), ((1, 5), 3, 6)])
def test_autograds_gradients_of_the_gru_are_those_derived_by_hand(reset, kernel_size, height, width):
    cell = randomise(GRUCell(HIDDEN, MOTION, CONTEXT, kernel_size, reset=reset)).double()
    sizes = (HIDDEN, CONTEXT, *[MOTION] * 4, *[HIDDEN] * 4)
    hidden, context, *rest = draw(*sizes, height=height, width=width, dtype=torch.float64)
    motions, outer = rest[:4], rest[4:]
    leaves = {name: value.requires_grad_() for name, value in cell.named_parameters()}
    leaves |= {"hidden": hidden, "context": context} | {f"motion {t}": motion for t, motion in enumerate(motions)}
    with torch.no_grad():
        expected = gradients_by_hand(cell, hidden, motions, context, outer)
    for values in (hidden, context, *motions):
        values.requires_grad_()
    state, loss = hidden, torch.zeros((), dtype=torch.float64)
    shares = cell.begin(context)
    for motion, weight in zip(motions, outer, strict=True):
        state = cell(state, motion, shares)
        loss = loss + (weight * state).sum()
    found = dict(zip(leaves, torch.autograd.grad(loss, [*leaves.values()]), strict=True))
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(
            value, expected[name], rtol=1e-10, atol=1e-12, msg=lambda m, name=name: f"{name}: {m}"
        )


def num_parameters(name: str, **options) -> int:
    return sum(p.numel() for p in make_operator(name, HIDDEN, MOTION, CONTEXT, **options).parameters())


@pytest.mark.parametrize(
    "name, options, more",
    [
        ("conv_gru", {"reset": "after"}, HIDDEN),  # the bias b_h
        ("seq_conv_gru", {"reset": "after"}, 2 * HIDDEN),
        ("conv_lstm", {"peephole": True}, 3 * HIDDEN),
        ("conv_lstm", {"coupled": True}, -HIDDEN * (9 * (HIDDEN + MOTION + CONTEXT) + 1)),
        (
            "conv_lstm",
            {"peephole": True, "coupled": True},
            -HIDDEN * (9 * (HIDDEN + MOTION + CONTEXT) + 1) + 2 * HIDDEN,
        ),
    ],
)
def test_what_an_option_adds_to_the_parameters(name, options, more):
    assert num_parameters(name, **options) - num_parameters(name) == more


def test_the_default_options_are_those_that_go_unsaid():
    for name, options in (("conv_gru", {"reset": "before"}), ("conv_lstm", {"peephole": False, "coupled": False})):
        torch.manual_seed(3)
        said = make_operator(name, HIDDEN, MOTION, CONTEXT, **options).state_dict()
        torch.manual_seed(3)
        torch.testing.assert_close(make_operator(name, HIDDEN, MOTION, CONTEXT).state_dict(), said, rtol=0, atol=0)


@pytest.mark.parametrize("variant", operator_variants())
def test_every_variant_learns_in_sixteen_bits(variant):
    name, options = operator_variants()[variant]
    network = FlowNetwork(NetworkConfig("compact", name, options=options)).train()
    with torch.autocast("cpu", torch.bfloat16):
        prediction = network(*torch.rand(2, 1, 3, 32, 32), iterations=2)
    assert all(flow.dtype == torch.float32 for flow in prediction.flows)
    torch.stack(prediction.flows).abs().mean().backward()
    for part, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), part


def test_coupled_gates_keep_the_cell_state_within_one_and_free_ones_may_let_it_grow():
    for coupled in (True, False):
        cell = LSTMCell(HIDDEN, MOTION, CONTEXT, POINT, coupled=coupled)
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter.zero_()
            bias: Any = cell.gates.recurrent.bias
            bias.fill_(3.0)  # every gate open
            motion, context = draw(MOTION, CONTEXT)
            state = (torch.ones(BATCH, HIDDEN, 1, 1),) * 2
            for _ in range(9):
                state = cell(state, motion, cell.begin(context))
        assert (state[1].max() <= 1) == coupled and state[0].max() <= 1


def test_a_new_lstm_forgets_little_and_has_peepholes_that_are_closed():
    operator: Any = make_operator("conv_lstm", HIDDEN, MOTION, CONTEXT, peephole=True)
    assert (operator.cell.gates.recurrent.bias[HIDDEN : 2 * HIDDEN] == 1).all() and not operator.cell.peepholes.any()


@pytest.mark.parametrize(
    "make, options, said",
    [
        (GRUCell, {"reset": "between"}, "reset is 'between': it must be before or after"),
        (LSTMCell, {"peephole": "yes"}, "peephole is 'yes': it must be true or false"),
        (LSTMCell, {"coupled": 2}, "coupled is 2: it must be true or false"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused(make, options, said):
    init = inspect.unwrap(make.__init__)  # the tests' type checks would refuse first
    with pytest.raises(RequestError, match=f"^{said}$"):
        init(make.__new__(make), HIDDEN, MOTION, CONTEXT, POINT, **options)
