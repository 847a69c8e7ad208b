"""The traced network as a file, with its card inside: ONNX, OpenVINO's IR, or PyTorch's own archive."""

import json
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from torch.export import ExportedProgram

CARD = "flowgru_card"
"""The card's key among a file's metadata."""

INPUT_NAMES = ("first", "second", "initial_flow")
"""In their order; a network that was exported without a warm start has no third."""

OPSET = 18
"""The version of ONNX that PyTorch's converter is written for; a step to a later one leaves out what is inside a loop."""

Card = dict[str, Any]


class Format(NamedTuple):
    """How a kind of file is written."""

    write: Callable[["ExportedProgram", Sequence[str], Path, Card], None]
    """From the graph, the names of its outputs and the card."""
    suffixes: tuple[str, ...]
    """Of the files it is made of; the first is the one that is named."""
    packages: tuple[str, ...]
    """What must be installed to write it and to run it."""


def write_onnx(program: "ExportedProgram", output_names: Sequence[str], path: Path, card: Card) -> None:
    """One .onnx file, weights and card (metadata_props) included."""
    input_names = INPUT_NAMES[: len(program.graph_signature.user_inputs)]
    with warnings.catch_warnings(action="ignore"):  # of the converter's own old habits
        converted = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=input_names,
            output_names=output_names,
            opset_version=OPSET,
        )
    assert converted is not None
    converted.model.metadata_props[CARD] = json.dumps(card)
    for value in (*converted.model.graph.inputs, *converted.model.graph.outputs):
        assert value.shape is not None
        share = "/8" if value.name in ("initial_flow", "coarse_flow") else ""
        value.shape = type(value.shape)([*value.shape[:-2], f"height{share}", f"width{share}"])
    converted.save(path, external_data=False)


def write_openvino(program: "ExportedProgram", output_names: Sequence[str], path: Path, card: Card) -> None:
    """path (.xml) and, beside it, the weights (.bin); the card is in the model's runtime information."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        middle = Path(folder) / "model.onnx"
        write_onnx(program, output_names, middle, card)
        model = openvino.Core().read_model(middle)
        model.set_rt_info(json.dumps(card), [CARD])
        openvino.save_model(model, path, compress_to_fp16=False)


def write_torch_export(program: "ExportedProgram", output_names: Sequence[str], path: Path, card: Card) -> None:
    """What torch.export.load reads; its outputs come in the order of output_names, which the card holds too."""
    torch.export.save(program, path, extra_files={CARD: json.dumps({**card, "outputs": list(output_names)})})


FORMATS = {
    "onnx": Format(write_onnx, (".onnx",), ("onnx", "onnxscript", "onnxruntime")),
    "openvino": Format(write_openvino, (".xml", ".bin"), ("onnx", "onnxscript", "openvino")),
    "torch-export": Format(write_torch_export, (".pt2",), ()),
}


def require_packages(name: str) -> None:
    """ModuleNotFoundError, before any work, for what a format needs and is not installed."""
    for package in FORMATS[name].packages:
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
