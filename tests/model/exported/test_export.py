"""An exported network is one file that other programs run, gives PyTorch's flow at any size, and is kept only if it does.

What is traced is traced in processes of their own: PyTorch's tracer cannot read the tests' type checks.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from media import noisy_frames

from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.images import read_image, to_tensor, write_image
from flowgru.errors import RequestError
from flowgru.estimation import exporting
from flowgru.model.exported import formats
from flowgru.model.exported.flow import ExportedFlow
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.loading import load_model
from flowgru.model.weight_files.model_file import write_model_file
from flowgru.operators import operator_variants

pytest.importorskip("onnxruntime", reason="needs the extra export")


@torch.no_grad()
def small_network(
    operator: str = "conv_gru", preset: str = "small", confidence: bool = False, options: Any = None
) -> FlowNetwork:
    """A network of random weights whose first refinement changes noise by up to 2 px."""
    torch.manual_seed(0)
    network = FlowNetwork(NetworkConfig(preset, operator, confidence, options or {})).eval()  # pyright: ignore[reportArgumentType]
    change = network(*torch.rand(2, 1, 3, 128, 128), iterations=1).coarse
    network.flow_head[-1].weight *= 2 / (8 * change.abs().max())  # pyright: ignore[reportOperatorIssue, reportArgumentType]
    return network


def write_model(path: Path, network: FlowNetwork) -> str:
    config = network.config
    named = {"preset": config.preset, "operator": config.operator, "confidence": config.confidence}
    card = {"network": {**named, "options": config.options}, "iterations": 2, "license": "CC0-1.0"}
    write_model_file(path, network.state_dict(), card)
    return str(path)


def exported(output: Path, *words: object) -> str:
    """Runs the command in a process of its own, and gives what it said."""
    command = [sys.executable, "-m", "flowgru", "export", "--output", str(output), "--max-size", "256"]
    run = subprocess.run([*command, *map(str, words)], capture_output=True, text=True, timeout=1500)
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


@pytest.fixture(scope="module")
def network() -> FlowNetwork:
    return small_network()


@pytest.fixture(scope="module")
def model(network, tmp_path_factory) -> str:
    return write_model(tmp_path_factory.mktemp("model") / "random.safetensors", network)


@pytest.fixture(scope="module")
def made(model, tmp_path_factory) -> tuple[Path, str]:
    """An .onnx file that can be begun at a flow, and what was said while it was made."""
    path = tmp_path_factory.mktemp("exported") / "flow.onnx"
    return path, exported(path, "--model", model, "--warm-start")


@pytest.fixture
def file(made) -> Path:
    return made[0]


@pytest.fixture
def pair(tmp_path) -> list[str]:
    """Two frames of a size that has to be padded."""
    names = [str(tmp_path / f"{name}.png") for name in ("a", "b")]
    for name, frame in zip(names, noisy_frames(2, 130, 150), strict=True):
        write_image(name, frame)
    return names


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def estimate(file: object, *words: object) -> int:
    return main(["estimate", *map(str, words), "--model", str(file)])


def only_error(capsys) -> str:
    text = capsys.readouterr().err
    assert len(text.splitlines()) == 1 and text.startswith("error: ") and "Traceback" not in text, text
    return text.strip()


@torch.no_grad()
def flow_of(network: FlowNetwork, pair: list[str], iterations: int) -> np.ndarray:
    first, second = (to_tensor(read_image(path))[None] for path in pair)
    return network(first, second, iterations=iterations, final_only=True).flows[-1][0].permute(1, 2, 0).numpy()


# What the file is


@pytest.mark.timeout(1600)
def test_any_onnx_program_can_run_the_file(file, network):
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    assert [given.name for given in session.get_inputs()] == ["first", "second", "initial_flow"]
    for height, width in ((128, 128), (256, 136), (144, 256)):
        first, second = torch.rand(2, 1, 3, height, width)
        start = torch.randn(1, 2, height // 8, width // 8)
        (flow,) = session.run(
            ["flow"], {"first": first.numpy(), "second": second.numpy(), "initial_flow": start.numpy()}
        )
        with torch.no_grad():
            expected = network(first, second, iterations=2, initial_coarse=start, final_only=True).flows[-1]
        assert np.abs(flow - expected.numpy()).max() < 1e-4 * expected.abs().max()


@pytest.mark.timeout(1600)
def test_the_difference_to_pytorch_is_said(made):
    path, said = made
    assert f"wrote {path}" in said and "differs from PyTorch's by at most " in said
    assert float(said.split("by at most ")[1].split()[0]) < 1e-3


@pytest.mark.timeout(1600)
def test_the_card_travels_in_the_file(file):
    card = ExportedFlow(file).card
    assert (card["iterations"], card["license"], card["network"]["operator"]) == (2, "CC0-1.0", "conv_gru")
    assert card["export"]["max_size"] == 256 and card["export"]["model"] == "random.safetensors"


# flowgru estimate --model FILE.onnx


@pytest.mark.timeout(1600)
def test_estimate_gives_pytorchs_flow_and_says_what_it_runs(file, network, pair, out, capsys):
    assert estimate(file, *pair, "--output", out, "--backward") == 0
    assert np.abs(read_flow(out / "a.flo").flow - flow_of(network, pair, 2)).max() < 1e-3
    assert np.abs(read_flow(out / "a_backward.flo").flow - flow_of(network, pair[::-1], 2)).max() < 1e-3
    said = capsys.readouterr().out
    assert "small with conv_gru, 2 refinements, up to 256x256 px, CC0-1.0" in said and "ONNX Runtime" in said
    summary = json.loads((out / "summary.json").read_text())
    assert summary["settings"]["iterations"] == 2 and summary["card"]["license"] == "CC0-1.0"


@pytest.mark.timeout(1600)
def test_a_warm_start_and_tiles_give_the_same_as_the_weights(file, model, tmp_path):
    for number, frame in enumerate(noisy_frames(3, 130, 300)):
        write_image(tmp_path / "clip" / f"{number}.png", frame)
    flows = []
    for name, source in (("exported", file), ("weights", model)):
        words = (tmp_path / "clip", "--output", tmp_path / name, "--tiles", "1x2", "--device", "cpu", "--warm-start")
        assert estimate(source, *words) == 0
        flows.append(read_flow(tmp_path / name / "1.flo").flow)
    assert np.abs(flows[0] - flows[1]).max() < 1e-3


@pytest.mark.timeout(1600)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--iterations", "7"], "--iterations 7 cannot be kept by flow.onnx: it always does 2"),
        (["--precision", "bf16"], "--precision bf16 cannot be kept"),
        (["--correlation", "on_demand"], "--correlation on_demand cannot be kept"),
        (["--device", "cuda"], "--device cuda cannot be kept"),
        (["--confidence"], "does not say how sure it is"),
        (["--resize", "300x300"], "the picture is 300x300 and flow.onnx takes at most 256x256"),
    ],
)
def test_what_the_file_cannot_do_is_refused(file, pair, out, capsys, words, said):
    assert estimate(file, *pair, "--output", out, *words) == 2
    assert said in capsys.readouterr().err.splitlines()[-1] and not out.exists()


@pytest.mark.timeout(1600)
def test_a_damaged_file_is_one_line(file, pair, out, tmp_path, capsys):
    (tmp_path / "cut.onnx").write_bytes(file.read_bytes()[:-1000])
    assert estimate(tmp_path / "cut.onnx", *pair, "--output", out) == 2
    assert "cut.onnx is not a readable .onnx model" in only_error(capsys)


def test_another_programs_file_is_refused(pair, out, tmp_path, capsys):
    import onnx
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("a", "b")]
    graph = helper.make_graph([helper.make_node("Neg", ["a"], ["b"])], "other", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), tmp_path / "x.onnx")
    assert estimate(tmp_path / "x.onnx", *pair, "--output", out) == 2
    assert "x.onnx is not a model of flowgru's" in only_error(capsys)


def test_a_missing_file_is_one_line(pair, out, capsys):
    assert estimate("nowhere.onnx", *pair, "--output", out) == 2
    assert "there is no model file nowhere.onnx" in only_error(capsys)


def test_an_archive_that_could_run_code_is_not_loaded(pair, out, capsys):
    assert estimate("flow.pt2", *pair, "--output", out, "--device", "cpu") == 2
    assert "flow.pt2 is named like an exported model, which flowgru estimate runs (.onnx and .xml)" in only_error(
        capsys
    )


def test_an_exported_file_is_no_file_of_weights():
    with pytest.raises(RequestError, match=r"flow\.onnx is named like an exported model"):
        load_model("flow.onnx", "cpu")


# What is refused, and what is not kept


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "tflite"], "expected one of onnx, torch-export, openvino"),
        (["--iterations", "0"], "--iterations is 0"),
        (["--max-size", "250"], "--max-size is 250: it must be a multiple of 8"),
        (["--format", "openvino"], "a file of the format openvino ends in .xml"),
        (["--model", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--model", "flow.onnx"], "name the weights it was made from"),
    ],
)
def test_a_request_without_sense_is_one_line(tmp_path, capsys, words, said):
    assert main(["export", "--output", str(tmp_path / "flow.onnx"), *words]) == 2
    assert said in only_error(capsys) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "taken"), [("flow.onnx", "flow.onnx"), ("flow.xml", "flow.bin")])
def test_nothing_is_overwritten_unasked(tmp_path, capsys, name, taken):
    (tmp_path / taken).write_text("mine")
    kind = "onnx" if name.endswith(".onnx") else "openvino"
    assert main(["export", "--output", str(tmp_path / name), "--format", kind]) == 2
    assert f"{taken} exists already: give --overwrite" in only_error(capsys)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(taken, "mine")]


def test_a_missing_package_is_named_with_the_command_that_brings_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "onnxscript" else name)
    assert main(["export", "--output", str(tmp_path / "flow.onnx")]) == 2
    assert only_error(capsys) == "error: the package onnxscript is missing: pip install 'flowgru[export]'"


@pytest.mark.timeout(1600)
@pytest.mark.parametrize("difference", [0.002, float("nan")])
def test_a_file_whose_flow_is_not_pytorchs_is_not_kept(file, model, tmp_path, capsys, monkeypatch, difference):
    wrong = ExportedFlow(file)

    def match(*arguments, **options):
        found = ExportedFlow.match(wrong, *arguments, **options)
        return found._replace(flows=(found.flows[0] + difference,))

    def write(program, output_names, path, card):
        path.write_bytes(b"made")

    monkeypatch.setattr(exporting, "trace", lambda *_: None)
    monkeypatch.setattr(exporting, "SIZES", ((128, 136),))
    monkeypatch.setattr(exporting, "ExportedFlow", lambda _: wrong)
    monkeypatch.setattr(wrong, "match", match)
    monkeypatch.setitem(formats.FORMATS, "onnx", formats.FORMATS["onnx"]._replace(write=write))
    assert main(["export", "--model", model, "--output", str(tmp_path / "new.onnx")]) == 4
    assert "new.onnx is not kept" in only_error(capsys) and not list(tmp_path.iterdir())


def test_a_network_that_cannot_be_traced_is_one_line(model, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise KeyError("aten.strange\nmore")

    monkeypatch.setattr(exporting, "trace", fail)
    assert main(["export", "--model", model, "--output", str(tmp_path / "new.onnx")]) == 2
    assert "small with conv_gru cannot be exported as onnx: 'aten.strange" in only_error(capsys)
    assert not list(tmp_path.iterdir())


# Every operator and format

VARIANTS = operator_variants()


TWO_RUNTIMES = """
import sys
from pathlib import Path
import torch
from flowgru.model.exported.exportable import ExportableFlow, trace
from flowgru.model.exported.formats import open_onnx, open_openvino, write_onnx
from flowgru.model.weight_files.loading import load_model

