"""The memory that is announced is the memory that is taken; a lack of it ends in a smaller plan or in one clear line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from media import noisy_frames
from paths import ROOT

from flowgru import estimate_flow
from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.config.estimation import EstimateSettings
from flowgru.config.way import Way
from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.images import write_image
from flowgru.errors import MachineError, lacks_memory
from flowgru.estimation.expected_memory import ExpectedMemory
from flowgru.estimation.stream import StreamFrame
from flowgru.model.buffers import idle_bytes
from flowgru.model.correlation import choice
from flowgru.model.correlation.all_pairs import AllPairsCorrelation, pyramid_bytes
from flowgru.model.correlation.choice import CorrelationMethod, MatchPlan
from flowgru.model.correlation.on_demand import OnDemandCorrelation
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.memory import used_memory

CPU = torch.device("cpu")

LACKS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("Unable to instantiate PyTypeObject for IndexReduceBackward0"),
    OSError(12, "Cannot allocate memory"),
    Exception("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 8"),
    Exception("BFCArena::AllocateRawInternal Available memory of 4 is smaller than requested bytes of 8"),
    Exception(
        "OpenCV(5.0.0) error: (-4:Insufficient memory) Failed to allocate 8 bytes in function 'OutOfMemoryError'"
    ),
]


def command(*words: object, limit: int | None = None) -> subprocess.CompletedProcess:
    """`flowgru estimate` in a process of its own, with at most `limit` bytes of address space."""
    code = "import sys, resource\n"
    if limit is not None:
        code += f"resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))\n"
    code += "from flowgru.cli import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, "estimate", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=280,
    )


def pair_of(folder: Path, height: int, width: int) -> list[Path]:
    paths = [folder / "a.png", folder / "b.png"]
    for path, frame in zip(paths, noisy_frames(2, height, width), strict=True):
        write_image(path, frame)
    return paths


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's memory from /proc")
@pytest.mark.parametrize(
    "height, width, method",
    [
        (240, 320, "all_pairs"),
        pytest.param(560, 720, "all_pairs", marks=pytest.mark.slow),
        pytest.param(720, 960, "on_demand", marks=pytest.mark.slow),
        pytest.param(1080, 1920, "on_demand", marks=pytest.mark.slow),
    ],
)
def test_the_expected_memory_is_said_first_and_kept_within_a_tenth(height, width, method, tmp_path):
    run = command(
        *pair_of(tmp_path, height, width), "--output", tmp_path / "out", "--correlation", method, "--iterations", 1
    )
    assert run.returncode == 0, run.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    expected = summary["expected_memory_mib"]
    size = f"{height}x{width} px (height x width)"
    assert run.stdout.splitlines()[1] == f"{size} on cpu, correlation {method}: expecting {expected / 1024:.2f} GiB"
    assert abs(expected / summary["peak_memory_mib"] - 1) <= 0.1


def test_the_estimate_knows_what_makes_the_difference():
    small, large = (FlowNetwork(NetworkConfig(preset, "conv_gru")) for preset in ("small", "large"))
    here = used_memory(CPU)

    def increment(
        network: FlowNetwork, height: int, width: int, method: CorrelationMethod = "on_demand", **tiles
    ) -> int:
        return network.expected_memory(height, width, plan=MatchPlan(method), **tiles).num_bytes - here

    assert increment(large, 1088, 1920) > increment(small, 1088, 1920)
    assert increment(large, 1088, 1920, "all_pairs") > increment(large, 1088, 1920) + 5 * 2**30
    tiled = increment(large, 4320, 7680, num_tiles=16, tile_shape=(1336, 2368))
    assert tiled < increment(large, 4320, 7680) / 2
    assert large.expected_memory(1088, 1920).method == "on_demand"
    assert large.expected_memory(1088, 1920, plan=MatchPlan(memory_budget=2**40)).method == "all_pairs"


@pytest.mark.parametrize(
    ("changes", "device", "recorded"),
    [
        ({}, "cuda", True),
        ({"cuda_graph": False}, "cuda", False),
        ({"stop_below": 0.1}, "cuda", False),
        ({}, "cpu", False),
    ],
)
def test_the_memory_of_a_graph_is_counted_where_there_is_one(monkeypatch, capsys, changes, device, recorded):
    for module in ("flowgru.model.memory_estimate", "flowgru.estimation.expected_memory"):
        monkeypatch.setattr(f"{module}.used_memory", lambda device: 0)
    monkeypatch.setattr("flowgru.estimation.expected_memory.free_memory", lambda device: 0)
    monkeypatch.setattr(FlowNetwork, "device", torch.device(device))
    network = FlowNetwork(NetworkConfig("compact", "conv_gru"))
    network.plan = MatchPlan("all_pairs")
    expected = ExpectedMemory(network, Way(1, "zero", 0), EstimateSettings(output="out", **changes))
    list(expected.announced(iter([StreamFrame(torch.zeros(1, 3, 440, 1024, dtype=torch.uint8), 0)])))
    more = expected.num_bytes[440, 1024] - network.expected_memory(440, 1024).num_bytes
    assert (more > pyramid_bytes(1, 55, 128, 4)) == recorded
    assert ("--no-cuda-graph, " in capsys.readouterr().err) == recorded


@pytest.mark.parametrize("error", LACKS, ids=lambda error: f"{type(error).__name__} {error}")
def test_a_lack_of_memory_is_one_line_from_every_command(error, monkeypatch, capsys):
    def lacking(*_):
        raise error

    monkeypatch.setattr("flowgru.parser.TaskParser.parse", lacking)
    assert main(["estimate"]) == 4
    assert capsys.readouterr().err.startswith("error: not enough memory: ")


@pytest.mark.parametrize("error", LACKS, ids=lambda error: f"{type(error).__name__} {error}")
def test_a_lack_of_memory_is_recognised(error):
    assert lacks_memory(error)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("shapes do not fit"), OSError(), KeyboardInterrupt(), MachineError("out of memory: use --tiles 2x2")],
    ids=repr,
)
def test_other_errors_are_no_lack_of_memory(error):
    assert not lacks_memory(error)


@pytest.fixture
def network() -> FlowNetwork:
    network = FlowNetwork(NetworkConfig("compact", "conv_min_gru")).eval()
    with torch.no_grad():
        for parameter in network.flow_head.parameters():
            parameter *= 0.1  # random weights give flows far out of the picture
    return network


def failing(network: FlowNetwork, monkeypatch: pytest.MonkeyPatch, error: Exception, *, until) -> list[tuple]:
    """Makes `match` lack memory until `until` holds of (correlation, picture shape); returns what was tried."""
    match, tried = network.match, []

    def lacking(first, second, **options):
        tried.append((options["plan"].correlation, tuple(first.picture_shape[2:])))
        if not until(*tried[-1]):
            raise error
        return match(first, second, **options)

    monkeypatch.setattr(network, "match", lacking)
    return tried


@pytest.mark.parametrize("error", LACKS[:3], ids=lambda error: type(error).__name__)
def test_a_pair_that_does_not_fit_is_computed_on_demand(network, monkeypatch, error):
    frames = noisy_frames(3, 136, 160)
    expected = list(estimate_flow(frames, network, iterations=2))
    tried = failing(network, monkeypatch, error, until=lambda correlation, shape: correlation == "on_demand")
    with pytest.warns(
        UserWarning, match="not enough memory for frames of 136x160 px .height x width. on cpu: computing with the corr"
    ):
        found = list(estimate_flow(frames, network, iterations=2))
    assert [correlation for correlation, _ in tried] == ["auto", "on_demand", "on_demand"]  # the next pair knows
    for truth, flow in zip(expected, found, strict=True):
        torch.testing.assert_close(flow, truth, rtol=1e-3, atol=1e-3)


def test_what_does_not_fit_on_demand_is_cut_into_tiles(network, monkeypatch):
    frames = noisy_frames(3, 512, 520)
    tried = failing(network, monkeypatch, MemoryError(), until=lambda correlation, shape: shape[0] < 400)
    with pytest.warns(UserWarning, match="computing in 2x2 tiles"):
        found = list(estimate_flow(frames, network, iterations=1, warm_start=True))
    assert [flow.shape for flow in found] == 2 * [(2, 512, 520)] and all(flow.isfinite().all() for flow in found)
    assert len(tried) == 2 + 2 * 4


def test_what_auto_computes_on_demand_already_is_not_tried_again_but_cut(network, monkeypatch):
    monkeypatch.setattr(choice, "MAX_PYRAMID_BYTES", 0)
    tried = failing(network, monkeypatch, MemoryError(), until=lambda correlation, shape: shape[0] < 400)
    with pytest.warns(UserWarning, match="computing in 2x2 tiles"):
        assert len(list(estimate_flow(noisy_frames(2, 512, 520), network, iterations=1))) == 1
    assert [correlation for correlation, _ in tried] == ["auto"] * 5


def test_what_never_fits_is_one_line_with_the_flags_and_exit_4(tmp_path, monkeypatch, capsys):
    def lacking(*_, **__):
        raise MemoryError

    monkeypatch.setattr(FlowNetwork, "match", lacking)
    words = [*map(str, pair_of(tmp_path, 512, 512)), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["estimate", *words]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "error: not enough memory for frames of 512x512 px (height x width) on cpu, even in 2x2 tiles with the "
        "correlation on demand: use --no-polish, --resize 0.5 or more tiles, such as --tiles 4x4"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to its address space")
@pytest.mark.slow
def test_a_process_that_may_not_grow_still_gives_the_flow(tmp_path):
    height, width = 720, 960
    frames = pair_of(tmp_path, height, width)
    given = "--iterations", 1, "--output", tmp_path / "out"
    limit = address_space_after_loading() + 400 * 2**20
    run = command(*frames, *given, "--correlation", "all_pairs", limit=limit)  # the volume alone is 466 MB
    assert run.returncode == 0, run.stderr
    assert "not enough memory for frames of 720x960 px (height x width)" in run.stderr and "Traceback" not in run.stderr
    assert read_flow(tmp_path / "out" / "a.flo").flow.shape == (height, width, 2)


def address_space_after_loading() -> int:
    """What a process reserves before it computes anything; with CUDA libraries that is a multiple of what it uses."""
    code = (
        "from flowgru.estimation import clips; from flowgru import load_model; load_model(device='cpu')\n"
        "print(open('/proc/self/statm').read().split()[0])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return int(run.stdout) * os.sysconf("SC_PAGE_SIZE")


def test_a_smaller_plan_begins_without_the_memory_of_the_larger_one(monkeypatch):
    network = FlowNetwork(NetworkConfig("compact", "conv_gru")).for_inference()
    network.plan = MatchPlan("all_pairs")
    idle, look_up = [], OnDemandCorrelation.lookup

    def lacking(*_):
        raise MemoryError

    def observed(self, centres):
        idle.append(idle_bytes())
        return look_up(self, centres)

    monkeypatch.setattr(AllPairsCorrelation, "lookup", lacking)
    monkeypatch.setattr(OnDemandCorrelation, "lookup", observed)
    with pytest.warns(UserWarning, match="not enough memory"):
        assert len(list(estimate_flow(noisy_frames(2, 96, 128), network, iterations=1))) == 1
    assert idle == [0]
