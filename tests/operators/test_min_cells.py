"""The min cells give one recurrence, whichever way it is solved; conv_min_gru's options are what they say they are."""

import inspect
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from flowgru.errors import RequestError
from flowgru.operators import make_operator
from flowgru.operators.conv_min_gru import ConvMinGRU
from flowgru.operators.conv_min_lstm import ConvMinLSTM
from flowgru.operators.min_cells import MinGRUCell, MinLSTMCell, g, log_g
from flowgru.operators.spatial_scan import RIGHT, decay_of, scan_over_space
from flowgru.scan import linear_scan

HIDDEN, INPUT, CONTEXT, BATCH = 8, 6, 4, 3
each_cell = pytest.mark.parametrize("kind", [MinGRUCell, MinLSTMCell])
each_carried = pytest.mark.parametrize("carried", [False, True], ids=["from zero", "with a carried state"])


def make_cell(kind, scale: float = 2.0, **options) -> Any:
    """A 3x3 cell with random weights; the larger their scale, the more saturated its gates."""
    cell = kind(HIDDEN, INPUT, CONTEXT, (3, 3), **options)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(scale * torch.randn_like(parameter) / math.sqrt(max(parameter[0].numel(), 4)))
    return cell


def sequence(num_moments: int) -> tuple[Tensor, Tensor]:
    """Inputs [T, BATCH, INPUT, h, w] that change over time, and a context that does not."""
    return torch.randn(num_moments, BATCH, INPUT, 3, 4), torch.randn(BATCH, CONTEXT, 3, 4)


def all_moments(form, inputs: Tensor, shares: Tensor) -> list[Tensor]:
    """A cell's recurrence of all moments in one call: the moments join the batch."""
    pictures, repeated = inputs.flatten(0, 1), shares.repeat(len(inputs), 1, 1, 1)
    return [part.reshape(len(inputs), BATCH, HIDDEN, 3, 4) for part in form(pictures, repeated)]


def one_by_one(cell, inputs: Tensor, shares: Tensor, hidden: Tensor) -> Tensor:
    states = []
    for moment in inputs:
        decay, update = cell(moment, shares)
        hidden = decay * hidden + update
        states.append(hidden)
    return torch.stack(states)


def published_log_scan(log_decay: Tensor, log_values: Tensor) -> Tensor:
    """parallel_scan_log of the paper's appendix: log_values starts with the logarithm of the carried state."""
    a_star = F.pad(log_decay.cumsum(0).movedim(0, -1), (1, 0)).movedim(-1, 0)
    return (a_star + (log_values - a_star).logcumsumexp(0)).exp()[1:]


@each_cell
@each_carried
def test_a_scan_over_time_equals_the_cell_moment_by_moment_in_values_and_gradients(kind, carried):
    cell = make_cell(kind)
    inputs, context = sequence(50)
    hidden = torch.randn(BATCH, HIDDEN, 3, 4) if carried else torch.zeros(BATCH, HIDDEN, 3, 4)
    leaves = [*cell.parameters(), *(x.requires_grad_() for x in (inputs, context, hidden)[: 3 if carried else 2])]
    shares = cell.begin(context)
    expected = one_by_one(cell, inputs, shares, hidden)
    decay, update = all_moments(cell, inputs, shares)
    result = linear_scan(decay, update, hidden if carried else None, dim=0)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)
    weight = torch.randn_like(result)
    grads, expected_grads = (
        torch.autograd.grad((x * weight).sum(), leaves, retain_graph=True) for x in (result, expected)
    )
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-4, atol=1e-4 * expected_grad.abs().max().item())


@each_cell
@each_carried
def test_the_published_log_space_form_equals_the_cell_moment_by_moment(kind, carried):
    cell = make_cell(kind, positive=True)
    inputs, context = sequence(50)
    shares = cell.begin(context)
    hidden = g(torch.randn(BATCH, HIDDEN, 3, 4)) if carried else torch.zeros(BATCH, HIDDEN, 3, 4)
    expected = one_by_one(cell, inputs, shares, hidden)
    log_decay, log_update = all_moments(cell.log_space, inputs, shares)
    result = published_log_scan(log_decay, torch.cat([hidden.log()[None], log_update]))
    torch.testing.assert_close(result, expected, rtol=3e-4, atol=1e-6)
    decay, update = all_moments(cell, inputs, shares)
    torch.testing.assert_close(linear_scan(decay, update, hidden, dim=0), expected, rtol=1e-5, atol=1e-6)


