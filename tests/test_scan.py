"""The scan equals the plain loop, in values and gradients, along any axis and in both directions."""

import pytest
import torch

from flowgru.scan import BACKENDS as ALL_BACKENDS
from flowgru.scan import linear_scan, preferred_backend

BACKENDS = [name for name in ALL_BACKENDS if name not in ("auto", "sequential")]


def loop(decay, update, initial, reverse):
    """The recurrence along the first axis, written out once more in the simplest way."""
    state, states = initial, list(update)
    for t in reversed(range(len(update))) if reverse else range(len(update)):
        state = decay[t] * state + update[t]
        states[t] = state
    return torch.stack(states)


@pytest.mark.parametrize("backend", ["sequential", *BACKENDS])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6, 7, 63, 64, 1000])
def test_equals_a_float64_loop_in_values_and_gradients(backend, reverse, length, uninitialised_memory_is_nan):
    decay, update, initial = torch.rand(length, 3, 2), torch.randn(length, 3, 2), torch.randn(3, 2)
    decay[::3], decay[1::4] = 0, 1  # closed and open gates
    weight = torch.randn(length, 3, 2)
    truth_leaves = [x.double().requires_grad_() for x in (decay, update, initial)]
    truth = loop(truth_leaves[0], truth_leaves[1], truth_leaves[2], reverse)
    truth_grads = torch.autograd.grad((truth * weight).sum(), truth_leaves)
    for dim in (0, 1, -1):
        leaves = [x.requires_grad_() for x in (decay.movedim(0, dim).clone(), update.movedim(0, dim).clone(), initial)]
        states = linear_scan(leaves[0], leaves[1], leaves[2], dim=dim, reverse=reverse, backend=backend)
        torch.testing.assert_close(states.movedim(dim, 0).double(), truth, rtol=2e-5, atol=2e-5)
        grads = torch.autograd.grad((states * weight.movedim(0, dim)).sum(), leaves)
        for grad, true_grad in zip(
            (grads[0].movedim(dim, 0), grads[1].movedim(dim, 0), grads[2]), truth_grads, strict=True
        ):
            torch.testing.assert_close(grad.double(), true_grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ["sequential", *BACKENDS])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 5, 12])
def test_first_and_second_derivatives_match_finite_differences(backend, reverse, length):
    leaves = [torch.rand(2, length, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    leaves.append(torch.rand(2, 2, dtype=torch.float64, requires_grad=True))

    def scan(*values):
        return linear_scan(*values, dim=1, reverse=reverse, backend=backend)

    assert torch.autograd.gradcheck(scan, leaves)
    assert torch.autograd.gradgradcheck(scan, leaves)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reverse", [False, True])
def test_cutting_in_two_and_carrying_the_state_changes_nothing(backend, reverse):
    decay, update = torch.rand(4, 101), torch.randn(4, 101)
    whole = linear_scan(decay, update, reverse=reverse, backend=backend)
    left, right = slice(0, 40), slice(40, 101)
    early, late, last = (right, left, 0) if reverse else (left, right, -1)
    first = linear_scan(decay[:, early], update[:, early], reverse=reverse, backend=backend)
    second = linear_scan(decay[:, late], update[:, late], first[:, last], reverse=reverse, backend=backend)
    torch.testing.assert_close(torch.cat([second, first] if reverse else [first, second], 1), whole)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_in_any_memory_layout(backend):
    decay, update = torch.rand(2, 6, 9, 8).permute(0, 3, 1, 2), torch.randn(2, 8, 6, 18)[..., ::2]
    for dim in (2, 3):
        expected = linear_scan(decay.contiguous(), update.contiguous(), dim=dim, backend="sequential")
        torch.testing.assert_close(linear_scan(decay, update, dim=dim, backend=backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sixteen_bit_inputs_are_accumulated_in_float32(backend):
    decay, update = torch.rand(3, 500).bfloat16(), torch.randn(3, 500).bfloat16()
    states = linear_scan(decay, update, backend=backend)
    assert states.dtype == torch.bfloat16
    assert torch.equal(states, linear_scan(decay.float(), update.float(), backend=backend).bfloat16())


def test_what_does_not_fit_is_refused():
    a = torch.rand(2, 3)
    with pytest.raises(ValueError, match="must have one shape"):
        linear_scan(a, torch.rand(2, 4))
    with pytest.raises(ValueError, match="shape of one slice"):
        linear_scan(a, a, torch.rand(3))
    with pytest.raises(ValueError, match="at least one step"):
        linear_scan(a[:, :0], a[:, :0])
    with pytest.raises(ValueError, match="unknown scan backend 'fast'"):
        linear_scan(a, a, backend="fast")
    assert preferred_backend("auto") == "blelloch"
