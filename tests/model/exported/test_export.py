"""An exported network is one file that other programs run, gives PyTorch's flow at any size, and is kept only if it does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from estimates import expected_flow, only_error
from exports import estimate, exported, small_network, write_model
from interpreter import run_alone
from media import noisy_frames

from flowgru.cli import main
from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.images import write_image
from flowgru.estimation import exporting
from flowgru.model.exported import formats
from flowgru.model.exported.flow import ExportedFlow
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import write_model_file

pytest.importorskip("onnxruntime", reason="needs the extra export")


@pytest.fixture(scope="module")
def network() -> FlowNetwork:
    return small_network()


@pytest.fixture(scope="module")
def model(network, tmp_path_factory) -> str:
    return write_model(tmp_path_factory.mktemp("model") / "random.safetensors", network)


@pytest.fixture(scope="module")
def export_run(model, tmp_path_factory) -> tuple[Path, str]:
    """An .onnx file that can be begun at a flow, and what was said while it was made."""
    path = tmp_path_factory.mktemp("exported") / "flow.onnx"
    return path, exported(path, "--model", model, "--warm-start")


@pytest.fixture
def exported_file(export_run) -> Path:
    return export_run[0]


@pytest.mark.timeout(1600)
def test_any_onnx_program_can_run_the_file(exported_file, network):
    import onnxruntime

    session = onnxruntime.InferenceSession(exported_file)
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
def test_the_difference_to_pytorch_is_said(export_run):
    path, said = export_run
    assert f"wrote {path}" in said and "differs from PyTorch's by at most " in said
    assert float(said.split("by at most ")[1].split()[0]) < 1e-3


@pytest.mark.timeout(1600)
def test_the_card_travels_in_the_file(exported_file):
    card = ExportedFlow(exported_file).card
    assert (card["iterations"], card["license"], card["network"]["operator"]) == (2, "CC0-1.0", "conv_gru")
    assert card["export"]["max_size"] == 256 and card["export"]["model"] == "random.safetensors"


@pytest.mark.timeout(1600)
def test_estimate_gives_pytorchs_flow_and_says_what_it_runs(exported_file, network, pair, output, capsys):
    assert estimate(exported_file, *pair, "--output", output, "--backward") == 0
    for name, frames in (("a", pair), ("a_backward", pair[::-1])):
        expected = expected_flow(network, *frames, iterations=2)
        assert np.abs(read_flow(output / f"{name}.flo").flow - expected).max() < 1e-3
    said = capsys.readouterr().out
    assert "small with conv_gru, 2 refinements, up to 256x256 px, CC0-1.0" in said and "ONNX Runtime" in said
    summary = json.loads((output / "summary.json").read_text())
    assert summary["settings"]["iterations"] == 2 and summary["card"]["license"] == "CC0-1.0"


@pytest.mark.timeout(1600)
def test_a_warm_start_and_tiles_give_the_same_as_the_weights(exported_file, model, tmp_path):
    for number, frame in enumerate(noisy_frames(3, 130, 300)):
        write_image(tmp_path / "clip" / f"{number}.png", frame)
    flows = []
    for name, source in (("exported", exported_file), ("weights", model)):
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
        (["--resize", "300x300"], "the picture is 300x300 and flow.onnx takes at most 256x256 px (height x width)"),
    ],
)
def test_what_the_file_cannot_do_is_refused(exported_file, pair, output, capsys, words, said):
    assert estimate(exported_file, *pair, "--output", output, *words) == 2
    assert said in capsys.readouterr().err.splitlines()[-1] and not output.exists()


@pytest.mark.timeout(1600)
def test_a_damaged_file_is_one_line(exported_file, pair, output, tmp_path, capsys):
    (tmp_path / "cut.onnx").write_bytes(exported_file.read_bytes()[:-1000])
    assert estimate(tmp_path / "cut.onnx", *pair, "--output", output) == 2
    assert "cut.onnx is not a readable .onnx model" in only_error(capsys)


@pytest.mark.timeout(1600)
@pytest.mark.parametrize("difference", [0.002, float("nan")])
def test_a_file_whose_flow_is_not_pytorchs_is_not_kept(exported_file, model, tmp_path, capsys, monkeypatch, difference):
    wrong = ExportedFlow(exported_file)

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


@pytest.mark.parametrize(("words", "expected"), [([], "3 held and 6"), (["--iterations", "1"], "3 held and 1")])
def test_a_file_has_the_largest_number_of_refinements_of_all_scales(
    network, tmp_path, capsys, monkeypatch, words, expected
):
    card = {"iterations": 2, "initial_flow": "dis", "hold": 3, "scales": 2, "coarse_iterations": 6}
    said = {"network": {"preset": "small", "operator": "conv_gru"}, **card}
    write_model_file(tmp_path / "model.safetensors", network.state_dict(), said)
    monkeypatch.setattr(exporting, "trace", lambda exportable, _: {}[exportable.iterations])
    words = ["--model", str(tmp_path / "model.safetensors"), "--output", str(tmp_path / "new.onnx"), *words]
    assert main(["export", *words]) == 2
    written = capsys.readouterr()
    assert f"{expected} refinement" in written.out and expected.split()[-1] in written.err


PYRAMID = """
import torch
from torch.export import Dim, export
from flowgru.model.correlation.all_pairs import AllPairsCorrelation

class LookUp(torch.nn.Module):
    def forward(self, first, second, centres):
        return AllPairsCorrelation(first, second, 4, 2).lookup(centres)

def given(height, width):
    return (*torch.randn(2, 1, 3, height, width), 20 * torch.rand(1, 2, height, width))

shape = {2: Dim("height", min=16, max=32), 3: Dim("width", min=16, max=32)}
with torch.no_grad():
    program = export(LookUp(), given(20, 24), dynamic_shapes=[shape] * 3)
    graphs = [part.graph for part in program.graph_module.modules() if isinstance(part, torch.fx.GraphModule)]
    assert not [node for graph in graphs for node in graph.nodes if "pool" in str(node.target)]
    for size in ((17, 19), (26, 22), (32, 16)):
        inputs = given(*size)
        torch.testing.assert_close(program.module()(*inputs), LookUp()(*inputs))
print("equal")
"""


def test_the_pyramid_is_traced_for_odd_sizes_and_for_even_ones():
    """PyTorch 2.11 traces a pooled map for the sizes alone that are even, or odd, wherever the traced one is."""
    run = run_alone(PYRAMID)
    assert run.returncode == 0 and run.stdout.split() == ["equal"], run.stderr[-2000:]