@each_cell
def test_log_space_loses_its_digits_with_saturated_gates_where_the_linear_scan_keeps_them(kind):
    cell = make_cell(kind, scale=300.0, positive=True)
    inputs, context = sequence(200)
    shares = cell.begin(context)
    decay, update = all_moments(cell, inputs, shares)
    log_decay, log_update = all_moments(cell.log_space, inputs, shares)
    nothing = torch.full_like(log_update[:1], -math.inf)

    def error(states: Tensor, decay: Tensor, update: Tensor) -> float:
        """Of a scan alone, against the same numbers in float64, where both forms are right."""
        truth = linear_scan(decay.double(), update.double(), dim=0, backend="sequential")
        return ((states - truth).abs() / (truth.abs() + 1)).max().item()

    assert error(linear_scan(decay, update, dim=0), decay, update) < 1e-6
    # Thousands of summed logarithms leave few digits for the difference of two.
    logarithmic = published_log_scan(log_decay, torch.cat([nothing, log_update]))
    assert error(logarithmic, log_decay.double().exp(), log_update.double().exp()) > 1e-3
    # A gate that is exactly 0 has no logarithm to subtract.
    assert linear_scan(0 * decay, update, dim=0).equal(update)
    assert published_log_scan((0 * decay).log(), torch.cat([nothing, log_update])).isnan().any()


def test_g_is_positive_and_continuous_and_log_g_its_logarithm_even_where_it_vanishes():
    values = torch.linspace(-20, 20, 4001, dtype=torch.float64)
    assert (g(values) > 0).all() and (g(values).diff() > 0).all() and g(values).diff().max() <= 0.0101
    torch.testing.assert_close(log_g(values), g(values).log(), rtol=1e-12, atol=1e-12)
    far = torch.tensor([-1000.0, 1000.0], requires_grad=True)
    assert log_g(far).tolist() == pytest.approx([-1000, math.log(1000.5)])
    assert torch.autograd.grad(log_g(far).sum(), far)[0].tolist() == pytest.approx([1, 1 / 1000.5])


def test_min_lstms_shares_add_up_to_one_even_where_both_of_its_gates_vanish():
    gates = torch.tensor([[-200.0, -200.0], [-200.0, -199.0], [3.0, -1.0]]).reshape(3, 2, 1, 1)
    share = torch.sigmoid(MinLSTMCell.logit(gates)).flatten()
    forget, enter = torch.sigmoid(torch.tensor([3.0, -1.0]))
    assert share.tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-1)), (enter / (forget + enter)).item()])


@each_cell
def test_the_hidden_state_of_a_cell_that_is_full_stays_within_one_exactly(kind):
    cell = make_cell(kind, scale=30.0)
    inputs, context = sequence(300)
    states = one_by_one(cell, inputs, cell.begin(context), torch.ones(BATCH, HIDDEN, 3, 4))
    assert 0.99 < states.abs().max() <= 1


SIZES = (80, 80, 48)


def decay_at_first(**options) -> Tensor:
    """[directions, channels of each]: what a pixel of an empty picture lets through before any training."""
    operator: Any = make_operator("conv_min_gru", *SIZES, **options)
    logits = operator.gates.recurrent.bias[160:].detach()
    passing = decay_of(logits, operator.gate, operator.cap)
    return passing.reshape(len(operator.routes), -1)


