"""Every operator, every preset and the default model can be exported, and give PyTorch's flow in every format."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from estimates import expected_flow
from exports import estimate, exported, small_network, write_model

from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.images import read_image, to_tensor, write_image
from flowgru.model.exported import formats
from flowgru.model.exported.flow import ExportedFlow
from flowgru.model.weight_files.loading import load_model
from flowgru.operators import operator_variants

pytest.importorskip("onnxruntime", reason="needs the extra export")

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
        frame = read_image(SAMPLE / "frames" / f"frame_000{number}.png")[:250, :250]
        write_image(tmp_path / "clip" / f"{number}.png", frame)
    alone = ("--initial-flow", "zero", "--no-polish")
    assert estimate(tmp_path / "flow.onnx", tmp_path / "clip", "--output", tmp_path / "out", "--video", *alone) == 0
    pair = [str(tmp_path / "clip" / f"{number}.png") for number in (1, 2)]
    flow = read_flow(tmp_path / "out" / "1.flo").flow
    assert np.abs(flow - expected_flow(load_model("default", "cpu"), *pair, iterations=12)).max() < 1e-3
    assert (tmp_path / "out" / "flow.mp4").stat().st_size > 0
