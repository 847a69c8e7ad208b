"""Pairs that are generated on a GPU: nothing waits for it, and nothing mixes devices.

PyTorch's device "meta" stands for the GPU: its tensors have shapes and types, but no values that could be asked for.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_cuda import Waits
from torch import Tensor
from torch.backends import cudnn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flowgru.config import StartShares, SyntheticSettings
from flowgru.data.draws import Draws
from flowgru.data.synthetic.batched.batch import DrawnBatch, DrawnPairs
from flowgru.data.synthetic.exposure import blur, blur_kernel
from flowgru.data.synthetic.motion import Motion, about, draw_waves
from flowgru.data.synthetic.pairs import SyntheticPairs

DEVICE = torch.device("meta")

EVERYTHING = SyntheticSettings(
    height=64,
    width=80,
    photos=None,
    num_textures=4,
    layers=(2, 4),
    patterns=1.0,
    motion_blur=1.0,
    fog=1.0,
    holes=1.0,
    thin=1.0,
    untextured=0.5,
)
PLAIN = replace(EVERYTHING, plain=1.0, patterns=0.0, motion_blur=0.0, fog=0.0, holes=0.0, thin=0.0, untextured=0.0)

COPIES = {"aten._to_copy.default", "aten.copy_.default"}
"""What may take values from one device to another."""


class OneDevice(TorchDispatchMode):
    """Refuses an operation on tensors of several devices; a number that is a tensor may be on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.on_device = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        devices = {value.device for value in tensors if value.dim() or value.device == DEVICE}
        assert len(devices) <= 1 or str(func) in COPIES, f"{func} takes tensors of {devices}"
        self.on_device += DEVICE in devices
        return func(*args, **kwargs or {})


class GeneratorOfTheCpu(torch.Generator):
    """The device meta has no generators."""

    def __new__(cls, device: object = None) -> "GeneratorOfTheCpu":
        return super().__new__(cls, "cpu")  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(("settings", "count"), [(EVERYTHING, 1), (PLAIN, 2)], ids=["everything", "plain"])
def test_pairs_are_made_without_reading_a_value_from_the_device(monkeypatch, settings, count):
    monkeypatch.setattr(torch, "Generator", GeneratorOfTheCpu)
    pairs = SyntheticPairs(settings, device=DEVICE)
    with OneDevice() as watched:
        for index in range(count):
            before = watched.on_device
            pair = pairs[index]
            assert {part.device for part in (pair.first, pair.second, pair.flow, pair.valid)} == {DEVICE}
            assert watched.on_device > before + 20


def test_where_a_bent_and_tilted_layer_goes_is_known_without_the_device():
    waves = draw_waves(Draws(0, 0), 40.0, 80.0, 3.0, DEVICE)
    motion = Motion(about((40.0, 32.0), (3.0, 2.0), turn=0.1, tilt=(1e-4, 2e-4)), waves)
    points = torch.rand(2, 5, 6, device=DEVICE)
    assert motion.forward(points).shape == motion.inverse(points).shape == points.shape
    on_cpu = Motion(motion.projection, draw_waves(Draws(0, 0), 40.0, 80.0, 3.0, torch.device("cpu")))
    assert motion.box_after(10.0, 5.0, 60.0, 50.0) == on_cpu.box_after(10.0, 5.0, 60.0, 50.0)


def test_pictures_are_blurred_in_float32(monkeypatch):
    seen = []
    real = torch.nn.functional.conv2d
    monkeypatch.setattr("torch.nn.functional.conv2d", lambda *given: (seen.append(cudnn.allow_tf32), real(*given))[1])
    blur(torch.rand(2, 3, 16, 16), blur_kernel(1.5, 0.5, 0.3))
    assert seen == [False] and cudnn.allow_tf32


@pytest.mark.parametrize("settings", [EVERYTHING, PLAIN], ids=["everything", "plain"])
def test_a_batch_is_painted_without_reading_a_value_from_the_device_and_by_few_operations(monkeypatch, settings):
    monkeypatch.setattr(torch, "Generator", GeneratorOfTheCpu)
    shares = StartShares(zero=0.3, truth=0.7)
    drawn = DrawnPairs(SyntheticPairs(settings), uses=2, shares=shares, seed=0)
    counts = []
    for size in (8, 16):
        batch = DrawnBatch.of([drawn[index] for index in range(size)], settings)
        batch.painted(DEVICE)  # brings the textures there
        with OneDevice() as watched, Waits():
            painted = batch.painted(DEVICE)
        assert {part.device for part in painted} == {DEVICE}
        counts.append(watched.on_device)
    assert counts[1] < 1.5 * counts[0] < 3000
