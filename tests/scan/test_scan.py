"""The scan equals the plain loop, in values and gradients, along any axis and in both directions, whatever computes it.

The Triton kernels run on a CUDA device, or with TRITON_INTERPRET=1 on the CPU; test_scan_triton.py starts that.
"""

import os
from contextlib import nullcontext

import pytest
import torch

from flowgru.operators.spatial_scan import DOWN, LEFT, RIGHT, UP
from flowgru.scan import BACKENDS, linear_scan, scan_directions

CUDA = torch.cuda.is_available()
TRITON_RUNS = CUDA or os.environ.get("TRITON_INTERPRET") == "1"
LINEAR_SPACE = [x for x in BACKENDS if x not in ("auto", "log_space") and (x != "triton" or TRITON_RUNS)]
INTERPRETED = TRITON_RUNS and not CUDA
"""Triton's interpreter takes each element by itself, a thousand times as slowly as the other backends."""
FOUR_WAYS = (RIGHT, LEFT, DOWN, UP)


@pytest.fixture(params=LINEAR_SPACE)
def backend(request):
    """The name of each backend that is defined for all gates, on the device that it needs."""
    with torch.device("cuda") if request.param == "triton" and CUDA else nullcontext():
        yield request.param


def loop(decay, update, initial, reverse):
    """The recurrence along the first axis, written out once more in the simplest way."""
    state, states = initial, list(update)
    for t in reversed(range(len(update))) if reverse else range(len(update)):
        state = decay[t] * state + update[t]
        states[t] = state
    return torch.stack(states)


def is_rounded(states, full, backend):
    """Whether states are full in bfloat16; Triton's interpreter cuts the digits off, which is up to one more step."""
    if backend == "triton" and not CUDA:
        return states.dtype == torch.bfloat16 and torch.allclose(states.float(), full, rtol=2**-7, atol=0)
    return torch.equal(states, full.bfloat16())


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 9, 63, 64, 1000])
def test_equals_a_float64_loop_in_values_and_gradients(backend, reverse, length, uninitialised_memory_is_nan):
    length = min(length, 300) if INTERPRETED else length  # three tiles
    decay, update, initial = torch.rand(length, 3, 2), torch.randn(length, 3, 2), torch.randn(3, 2)
    decay[::3], decay[1::4] = 0, 1  # closed and open gates
    weight = torch.randn(length, 3, 2)
    truth_leaves = [x.double().requires_grad_() for x in (decay, update, initial)]
    truth = loop(truth_leaves[0], truth_leaves[1], truth_leaves[2], reverse)
    truth_grads = torch.autograd.grad((truth * weight).sum(), truth_leaves)
    for dim in (0, 1, -1) if length < (60 if INTERPRETED else 1000) else (1,):
        leaves = [x.requires_grad_() for x in (decay.movedim(0, dim).clone(), update.movedim(0, dim).clone(), initial)]
        states = linear_scan(leaves[0], leaves[1], leaves[2], dim=dim, reverse=reverse, backend=backend)
        torch.testing.assert_close(states.movedim(dim, 0).double(), truth, rtol=2e-5, atol=2e-5)
        grads = torch.autograd.grad((states * weight.movedim(0, dim)).sum(), leaves)
        for grad, true_grad in zip(
            (grads[0].movedim(dim, 0), grads[1].movedim(dim, 0), grads[2]), truth_grads, strict=True
        ):
            torch.testing.assert_close(grad.double(), true_grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 7])
def test_first_and_second_derivatives_match_finite_differences(backend, reverse, length):
    leaves = [torch.rand(length, 1, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    leaves.append(torch.rand(1, dtype=torch.float64, requires_grad=True))

    def scan(*values):
        return linear_scan(*values, dim=0, reverse=reverse, backend=backend)

    # fast_mode tries one random direction instead of every element, which takes too long in Triton's interpreter.
    assert torch.autograd.gradcheck(scan, leaves, fast_mode=backend == "triton")
    assert torch.autograd.gradgradcheck(scan, leaves, fast_mode=True)


@pytest.mark.parametrize("reverse", [False, True])
def test_cutting_in_two_and_carrying_the_state_changes_nothing(backend, reverse):
    decay, update = torch.rand(4, 201), torch.randn(4, 201)
    whole = linear_scan(decay, update, reverse=reverse, backend=backend)
    left, right = slice(0, 40), slice(40, 201)
    early, late, last = (right, left, 0) if reverse else (left, right, -1)
    first = linear_scan(decay[:, early], update[:, early], reverse=reverse, backend=backend)
    second = linear_scan(decay[:, late], update[:, late], first[:, last], reverse=reverse, backend=backend)
    torch.testing.assert_close(torch.cat([second, first] if reverse else [first, second], 1), whole)


def test_inputs_in_any_memory_layout(backend):
    decay, update = torch.rand(2, 6, 9, 8).permute(0, 3, 1, 2), torch.randn(2, 8, 6, 18)[..., ::2]
    weight = torch.randn(1, 1, 6, 1).expand(2, 8, 6, 9)
    for dim in (0, 2, 3):
        leaves = [(decay.detach().requires_grad_(), update.detach().requires_grad_()) for _ in range(2)]
        expected = linear_scan(leaves[0][0], leaves[0][1].contiguous(), dim=dim, backend="sequential")
        states = linear_scan(leaves[1][0], leaves[1][1], dim=dim, backend=backend)
        torch.testing.assert_close(states, expected)
        expected_grads = torch.autograd.grad(expected, leaves[0], weight)
        torch.testing.assert_close(torch.autograd.grad(states, leaves[1], weight), expected_grads)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 6), (7,), (2, 0, 5)])
