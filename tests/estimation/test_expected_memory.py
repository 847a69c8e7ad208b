"""The forecast of memory counts what is done at the frames' own size."""

from weakref import WeakSet

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flowgru.config import NetworkConfig
from flowgru.config.estimation import EstimateSettings
from flowgru.config.way import Way
from flowgru.estimation.expected_memory import FLOW_BYTES_PER_PIXEL, ExpectedMemory
from flowgru.estimation.geometry import occlusion_mask
from flowgru.estimation.stream import StreamFrame
from flowgru.model.flow_network import FlowNetwork


class LiveTensors(TorchDispatchMode):
    """The largest number of bytes in the results of operations that are still there."""

    def __init__(self) -> None:
        super().__init__()
        self.most_bytes, self._alive = 0, WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self._alive.update(leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
        storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in self._alive}
        self.most_bytes = max(self.most_bytes, sum(storages.values()))
        return result


def test_the_mask_of_hidden_pixels_is_counted_where_the_network_computes_little(monkeypatch, capsys):
    for module in ("flowgru.model.memory_estimate", "flowgru.estimation.expected_memory"):
        monkeypatch.setattr(f"{module}.used_memory", lambda device: 0)
    monkeypatch.setattr("flowgru.estimation.expected_memory.free_memory", lambda device: 0)
    size, found = (1080, 1920), {}
    for backward in (False, True):
        settings = EstimateSettings(output="out", backward=backward, resize="0.25", tiles="2x3")
        expected = ExpectedMemory(FlowNetwork(NetworkConfig("compact", "conv_gru")), Way(1, "zero", 0), settings)
        list(expected.announced(iter([StreamFrame(torch.zeros(1, 3, *size, dtype=torch.uint8), 0)])))
        found[backward] = expected.num_bytes[size]
        assert "--tiles 4x6 or a smaller --resize take less" in capsys.readouterr().err
    with LiveTensors() as live:
        occlusion_mask(*torch.randn(2, 2, *size))
    more = found[True] - found[False] - FLOW_BYTES_PER_PIXEL * size[0] * size[1]
    assert 0.7 * live.most_bytes < more < 1.5 * live.most_bytes
