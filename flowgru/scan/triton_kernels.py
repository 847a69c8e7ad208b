"""The scan and its gradient on a GPU: each input is read once, each output written once, along rows and columns alike.

A program owns LANES neighbouring sequences and walks along them by tiles of STEPS, whose last state it carries into the
next tile; within a tile the scan is associative, in logarithmic depth. Sequences are addressed by strides, so no axis is
moved in memory. Groups of channels may each go their own way: one launch does all of them. Everything is accumulated in
float32, or float64 where an input has it. TRITON_INTERPRET=1 before the import runs the kernels on a CPU, for tests.
"""

from typing import no_type_check  # Triton compiles the source of a kernel, so nothing may wrap it

import torch
import triton
import triton.language as tl
from torch import Tensor

from flowgru.kernels.start import start_kernel

TILE = 2048
"""Elements of one tile: what a program holds in registers of each tensor."""

LONGEST_TILE = 128
"""Steps of one tile; longer sequences take several."""


@triton.jit
@no_type_check
def _compose(early_decay, early_update, late_decay, late_update):
    return early_decay * late_decay, late_decay * early_update + late_update


@triton.jit
@no_type_check
def _scan_tile(decay, update, carry, step, STEPS: tl.constexpr):
    """The states of one tile [LANES, STEPS] after `carry`, and its last one."""
    through, states = tl.associative_scan((decay, update), 1, _compose)
    states += through * carry[:, None]
    return states, tl.sum(tl.where(step == STEPS - 1, states, 0), 1)


@triton.jit
@no_type_check
def _lane(group, num_groups, sizes, AXIS: tl.constexpr, LANES: tl.constexpr):
    """Where the sequences of this program are: image, channel and the place across the axis; and which of them exist."""
    lane = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    channels = sizes[1] // num_groups
    across = sizes[5 - AXIS]
    image, channel = lane // (across * channels), lane // across % channels + group * channels
    return image, channel, lane % across, (image < sizes[0])[:, None]


@triton.jit
@no_type_check
def _at(place, strides, AXIS: tl.constexpr):
    """Offset of each sequence's first element, as a column."""
    return (place[0] * strides[0] + place[1] * strides[1] + place[2] * strides[5 - AXIS])[:, None]


@triton.jit
@no_type_check
def _steps(STEPS: tl.constexpr, WIDE: tl.constexpr):
    """The numbers of a tile's steps; WIDE where 32 bits do not count how far apart steps lie."""
    step = tl.arange(0, STEPS)[None, :]
    if WIDE:
        step = step.to(tl.int64)
    return step