def test_any_number_of_axes(backend, shape):
    decay, update = torch.rand(shape), torch.randn(shape)
    for dim in (0, len(shape) // 2, -1):
        if shape[dim]:
            expected = linear_scan(decay, update, dim=dim, backend="sequential")
            torch.testing.assert_close(linear_scan(decay, update, dim=dim, backend=backend), expected)


@pytest.mark.parametrize("dim", [0, 1])
def test_sixteen_bit_inputs_are_accumulated_in_float32(backend, dim):
    length = 200 if INTERPRETED else 500
    shape = (3, length) if dim else (length, 3)
    decay, update = torch.rand(shape).bfloat16().requires_grad_(), torch.randn(shape).bfloat16().requires_grad_()
    states = linear_scan(decay, update, dim=dim, backend=backend)
    full = linear_scan(decay.float(), update.float(), dim=dim, backend=backend)
    assert is_rounded(states, full, backend)
    weight = torch.randn(shape).bfloat16()
    grads = torch.autograd.grad(states, (decay, update), weight)
    expected = torch.autograd.grad(full, (decay, update), weight.float())
    torch.testing.assert_close(grads, expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("directions", [FOUR_WAYS, ((2, True),), ((3, False), (2, False))])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_groups_of_channels_each_go_their_own_way(backend, directions, layout, uninitialised_memory_is_nan):
    shape = (2, 8, 3, 5) if INTERPRETED else (2, 8, 5, 9)
    decay, update, weight = torch.rand(shape), torch.randn(shape), torch.randn(shape)
    decay, update = (x.contiguous(memory_format=layout).requires_grad_() for x in (decay, update))
    groups = zip(decay.chunk(len(directions), 1), update.chunk(len(directions), 1), directions, strict=True)
    expected = torch.cat([linear_scan(a, b, dim=d, reverse=r, backend="sequential") for a, b, (d, r) in groups], 1)
    states = scan_directions(decay, update, directions, backend=backend)
    torch.testing.assert_close(states, expected)
    expected_grads = torch.autograd.grad(expected, (decay, update), weight)
    torch.testing.assert_close(torch.autograd.grad(states, (decay, update), weight), expected_grads)
    sixteen = scan_directions(decay.bfloat16(), update.bfloat16(), directions, backend=backend)
    full = scan_directions(decay.bfloat16().float(), update.bfloat16().float(), directions, backend=backend)
    assert is_rounded(sixteen, full, backend)


def test_derivatives_of_groups_match_finite_differences(backend):
    leaves = [torch.rand(1, 4, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def scan(*values):
        return scan_directions(values[0], values[1], FOUR_WAYS, backend=backend)

    assert torch.autograd.gradcheck(scan, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(scan, leaves, fast_mode=True)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 63, 64, 1000])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 5e-3), (torch.float64, 1e-11)])
def test_log_space_is_close_where_it_is_defined(length, reverse, dtype, tolerance):
    decay, update = 0.5 + 0.49 * torch.rand(3, length, dtype=dtype), 0.1 + torch.rand(3, length, dtype=dtype)
    initial, weight = torch.rand(3, dtype=dtype), torch.rand(3, length, dtype=torch.float64)
    leaves = [x.requires_grad_() for x in (decay, update, initial)]
    truth_leaves = [x.detach().double().requires_grad_() for x in leaves]
    truth = linear_scan(truth_leaves[0], truth_leaves[1], truth_leaves[2], reverse=reverse, backend="sequential")
    states = linear_scan(leaves[0], leaves[1], leaves[2], reverse=reverse, backend="log_space")
    torch.testing.assert_close(states.double(), truth, rtol=tolerance, atol=tolerance)
    truth_grads = torch.autograd.grad(truth, truth_leaves, weight)
    grads = torch.autograd.grad(states, leaves, weight.to(dtype))
    torch.testing.assert_close([x.double() for x in grads], list(truth_grads), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("gate, value", [(0.0, 1.0), (1.0, 1.0), (0.5, 0.0), (0.5, -1.0), (float("nan"), 1.0)])
def test_log_space_refuses_what_has_no_logarithm(gate, value):
    with pytest.raises(ValueError, match="expected 0 < decay < 1 and update > 0"):
        linear_scan(torch.full((2, 3), gate), torch.full((2, 3), value), backend="log_space")
    with pytest.raises(ValueError, match="expected 0 < decay < 1 and update > 0"):
        scan_directions(
            torch.full((1, 2, 3, 3), gate), torch.full((1, 2, 3, 3), value), ((2, True),), backend="log_space"
        )
