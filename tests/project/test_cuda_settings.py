"""What is set otherwise for a GPU than for a CPU, as far as it shows without one."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from fake_cuda import fake_cuda
from tiny_run import TINY, new_run
from torch.backends import cudnn

from flowgru.benchmarking.costs import peak_mib
from flowgru.benchmarking.timing import conditions
from flowgru.commands.train import train
from flowgru.config import NetworkConfig
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.evaluation.validation import validate
from flowgru.layers.arithmetic import arithmetic, convolutions
from flowgru.layers.convolution import inference_layout
from flowgru.model.flow_network import FlowNetwork
from flowgru.training import engine
from flowgru.training.feeding import loader
from flowgru.training.feeding.sampler import collate
from flowgru.training.run_state import make_optimizer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_only_a_cpu_computes_in_a_fixed_order():
    before = torch.are_deterministic_algorithms_enabled(), cudnn.benchmark
    with arithmetic(CUDA):
        assert not torch.are_deterministic_algorithms_enabled() and cudnn.benchmark
    with arithmetic(CPU):
        assert torch.are_deterministic_algorithms_enabled() and not cudnn.benchmark
    assert (torch.are_deterministic_algorithms_enabled(), cudnn.benchmark) == before == (False, False)


def test_a_run_computes_as_its_device_should(tmp_path, monkeypatch):
    devices = []

    @contextmanager
    def noted(device):
        devices.append(device)
        yield

    monkeypatch.setattr(engine, "arithmetic", noted)
    train(replace(TINY, steps=1), str(tmp_path), device="cpu")
    assert devices == [CPU]


def test_errors_are_measured_without_tf32_and_without_tuning_for_each_size(monkeypatch):
    seen = []

    def forward(self, first, second, *, iterations, **_):
        seen.append((cudnn.allow_tf32, cudnn.benchmark))
        return type("Prediction", (), {"flows": [torch.zeros(1, 2, *first.shape[2:])] * iterations})

    monkeypatch.setattr(FlowNetwork, "forward", forward)
    with convolutions(tf32=True, tuned=True):
        validate(FlowNetwork(TINY.network), SyntheticPairs(TINY.data, length=1), (1,), CPU)
        assert (cudnn.allow_tf32, cudnn.benchmark) == (True, True)
    assert seen == [(False, False)]


def test_an_estimations_peak_is_not_that_of_earlier_work(monkeypatch):
    peak = 900 * 2**20

    def forget(device):
        nonlocal peak
        peak = 100 * 2**20

    def forward(self, *_, **__):
        nonlocal peak
        peak = max(peak, 700 * 2**20)

    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peak)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", forget)
    monkeypatch.setattr(FlowNetwork, "forward", forward)
    monkeypatch.setattr(FlowNetwork, "to", lambda self, *_, **__: self)
    with fake_cuda():
        assert peak_mib(NetworkConfig("compact", "conv_gru"), 64, 64, 1, CUDA) == 600


def test_a_network_made_for_inference_keeps_the_channels_last():
    with fake_cuda(), torch.no_grad():
        network = FlowNetwork(NetworkConfig("large", "conv_gru")).eval()
        for weight in network.parameters():  # as for_inference does, which fake tensors do not allow
            if weight.dim() == 4:
                weight.data = weight.contiguous(memory_format=inference_layout(CUDA))
        features = network.encode(torch.rand(1, 3, 128, 160)).context
    assert features is not None and features.device.type == "cuda"
    assert features.is_contiguous(memory_format=torch.channels_last) and not features.is_contiguous()


@pytest.mark.parametrize("tf32", [True, False])
def test_a_table_says_where_tf32_is_used(monkeypatch, tf32):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, not tf32
    try:
        with convolutions(tf32=tf32):
            said = conditions(CUDA, size="", dtype="", iterations="", correlation="", rounds=1, warm_up="")
    finally:
        matmul.allow_tf32 = before
    expected = {True: "on", False: "off"}
    assert said["TF32 in convolutions"] == expected[tf32] and said["TF32 in matrix products"] == expected[not tf32]


@pytest.mark.parametrize(
    "device, precision, fused", [(CUDA, "bf16", True), (CUDA, "32", True), (CUDA, "16", None), (CPU, "32", None)]
)
def test_a_gpu_changes_all_weights_in_one_kernel_where_gradients_can_be_clipped(device, precision, fused):
    weights = [torch.nn.Parameter(torch.ones(2))]
    assert make_optimizer(weights, replace(TINY, precision=precision), device).defaults["fused"] is fused


def test_a_run_from_a_gpu_goes_on_as_a_cpu_computes():
    saved = new_run()
    saved.optimizer.param_groups[0]["fused"] = True
    run = new_run()
    run.restore(saved.network.state_dict(), saved.state())
    assert run.optimizer.param_groups[0]["fused"] is None
    assert run.optimizer.param_groups[0]["params"][0] is next(run.network.parameters())


def test_pictures_of_8_bits_travel_as_bytes_and_arrive_to_the_bit():
    samples = [SyntheticPairs(TINY.data)[index] for index in range(2)]
    samples[1] = samples[1]._replace(second=samples[1].second * 0.999)
    plain, levels = collate(samples), collate(samples, levels=True)
    assert (levels.first.dtype, levels.second.dtype) == (torch.uint8, torch.float32)
    arrived = levels.to(CPU)
    assert torch.equal(arrived.first, plain.first) and torch.equal(arrived.second, plain.second)
    every_level = torch.arange(256) / 255
    sample = samples[0]._replace(first=every_level.expand(3, 2, -1), second=every_level.expand(3, 2, -1))
    assert torch.equal(collate([sample], levels=True).to(CPU).first[0], sample.first)


@pytest.mark.parametrize("pinned", [True, False])
def test_only_what_goes_to_a_gpu_travels_as_bytes(monkeypatch, pinned):
    made = []
    monkeypatch.setattr(loader, "DataLoader", lambda *_, collate_fn, **__: made.append(collate_fn.keywords) or [])
    loader._loader(SyntheticPairs(TINY.data), TINY, 0, 0, 1, pinned)
    assert made == [{"levels": pinned}]