@triton.jit
@no_type_check
def _scan_group(
    decay, update, states, sizes, decay_strides, update_strides, states_strides, group, num_groups,
    ACCUMULATOR: tl.constexpr, AXIS: tl.constexpr, REVERSE: tl.constexpr, LANES: tl.constexpr, STEPS: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    place = _lane(group, num_groups, sizes, AXIS, LANES)
    length = sizes[AXIS]
    decay += _at(place, decay_strides, AXIS)
    update += _at(place, update_strides, AXIS)
    states += _at(place, states_strides, AXIS)
    step = _steps(STEPS, WIDE)
    carry = tl.zeros([LANES], ACCUMULATOR)
    for start in range(0, length, STEPS):
        t = length - 1 - start - step if REVERSE else start + step
        inside = place[3] & (start + step < length)
        a = tl.load(decay + t * decay_strides[AXIS], inside, 1).to(ACCUMULATOR)
        b = tl.load(update + t * update_strides[AXIS], inside, 0).to(ACCUMULATOR)
        h, carry = _scan_tile(a, b, carry, step, STEPS)
        tl.store(states + t * states_strides[AXIS], h.to(states.dtype.element_ty), inside)


@triton.jit
@no_type_check
def _gradient_group(
    decay, states, grad, decay_grad, update_grad, sizes,
    decay_strides, states_strides, grad_strides, decay_grad_strides, update_grad_strides, group, num_groups,
    ACCUMULATOR: tl.constexpr, AXIS: tl.constexpr, REVERSE: tl.constexpr, LANES: tl.constexpr, STEPS: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """REVERSE is the scan's direction; its gradient goes the other way."""
    place = _lane(group, num_groups, sizes, AXIS, LANES)
    length = sizes[AXIS]
    decay += _at(place, decay_strides, AXIS)
    states += _at(place, states_strides, AXIS)
    grad += _at(place, grad_strides, AXIS)
    decay_grad += _at(place, decay_grad_strides, AXIS)
    update_grad += _at(place, update_grad_strides, AXIS)
    step = _steps(STEPS, WIDE)
    carry = tl.zeros([LANES], ACCUMULATOR)
    after = -1 if REVERSE else 1
    for start in range(0, length, STEPS):
        t = start + step if REVERSE else length - 1 - start - step
        inside = place[3] & (start + step < length)
        has_before = inside & (t - after >= 0) & (t - after < length)
        has_after = inside & (t + after >= 0) & (t + after < length)
        # Past the end a decay of 1 keeps the carry; the first one has nothing to carry.
        a = tl.load(decay + (t + after) * decay_strides[AXIS], has_after, 1).to(ACCUMULATOR)
        g = tl.load(grad + t * grad_strides[AXIS], inside, 0).to(ACCUMULATOR)
        h = tl.load(states + (t - after) * states_strides[AXIS], has_before, 0).to(ACCUMULATOR)
        g, carry = _scan_tile(a, g, carry, step, STEPS)
        tl.store(update_grad + t * update_grad_strides[AXIS], g.to(update_grad.dtype.element_ty), inside)
        tl.store(decay_grad + t * decay_grad_strides[AXIS], (g * h).to(decay_grad.dtype.element_ty), inside)


@triton.jit
@no_type_check
def scan_kernel(
    decay, update, states, sizes, decay_strides, update_strides, states_strides,
    ACCUMULATOR: tl.constexpr, NUM_GROUPS: tl.constexpr, ROWS: tl.constexpr, REVERSED: tl.constexpr,
    LANES: tl.constexpr, ROW_STEPS: tl.constexpr, COLUMN_STEPS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Bit i of ROWS and REVERSED is group i's axis (3 if set, else 2) and direction."""
    for group in tl.static_range(NUM_GROUPS):
        if tl.program_id(1) == group:
            _scan_group(
                decay, update, states, sizes, decay_strides, update_strides, states_strides, group, NUM_GROUPS,
                ACCUMULATOR, 2 + (ROWS >> group & 1), REVERSED >> group & 1, LANES,
                ROW_STEPS if ROWS >> group & 1 else COLUMN_STEPS, WIDE,
            )  # fmt: skip


@triton.jit
@no_type_check
def gradient_kernel(
    decay, states, grad, decay_grad, update_grad, sizes,
    decay_strides, states_strides, grad_strides, decay_grad_strides, update_grad_strides,
    ACCUMULATOR: tl.constexpr, NUM_GROUPS: tl.constexpr, ROWS: tl.constexpr, REVERSED: tl.constexpr,
    LANES: tl.constexpr, ROW_STEPS: tl.constexpr, COLUMN_STEPS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    for group in tl.static_range(NUM_GROUPS):
        if tl.program_id(1) == group:
            _gradient_group(
                decay, states, grad, decay_grad, update_grad, sizes,
                decay_strides, states_strides, grad_strides, decay_grad_strides, update_grad_strides, group, NUM_GROUPS,
                ACCUMULATOR, 2 + (ROWS >> group & 1), REVERSED >> group & 1, LANES,
                ROW_STEPS if ROWS >> group & 1 else COLUMN_STEPS, WIDE,
            )  # fmt: skip


INTERPRETED = not isinstance(scan_kernel, triton.JITFunction)
"""Whether the kernels run in Triton's interpreter, on any device."""

Direction = tuple[int, bool]
"""The axis, and whether from its last index to the first: one for each group of channels."""


def scan(decay: Tensor, update: Tensor, states: Tensor, directions: tuple[Direction, ...]) -> None:
    """Writes h[t] = decay[t] * h[t-1] + update[t], h[-1] = 0, into `states`."""
    launch(scan_kernel, (decay, update, states), directions)


def gradient(
    decay: Tensor, states: Tensor, grad: Tensor, decay_grad: Tensor, update_grad: Tensor,
    directions: tuple[Direction, ...],
) -> None:  # fmt: skip
    """Writes the gradients of `scan` into decay_grad and update_grad, from its states and their gradient."""
    launch(gradient_kernel, (decay, states, grad, decay_grad, update_grad), directions)


def launch(kernel, tensors: tuple[Tensor, ...], directions: tuple[Direction, ...]) -> None:
    if len(directions) == 1:
        tensors, directions = _with_four_axes(tensors, directions[0])
    sizes = tensors[0].shape
    if not sizes.numel():
        return
    steps = {axis: min(LONGEST_TILE, triton.next_power_of_2(sizes[axis])) for axis in (2, 3)}
    num_lanes = max(sizes[1] // len(directions) * sizes[0] * sizes[5 - dim] for dim, _ in directions)
    lanes = min(TILE // max(steps.values()), triton.next_power_of_2(num_lanes))
    double = any(x.dtype == torch.float64 for x in tensors)
    start_kernel(
        kernel,
        (triton.cdiv(num_lanes, lanes), len(directions)),
        tensors,
        tuple(sizes),
        *(x.stride() for x in tensors),
        ACCUMULATOR=tl.float64 if double else tl.float32,
        NUM_GROUPS=len(directions),
        ROWS=sum((dim == 3) << group for group, (dim, _) in enumerate(directions)),
        REVERSED=sum(reverse << group for group, (_, reverse) in enumerate(directions)),
        LANES=lanes,
        ROW_STEPS=steps[3],
        COLUMN_STEPS=steps[2],
        WIDE=any(x.shape[axis] * x.stride(axis) >= 2**31 for x in tensors for axis in (2, 3)),
    )


def _with_four_axes(tensors: tuple[Tensor, ...], direction: Direction) -> tuple[tuple[Tensor, ...], tuple[Direction]]:
    """Views of tensors of up to four axes as [., ., ., scanned axis]."""
    dim, reverse = direction
    return tuple(x.movedim(dim, -1)[(None,) * (4 - x.dim())] for x in tensors), ((3, reverse),)
