"""CUDA as far as it goes without a GPU: tensors that have the shapes, types and autocast rules of CUDA, but no values.

Or with values: see `cuda_with_values`. Only a forward pass works on both, because PyTorch's engine of gradients needs a real
device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

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


class OnCuda(torch.Tensor):
    """A tensor of the device cuda:0 whose values are those of `inner`, on the CPU. It has no gradient."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "OnCuda":
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        found = torch.Tensor._make_wrapper_subclass(cls, inner.shape, device="cuda:0", **layout)  # pyright: ignore
        found.inner = inner
        return found

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.inner.tolist()

    def new_tensor(self, data: Any, **options: Any) -> torch.Tensor:
        return OnCuda(self.inner.new_tensor(data, **options))


class _TwoDevices(TorchDispatchMode):
    """Makes whatever is to be on the device cuda an OnCuda."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Any, kwargs: Any) -> Any:
    """What an operation gives, on its device. RuntimeError, as PyTorch's own, where it mixes tensors of two devices."""
    aten = torch.ops.aten
    if func.overloadpacket is aten.to:  # in inference mode it is not made of other operations
        given = dict(zip((each.name for each in func._schema.arguments), args, strict=False)) | kwargs
        values, like = given["self"], given.get("other", given["self"])
        device, dtype = torch.device(given.get("device") or like.device), given.get("dtype") or like.dtype
        if (device.type, dtype) == (values.device.type, values.dtype):
            return values
        func, args, kwargs = aten._to_copy.default, (values,), {"device": device, "dtype": dtype}
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
    on_cuda = {id(each.inner): each for each in tensors if isinstance(each, OnCuda)}
    device = torch.device(kwargs.get("device") or ("cuda" if on_cuda else "cpu"))
    if device.type == "cuda" and device.index not in (None, 0):
        raise torch.AcceleratorError("CUDA error: invalid device ordinal\nGPU device may be out of range")
    mixed = on_cuda and any(each.dim() and not isinstance(each, OnCuda) for each in tensors)
    if mixed and func not in (aten._to_copy.default, aten.copy_.default):
        raise RuntimeError(f"{func}: Expected all tensors to be on the same device")
    inner, options = tree_map_only(OnCuda, lambda each: each.inner, (args, dict(kwargs)))
    if "device" in options:
        options["device"] = torch.device("cpu")
    options.pop("pin_memory", None)
    found = func(*inner, **options)
    if func is aten.copy_.default:
        return args[0]
    if device.type == "cpu":
        return found
    return tree_map_only(torch.Tensor, lambda each: on_cuda[id(each)] if id(each) in on_cuda else OnCuda(each), found)


class _Event:
    def record(self, stream: object) -> None: ...

    def synchronize(self) -> None: ...


class _Generator(torch.Generator):
    """Of the CPU, whatever device it is asked for."""

    def __new__(cls, device: object = None) -> "_Generator":
        return super().__new__(cls, "cpu")  # pyright: ignore[reportCallIssue]


@contextmanager
def cuda_with_values() -> Iterator[CalledGraphs]:
    """One GPU whose tensors have values, see OnCuda; it computes by PyTorch's own operations, without gradients.

    Gives what records its graphs.
    """
    torch._C._ensureCUDADeviceGuardSet()
    overwritten, graphs = torch.__future__.get_overwrite_module_params_on_conversion(), CalledGraphs()
    values = {
        **{"device_count": 1, "current_device": 0, "is_available": True, "is_bf16_supported": True, "_lazy_init": None},
        **{"synchronize": None, "empty_cache": None, "reset_peak_memory_stats": None, "current_stream": None},
        **{"memory_allocated": 2**20, "memory_snapshot": [], "max_memory_allocated": 2**20},
        **{"mem_get_info": (FREE_MEMORY, FREE_MEMORY), "get_device_name": "no GPU"},
    }
    with pytest.MonkeyPatch.context() as patched:
        for name, value in values.items():
            patched.setattr(torch.cuda, name, lambda *_, value=value, **__: value)
        patched.setattr("torch.cuda.Event", _Event)
        patched.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
        patched.setattr("torch.Tensor.pin_memory", lambda self: self)
        patched.setattr("torch.Generator", _Generator)
        patched.setattr("flowgru.kernels._tried", lambda device: "there is no GPU")
        patched.setattr("flowgru.layers.graphs.CudaRecorder", lambda: graphs)
        patched.setattr("flowgru.model.recorded.PAIRS_BEFORE", 2)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            with _TwoDevices():
                yield graphs
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(overwritten)
