"""A compiled network gives the plain one's flow, makes each graph once for a size, and says what it lacks.

Every run is a process of its own: PyTorch's compiler cannot trace the tests' type checks.
"""

import copy
import json
import pickle
import subprocess

import pytest
import torch
from interpreter import run_alone
from media import noisy_frames

from flowgru.data.formats.images import write_image
from flowgru.errors import MachineError, RequestError
from flowgru.grid import pixel_grid
from flowgru.model.compiled import CompiledPart, compile_for_inference
from flowgru.model.correlation.choice import correlate
from flowgru.model.weight_files.loading import load_model
from flowgru.operators import UPDATE_OPERATORS

PREAMBLE = """
import sys, torch
from flowgru.config import NetworkConfig
from flowgru.grid import pixel_grid, splat
from flowgru.model.compiled import compile_for_inference, compile_for_training, compile_seconds
from flowgru.model.correlation.choice import MatchPlan
from flowgru.model.flow_network import FlowNetwork

torch.set_num_threads(1)

def make(preset, operator, correlation):
    torch.manual_seed(0)
    network = FlowNetwork(NetworkConfig(preset, operator, True)).eval()  # with a head that says how sure it is
    for module in network.modules():  # as if it had learned something
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    network.plan = MatchPlan(correlation)
    return network

@torch.inference_mode()
def video(network, frames, **options):
    "Flows of neighbours, each frame encoded once: cold at first, then warm."
    flows, before, start = [], None, None
    for frame in frames:
        encoded = network.encode(frame[None])
        if before is not None:
            with_options = dict(iterations=3, initial_coarse=start, final_only=True) | options
            prediction = network.match(before, encoded, **with_options)
            flows.append(prediction.flows[-1])
            start = splat(prediction.coarse, prediction.coarse)
        before = encoded
    return flows

def pictures(count, height, width):
    frames = torch.rand(count, 3, height // 8 + 1, width // 8 + 1)
    return torch.nn.functional.interpolate(frames, (height, width), mode="bicubic").clamp(0, 1)
"""

ONE_GRAPH_A_SIZE = """
from torch._dynamo.utils import counters

network, plain = (make("compact", sys.argv[1], sys.argv[2]) for _ in range(2))
compile_for_inference(network, backend="eager")
frames = pictures(3, 140, 170)
flows = video(network, frames)
assert counters["stats"]["unique_graphs"] == 4 and not counters["graph_break"], counters
for flow, expected in zip(flows, video(plain, frames)):
    torch.testing.assert_close(flow, expected, rtol=1e-4, atol=1e-4)
seconds = compile_seconds(network)
with torch.compiler.set_stance("fail_on_recompile"):
    video(network, frames.flip(0))
    video(network, frames, iterations=5, final_only=False)
    video(network, frames, stop_below=1e3)
    video(network, frames, hold=2)
assert compile_seconds(network) == seconds > 0
video(network, pictures(2, 200, 170))
assert counters["stats"]["unique_graphs"] == 8 and compile_seconds(network) > seconds, counters
"""

EVERY_PART = """
graphs = []
network = FlowNetwork(NetworkConfig("large", "conv_gru", True))
compile_for_training(network, backend=lambda graph, inputs: (graphs.append(graph), graph.forward)[1])
sizes = network.sizes
hidden, motion = torch.rand(1, sizes.hidden_size, 8, 8), torch.rand(1, sizes.motion_size, 8, 8)
state = network.operator.begin(hidden, torch.rand(1, sizes.context_size, 8, 8))
for part, *inputs in (
    (network.feature_encoder, torch.rand(1, 3, 64, 64)),
    (network.context_encoder, torch.rand(1, 3, 64, 64)),
    (network.motion_encoder, torch.rand(1, 2, 8, 8), torch.rand(1, 324, 8, 8)),
    (network.operator.step, motion, state),
    (network.flow_head, hidden),
    (network.mixture_head, hidden),
    (network.upsampler, hidden, torch.rand(1, 5, 8, 8)),
):
    before = len(graphs)
    part(*inputs)
    assert len(graphs) > before, part
before = len(graphs)
for width in range(9, 21):  # more sizes than PyTorch compiles one function for by default
    maps = (torch.rand(1, channels, 8, width) for channels in (sizes.hidden_size, sizes.context_size, sizes.motion_size))
    hidden, context, motion = maps
    network.operator.step(motion, network.operator.begin(hidden, context))
assert len(graphs) == before + 12, len(graphs) - before
"""

SAME_FLOW = """
for correlation in ("all_pairs", "on_demand"):
    network, plain = (make(sys.argv[1], sys.argv[2], correlation) for _ in range(2))
    compile_for_inference(network)
    frames = pictures(3, 140, 170)
    for hold in (0, 2):  # held refinements run beside the compiled ones
        for flow, expected in zip(video(network, frames, hold=hold), video(plain, frames, hold=hold)):
            assert expected.abs().max() > 0.1
            assert (flow - expected).abs().max() < 1e-3, (correlation, hold, (flow - expected).abs().max())
    with torch.autocast("cpu", torch.bfloat16):
        for flow, expected in zip(video(network, frames), video(plain, frames)):
            assert flow.dtype == torch.float32
            assert (flow - expected).abs().max() < 0.05 * expected.abs().max() + 0.05
"""

