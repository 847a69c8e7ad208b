"""The kinds of files that `flowgru export` writes, with the card inside, and how each is opened in its runtime again."""

import json
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from flowgru.errors import RequestError
from flowgru.files.json_text import parse_json

if TYPE_CHECKING:
    from torch.export import ExportedProgram

CARD = "flowgru_card"
"""The card's key among a file's metadata."""

INPUT_NAMES = ("first", "second", "initial_flow")
"""The inputs of a file in their order; a network that was exported without a warm start has no third."""

OPSET = 18
"""The version of ONNX that PyTorch's converter is written for; a step to a later one leaves out what is inside a loop."""

Card = dict[str, Any]


Arrays = dict[str, np.ndarray]
"""Named inputs or outputs of a file."""


class Opened(NamedTuple):
    """A file that is ready to run."""

    runtime: str
    """Which program runs it, with its version."""
    card: str | None
    """The text of the card; None for a file that this project has not written."""
    input_names: list[str]
    run: Callable[[Arrays], Arrays]
    """Computes named outputs from named inputs."""


class Format(NamedTuple):
    """A kind of file: how it is written and opened."""

    write: Callable[["ExportedProgram", Sequence[str], Path, Card], None]
    """Writes a file from the graph, the names of its outputs and the card."""
    open: Callable[[Path], Opened]
    """The file in its runtime."""
    suffixes: tuple[str, ...]
    """Endings of the files that it is made of; the first is the one that is named."""
    packages: tuple[str, ...]
    """What must be installed to write it and to run it."""
    runnable: bool
    """Whether `flowgru estimate` runs any such file; not where opening a file could run what is in it."""


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
        part = "/8" if value.name in ("initial_flow", "coarse_flow") else ""
        value.shape = type(value.shape)([*value.shape[:-2], f"height{part}", f"width{part}"])
    converted.save(path, external_data=False)


def open_onnx(path: Path) -> Opened:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]

    def run(inputs: Arrays) -> Arrays:
        found: Any = session.run(outputs, inputs)
        return dict(zip(outputs, found, strict=True))

    return Opened(
        f"ONNX Runtime {onnxruntime.__version__}",
        session.get_modelmeta().custom_metadata_map.get(CARD),
        [given.name for given in session.get_inputs()],
        run,
    )


def write_openvino(program: "ExportedProgram", output_names: Sequence[str], path: Path, card: Card) -> None:
    """path (.xml) and, beside it, the weights (.bin); the card is in the model's runtime information."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        middle = Path(folder) / "model.onnx"
        write_onnx(program, output_names, middle, card)
        model = openvino.Core().read_model(middle)
        model.set_rt_info(json.dumps(card), [CARD])
        openvino.save_model(model, path, compress_to_fp16=False)


def open_openvino(path: Path) -> Opened:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    # Without a hint, processors that can would compute in sixteen bits.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = core.compile_model(model, "CPU", settings)
    outputs = [output.any_name for output in compiled.outputs]

    def run(inputs: Arrays) -> Arrays:
        found = compiled(inputs)
        return {name: found[name] for name in outputs}

    card = model.get_rt_info([CARD]).astype(str) if model.has_rt_info([CARD]) else None
    version = openvino.__version__.split("-")[0]
    return Opened(f"OpenVINO {version}", card, [given.any_name for given in compiled.inputs], run)


def write_torch_export(program: "ExportedProgram", output_names: Sequence[str], path: Path, card: Card) -> None:
    """What torch.export.load reads; its outputs come in the order of output_names, which the card holds too."""
    with warnings.catch_warnings(action="ignore"):  # of weights that are views, for those who load them on a GPU
        torch.export.save(program, path, extra_files={CARD: json.dumps({**card, "outputs": list(output_names)})})


def open_torch_export(path: Path) -> Opened:
    """Only for a file of our own making: PyTorch unpickles what it finds in one."""
    texts = {CARD: ""}
    # Unchecked: torch 2.11 guards that a level of the pyramid is even or odd, which the graph does not depend on.
    network = torch.export.load(path, extra_files=texts).module(check_guards=False)
    outputs = parse_json(texts[CARD])["outputs"]

    def run(inputs: Arrays) -> Arrays:
        with torch.no_grad():
            found = network(*(torch.from_numpy(inputs[name]) for name in INPUT_NAMES if name in inputs))
        return {name: values.numpy() for name, values in zip(outputs, found, strict=True)}

    names = [*INPUT_NAMES[: 3 if parse_json(texts[CARD])["export"]["warm_start"] else 2]]
    return Opened(f"PyTorch {torch.__version__}", texts[CARD], names, run)


FORMATS = {
    "onnx": Format(write_onnx, open_onnx, (".onnx",), ("onnx", "onnxscript", "onnxruntime"), True),
    "openvino": Format(write_openvino, open_openvino, (".xml", ".bin"), ("onnx", "onnxscript", "openvino"), True),
    "torch-export": Format(write_torch_export, open_torch_export, (".pt2",), (), False),
}
"""The kinds of exported files by the names of flowgru.config.choices.ExportFormat."""


def format_of(path: Path) -> Format | None:
    """The kind of exported file that a path is named like, if any."""
    return next((format for format in FORMATS.values() if format.suffixes[0] == path.suffix), None)


def kept_beside(path: Path) -> list[Path]:
    """The file in which OpenVINO, or ONNX, keeps the weights of an exported file, if it is there."""
    beside = {".xml": path.with_suffix(".bin"), ".onnx": Path(f"{path}.data")}.get(path.suffix)
    return [beside] if beside is not None and beside.is_file() else []


def runnable_suffixes() -> list[str]:
    """Endings of the exported files that `flowgru estimate` runs."""
    return [format.suffixes[0] for format in FORMATS.values() if format.runnable]


def require_packages(name: str) -> None:
    """RequestError, before any work, for what a format needs and is not installed."""
    for package in FORMATS[name].packages:
        if find_spec(package) is None:
            raise missing_package(package)


def missing_package(package: str) -> RequestError:
    return RequestError(f"the package {package} is missing: pip install 'flowgru[export]'")