model, output = sys.argv[1:]
network = load_model(model, "cpu").requires_grad_(False)
exportable = ExportableFlow(network, 3)
write_onnx(trace(exportable, 256), exportable.output_names, Path(output), {})
for opened in (open_onnx(Path(output)), open_openvino(Path(output))):
    for height, width in ((128, 128), (136, 232), (256, 184)):
        first, second = torch.rand(2, 1, 3, height, width)
        flow = opened.run({"first": first.numpy(), "second": second.numpy()})["flow"]
        with torch.no_grad():
            expected = network(first, second, iterations=3, final_only=True).flows[-1]
        torch.testing.assert_close(torch.from_numpy(flow), expected, rtol=0.0, atol=1e-3)
"""


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_operator_runs_in_onnx_runtime_and_openvino(variant, tmp_path):
    operator, options = VARIANTS[variant]
    model = write_model(tmp_path / "random.safetensors", small_network(operator, options=options))
    command = [sys.executable, "-c", TWO_RUNTIMES, model, str(tmp_path / "flow.onnx")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=2900)
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(("preset", "confidence"), [("large", False), ("compact", True)])
def test_every_preset_can_be_exported_in_every_format(preset, confidence, tmp_path, pair):
    network = small_network("seq_conv_gru", preset, confidence)
    model = write_model(tmp_path / "random.safetensors", network)
    for kind, format in formats.FORMATS.items():
        path = tmp_path / f"flow{format.suffixes[0]}"
        exported(path, "--model", model, "--format", kind)
        found = ExportedFlow(path)
        first, second = (to_tensor(read_image(name))[None] for name in pair)
        prediction = found.match(found.encode(first), found.encode(second), iterations=2)
        with torch.no_grad():
            expected = network(first, second, iterations=2, final_only=True)
        torch.testing.assert_close(prediction.flows[-1], expected.flows[-1], rtol=0.0, atol=1e-3)
        torch.testing.assert_close(prediction.coarse, expected.coarse, rtol=0.0, atol=1e-3)
        if confidence:
            torch.testing.assert_close(prediction.confidence, expected.confidence, rtol=0.0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_default_model_is_exported_and_estimates_a_clip(tmp_path):
    from flowgru.commands.demo import SAMPLE

    exported(tmp_path / "flow.onnx", "--iterations", 12, "--hold", 0)
    for number in (1, 2):
        frame = read_image(SAMPLE / f"frame_000{number}.png")[:250, :250]
        write_image(tmp_path / "clip" / f"{number}.png", frame)
    alone = ("--initial-flow", "zero", "--no-polish")
    assert estimate(tmp_path / "flow.onnx", tmp_path / "clip", "--output", tmp_path / "out", "--video", *alone) == 0
    pair = [str(tmp_path / "clip" / f"{number}.png") for number in (1, 2)]
    flow = read_flow(tmp_path / "out" / "1.flo").flow
    assert np.abs(flow - flow_of(load_model("default", "cpu"), pair, 12)).max() < 1e-3
    assert (tmp_path / "out" / "flow.mp4").stat().st_size > 0