COMMAND = """
from flowgru.cli import main
sys.exit(main(["estimate", *sys.argv[1:3], "--output", sys.argv[3], "--compile", "--iterations", "1", "--device", "cpu"]))
"""


def run_compiled(code: str, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Graphs that are made anew: nothing is taken from what an earlier process has compiled."""
    return run_alone(PREAMBLE + code, *words, TORCHINDUCTOR_FORCE_DISABLE_CACHES="1", **environment)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "operator, correlation",
    [
        ("conv_gru", "on_demand"),
        pytest.param("conv_min_gru", "all_pairs", marks=pytest.mark.slow),
        *(pytest.param(name, "on_demand", marks=pytest.mark.slow) for name in UPDATE_OPERATORS if name != "conv_gru"),
    ],
)
def test_a_compiled_network_is_four_graphs_for_each_size_and_none_for_a_further_frame(operator, correlation):
    run = run_alone(PREAMBLE + ONE_GRAPH_A_SIZE, operator, correlation)
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "preset, operator", [("large", "seq_conv_gru"), ("small", "conv_gru"), ("compact", "conv_min_gru")]
)
def test_compiled_code_gives_the_flow_of_the_plain_network(preset, operator):
    run = run_compiled(SAME_FLOW, preset, operator)
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.fixture
def pair(tmp_path):
    """The paths of two pictures."""
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for path, frame in zip(paths, noisy_frames(2, 48, 64), strict=True):
        write_image(path, frame)
    return paths


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_says_what_compiling_took(pair, tmp_path):
    run = run_compiled(COMMAND, *pair, tmp_path / "out")
    assert run.returncode == 0, run.stderr[-3000:]
    seconds = json.loads((tmp_path / "out" / "summary.json").read_text())["compile_seconds"]
    assert (
        seconds > 1
        and f"compiling for 48x64 px (height x width) took {seconds:.1f} s, once for each size computed" in run.stdout
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_machine_without_a_compiler_ends_in_one_line_and_code_4(pair, tmp_path):
    run = run_compiled(COMMAND, *pair, tmp_path / "out", CXX="no-such-compiler")
    assert run.returncode == 4, run.stderr[-3000:]
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("error: ")]  # Triton's end may say more
    assert "leave --compile out" in line and "Traceback" not in run.stderr
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_compiled_is_an_error_of_the_machine():
    def broken(*_):
        raise RuntimeError("no compiler")

    with pytest.raises(MachineError, match=r"cannot work here .*no compiler.*leave --compile out"):
        CompiledPart(lambda values: values + 1, broken)(torch.rand(3))


def test_a_part_is_compiled_for_each_value_of_a_switch():
    part, values = CompiledPart(lambda values, switch: values + 1 if switch else values, "eager"), torch.rand(3)
    for switch in (True, False, True):
        assert torch.equal(part(values, switch), values + switch)
    assert len(part.known) == 2


def test_a_loaded_model_is_compiled_where_that_is_asked_for():
    plain, compiled = (load_model(device="cpu", compile=compile) for compile in (False, True))
    assert not plain.compiled_parts and len(compiled.compiled_parts) == 4
    assert {compiled.refine, compiled.read_out} < {*compiled.compiled_parts}


def test_every_part_is_compiled_for_training():
    run = run_alone(PREAMBLE + EVERY_PART)
    assert run.returncode == 0, run.stderr[-3000:]


def test_a_compiled_network_is_neither_copied_nor_pickled(random_network):
    """A copy would compute with the parts, and so with the weights, of the original."""
    network = compile_for_inference(copy.deepcopy(random_network), backend="eager")
    for attempt in (copy.deepcopy, pickle.dumps):
        with pytest.raises(RequestError, match="a compiled network cannot be copied or pickled: load it again"):
            attempt(network)


each_method = pytest.mark.parametrize("method", ["all_pairs", "on_demand"])


@each_method
def test_sixteen_bits_around_do_not_reach_the_matches(method):
    features = torch.randn(2, 1, 64, 16, 16).bfloat16()
    centres = pixel_grid(16, 16, like=features.float()) + 0.3
    expected = correlate(*features.float(), levels=3, radius=3, method=method).lookup(centres)
    with torch.autocast("cpu", torch.bfloat16):
        found = correlate(*features, levels=3, radius=3, method=method, compiled=True).lookup(centres)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@each_method
@pytest.mark.parametrize("radius, height, width", [(4, 18, 23), (3, 16, 16)])
def test_the_look_up_that_is_compiled_is_the_plain_one(method, radius, height, width):
    first, second = torch.randn(2, 2, 32, height, width)
    centres = torch.randn(2, 2, height, width) * 12 + 8
    centres[0, :, 0, :6] = torch.tensor([[0.0, -1.0, 15.0, 1e6, -1e6, 3.0], [0.0, 2.5, 15.0, 3.0, 1e6, 4.0]])
    plain, compiled = (
        correlate(first, second, levels=4, radius=radius, method=method, compiled=compiled).lookup(centres)
        for compiled in (False, True)
    )
    assert plain.abs().max() > 1
    torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=2e-4)
