"""CUDA as far as it goes without a GPU: tensors that have the shapes, types and autocast rules of CUDA, but no values.

Only a forward pass works on them, because PyTorch's engine of gradients needs a real device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FREE_MEMORY = 70 * 2**30
"""Bytes that the device claims to have free."""


@contextmanager
def fake_cuda() -> Iterator[None]:
    """All tensors are fake, new ones are on the device cuda, and torch.autocast("cuda") works.

    What the Triton kernels are given must be on the device; the kernels themselves are left out.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
        patched.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: True)
        patched.setattr("flowgru.model.correlation.choice.free_memory", lambda device: FREE_MEMORY)
        if find_spec("triton") is not None:
            patched.setattr("flowgru.kernels._tried", lambda device: None)
            from flowgru.layers import triton_norm
            from flowgru.model.correlation import triton, triton_all_pairs

            for kernels in (triton, triton_all_pairs, triton_norm):
                patched.setattr(kernels, "launch", _check_launch)
        with FakeTensorMode(allow_non_fake_inputs=False), torch.device("cuda"):
            yield


def _check_launch(kernel: object, tensors: tuple[torch.Tensor, ...], *_: object, **__: object) -> None:
    assert {each.device.type for each in tensors} == {"cuda"}


class Waits(TorchDispatchMode):
    """Fails where the CPU would wait for what a GPU computes, or send it what no pinned memory holds."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            into, source = (found, args[0]) if func is torch.ops.aten._to_copy.default else args[:2]
            waits = into.device != source.device and not kwargs.get("non_blocking", False)
            assert not waits, f"{func} from {source.device} to {into.device}"
        return found


class CalledGraphs:
    """Records by calling the function, and replays by calling it again; what it gives then goes where it was before."""

    def __init__(self) -> None:
        self.num_recorded = self.num_replayed = 0

    def __call__(self, function, device):
        found = function()
        self.num_recorded += 1

        def replay():
            self.num_replayed += 1
            for kept, values in zip(tree_leaves(found), tree_leaves(function()), strict=True):
                if isinstance(kept, torch.Tensor):
                    kept.copy_(values)

        return replay, found
