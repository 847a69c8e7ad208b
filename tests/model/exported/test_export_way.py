"""An exported file holds inside its graph, takes where its refinement begins, and `estimate` goes the whole way with it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from estimates import only_error
from tables import csv_rows

from flowgru.cli import main
from flowgru.config import NetworkConfig, SyntheticSettings
from flowgru.data.formats.flow_files import read_flow, write_flow
from flowgru.data.formats.images import to_levels, write_image
from flowgru.data.synthetic.clip import render_clip
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import RequestError
from flowgru.model.exported.flow import ExportedFlow
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import write_model_file

pytest.importorskip("onnxruntime", reason="needs the extra export")
pytestmark = pytest.mark.slow  # two whole exports

WAY = {"iterations": 2, "initial_flow": "dis", "hold": 2, "polish": True}
HEIGHT, WIDTH = 130, 150


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A network of random weights whose card says a whole way."""
    torch.manual_seed(0)
    network = FlowNetwork(NetworkConfig("small", "conv_gru")).eval()
    with torch.no_grad():
        change = network(torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128), iterations=1).coarse
        network.flow_head[-1].weight *= 2 / (8 * change.abs().max())
    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    write_model_file(path, network.state_dict(), {"network": {"preset": "small", "operator": "conv_gru"}, **WAY})
    return str(path)


def exported(model: str, output: Path, *words: str) -> Path:
    """In a process of its own: PyTorch's tracer cannot read the tests' type checks."""
    command = [sys.executable, "-m", "flowgru", "export", "--model", model, "--output", str(output)]
    run = subprocess.run([*command, "--max-size", "256", *words], capture_output=True, text=True, timeout=800)
    assert run.returncode == 0, run.stderr[-3000:]
    return output


@pytest.fixture(scope="module")
def file(model, tmp_path_factory) -> Path:
    """As the plain command exports it."""
    return exported(model, tmp_path_factory.mktemp("exported") / "flow.onnx")


@pytest.fixture(scope="module")
def from_zero(model, tmp_path_factory) -> Path:
    """Without the input for where the refinement begins."""
    return exported(model, tmp_path_factory.mktemp("exported") / "zero.onnx", "--no-warm-start", "--hold", "1")


@pytest.fixture
def clip(tmp_path) -> Path:
    frames = render_clip(SyntheticSettings(height=HEIGHT, width=WIDTH, num_textures=4, seed=1), 0, 3).frames
    for number, frame in enumerate(frames):
        write_image(tmp_path / f"clip/{number}.png", to_levels(frame))
    return tmp_path / "clip"


def flows(source: object, clip: Path, out: Path, *words: str) -> list[np.ndarray]:
    assert main(["estimate", str(clip), "--model", str(source), "--output", str(out), "--device", "cpu", *words]) == 0
    return [read_flow(path).flow for path in sorted(out.glob("*.flo"))]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("words", [(), ("--warm-start", "--backward"), ("--initial-flow", "zero")])
def test_a_file_goes_the_way_of_its_weights(file, model, clip, tmp_path, words):
    for polish in ("--no-polish", "--polish"):
        found, expected = (
            flows(source, clip, tmp_path / polish / name, *words, polish)
            for name, source in (("f", file), ("w", model))
        )
        assert len(found) == len(expected) >= 2
        for one, other in zip(found, expected, strict=True):
            differ = np.abs(one - other)
            if polish == "--no-polish":
                assert differ.max() < 1e-4 < 1 < np.abs(other).max()
            # A rounding error may turn the gate's choice for a pixel, and the variational refinement magnifies it where the
            # frames say little.
            assert np.quantile(differ, 0.95) < 1e-3


@pytest.mark.timeout(900)
def test_the_card_says_the_way_and_the_input_is_there(file, from_zero):
    opened = ExportedFlow(file)
    assert {name: opened.card[name] for name in WAY} == WAY and opened.warm_start and opened.hold == 2
    opened = ExportedFlow(from_zero)
    assert {name: opened.card[name] for name in WAY} == {**WAY, "initial_flow": "zero", "hold": 1}
    assert not opened.warm_start


@pytest.mark.timeout(900)
def test_a_file_without_the_input_begins_at_zero(from_zero, model, clip, tmp_path):
    words = ("--initial-flow", "zero", "--hold", "1", "--no-polish")
    found = flows(from_zero, clip, tmp_path / "f", "--no-polish"), flows(model, clip, tmp_path / "w", *words)
    for one, other in zip(*found, strict=True):
        assert np.abs(one - other).max() < 1e-4


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--initial-flow", "dis"),
            "--initial-flow dis cannot be kept by zero.onnx: it was exported without the input",
        ),
        (("--hold", "3"), "--hold 3 cannot be kept by zero.onnx: it always does 1"),
        (("--warm-start",), "--warm-start cannot be kept by zero.onnx"),
    ],
)
def test_what_a_file_lacks_is_one_line(from_zero, clip, tmp_path, capsys, words, said):
    assert main(["estimate", str(clip), "--model", str(from_zero), "--output", str(tmp_path / "o"), *words]) == 2
    assert said in only_error(capsys) and not (tmp_path / "o").exists()


@pytest.mark.timeout(900)
def test_trust_measures_a_file_as_its_weights(from_zero, model, tmp_path):
    pair = SyntheticPairs(SyntheticSettings(height=HEIGHT, width=WIDTH, num_textures=4, seed=1))[0]
    for name, picture in (("first", pair.first), ("second", pair.second)):
        write_image(tmp_path / f"{name}.png", to_levels(picture))
    write_flow(tmp_path / "flow.flo", np.ascontiguousarray(pair.flow.permute(1, 2, 0).numpy()))
    (tmp_path / "pairs.csv").write_text("first,second,flow\nfirst.png,second.png,flow.flo\n")
    tables = []
    for source, words in ((from_zero, ()), (model, ("--initial-flow", "zero", "--hold", "1"))):
        out = tmp_path / f"out{len(tables)}"
        command = ["evaluate", str(tmp_path / "pairs.csv"), "--model", str(source), "--trust", "--output", str(out)]
        assert main([*command, "--static", "0", "--device", "cpu", *words]) == 0
        rows = csv_rows(out / "trust.csv")
        tables.append({row["sign"]: [float(row[name] or "nan") for name in ("ause", "epe")] for row in rows})
    file, weights = tables
    assert np.isnan(file.pop("last update")).all() and np.isfinite(weights.pop("last update")).all()
    assert np.isnan(file.pop("confidence")).all() and np.isnan(weights.pop("confidence")).all()
    for name, values in file.items():
        assert values == pytest.approx(weights[name], abs=0.01)


@pytest.mark.timeout(900)
def test_a_start_of_another_size_is_refused(file):
    opened = ExportedFlow(file)
    frame = opened.encode(torch.rand(1, 3, 128, 136))
    with pytest.raises(RequestError, match=r"initial_coarse is \[1, 2, 4, 4\]: expected \[1, 2, 16, 17\]"):
        opened.match(frame, frame, iterations=2, hold=2, initial_coarse=torch.zeros(1, 2, 4, 4))
    with pytest.raises(RequestError, match=r"hold is 0 and flow.onnx always does 2"):
        opened.match(frame, frame, iterations=2)


def test_a_negative_hold_is_one_line(tmp_path, capsys):
    assert main(["export", "--output", str(tmp_path / "flow.onnx"), "--hold", "-1"]) == 2
    assert "--hold is -1: it must be 0 or more" in only_error(capsys)