@pytest.mark.parametrize("gate", ["sigmoid", "exp"])
@pytest.mark.parametrize("reach, cap", [(8.0, 1.0), (30.0, 1.0), (15.0, 0.95), (1.0, 0.6)])
@pytest.mark.parametrize("form, directions", [("mix", 4), ("mix", 2), ("cand", 4), ("chain", 2)])
def test_every_group_of_channels_starts_by_carrying_one_to_reach_pixels(gate, reach, cap, form, directions):
    passing = decay_at_first(gate=gate, reach=reach, cap=cap, form=form, directions=directions)
    assert passing.shape == (directions, 80 // directions)
    for group in passing / (1 - passing):
        assert group.min().item() == pytest.approx(1, rel=1e-4)
        assert group.max().item() == pytest.approx(reach, rel=1e-4)


@pytest.mark.parametrize("gate", ["sigmoid", "exp"])
def test_a_gate_grows_from_0_to_its_cap_and_has_a_finite_gradient_everywhere(gate):
    logits = torch.tensor([-1e30, -1e3, -4.0, -1.0, 0.0, 1.0, 4.0, 1e3, 1e30], requires_grad=True)
    passing = decay_of(logits, gate, 0.9)
    assert passing[0] < 1e-6 and passing[-1].item() == pytest.approx(0.9) and (passing.diff() >= 0).all()
    assert torch.autograd.grad(passing.sum(), logits)[0].isfinite().all()


CONTROL_OF = [
    ("conv_min_gru", {}),
    ("conv_min_gru", {"form": "cand"}),
    ("conv_min_gru", {"mixing": "add"}),
    ("conv_min_lstm", {}),
]


@pytest.mark.parametrize("name, options", CONTROL_OF)
def test_the_control_without_the_scan_has_the_same_parameters_and_trains_them_all(name, options):
    torch.manual_seed(0)
    scanning = make_operator(name, *SIZES, **options)
    torch.manual_seed(0)
    control = make_operator(name, *SIZES, scan=False, **options)
    for (their_name, theirs), (our_name, ours) in zip(
        scanning.named_parameters(), control.named_parameters(), strict=True
    ):
        assert their_name == our_name and torch.equal(theirs, ours)
    with torch.no_grad():
        for parameter in control.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # cand's last weights are zero at first
    hidden, motion, context = (torch.randn(2, size, 5, 6) for size in SIZES)
    state = control.begin(hidden, context)
    for _ in range(2):
        hidden, state = control.step(motion, state)
    hidden.square().sum().backward()
    for part, parameter in control.named_parameters():
        assert parameter.grad is not None and parameter.grad.count_nonzero() == parameter.grad.numel(), part


def test_one_step_of_the_chain_reaches_every_pixel_from_a_corner():
    operator = make_operator("conv_min_gru", *SIZES, form="chain").double()
    hidden, motion, context = (torch.randn(1, size, 24, 32, dtype=torch.float64) for size in SIZES)
    impulse = motion.clone()
    impulse[:, :, 0, 0] += 10
    with torch.no_grad():
        state = operator.begin(hidden, context)
        change = (operator.step(impulse, state)[0] - operator.step(motion, state)[0]).abs().amax(1)
    assert (change > 0).all() and change[0, -1, -1] > 1e-9


@pytest.mark.parametrize(
    "options, said",
    [
        ({"form": "blend"}, "form is 'blend': it must be one of mix, cand, chain"),
        ({"gate": "relu"}, "gate is 'relu': it must be one of sigmoid, exp"),
        ({"directions": 3}, "directions is 3: it must be 2 or 4"),
        ({"mixing": "sum"}, "mixing is 'sum': it must be one of gate, add"),
        ({"form": "cand", "mixing": "add"}, "mixing is 'add': it must be left out: form 'cand' has nothing to mix"),
        ({"cap": 0.5}, "cap is 0.5: it must be above 0.5 and at most 1"),
        ({"cap": 1.5}, "cap is 1.5: it must be above 0.5 and at most 1"),
        ({"reach": 0.5}, "reach is 0.5: it must be at least 1 and finite"),
        ({"reach": math.inf}, "reach is inf: it must be at least 1 and finite"),
        ({"cap": 0.8, "reach": 5.0}, "reach is 5.0: it must be at least 1 and, with cap 0.8, below 4"),
    ],
)
@pytest.mark.parametrize("kind", [ConvMinGRU, ConvMinLSTM])
def test_a_value_that_an_option_cannot_have_is_refused(kind, options, said):
    init = inspect.unwrap(kind.__init__)  # the tests' type checks would refuse first
    with pytest.raises(RequestError) as refusal:
        init(kind.__new__(kind), *SIZES, **options)
    assert str(refusal.value) == said


@pytest.mark.parametrize("gate", ["sigmoid", "exp"])
def test_in_sixteen_bits_what_a_pixel_lets_through_is_not_rounded_to_all(gate):
    logits = torch.full((1, 1, 1, 1000), 7.0).bfloat16()
    passing = decay_of(logits, gate, 1.0)
    expected = decay_of(logits.double(), gate, 1.0)
    torch.testing.assert_close((1 - passing).double(), 1 - expected, rtol=1e-3, atol=0)
    value = torch.zeros(1, 1, 1, 1000).bfloat16()
    value[..., 0] = 1
    carried = scan_over_space(passing, value, ((RIGHT,),))
    assert carried.dtype == torch.bfloat16
    torch.testing.assert_close(carried[..., -1].double(), expected[..., 0] ** 999, rtol=2e-2, atol=0)  # 0.4
