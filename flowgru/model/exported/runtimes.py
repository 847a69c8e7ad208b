"""Exported files, opened in the runtime that they are for; all take and give named arrays."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from flowgru.config.renamed import with_names_of_today
from flowgru.errors import RequestError, lacks_memory, one_line
from flowgru.model.exported.formats import CARD, INPUT_NAMES

Arrays = dict[str, np.ndarray]


class Opened(NamedTuple):
    """A file that is ready to run."""

    runtime: str
    """Which program runs it, with its version."""
    card: str | None
    """The text of the card; None for a file that this project has not written."""
    input_names: list[str]
    run: Callable[[Arrays], Arrays]
    """From named inputs to named outputs."""


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


def open_torch_export(path: Path) -> Opened:
    """Only for a file of our own making: PyTorch unpickles what it finds in one."""
    texts = {CARD: ""}
    # Unchecked: torch 2.11 guards that a level of the pyramid is even or odd, which the graph does not depend on.
    network = torch.export.load(path, extra_files=texts).module(check_guards=False)
    outputs = json.loads(texts[CARD])["outputs"]

    def run(inputs: Arrays) -> Arrays:
        with torch.no_grad():
            found = network(*(torch.from_numpy(inputs[name]) for name in INPUT_NAMES if name in inputs))
        return {name: values.numpy() for name, values in zip(outputs, found, strict=True)}

    names = [*INPUT_NAMES[: 3 if json.loads(texts[CARD])["export"]["warm_start"] else 2]]
    return Opened(f"PyTorch {torch.__version__}", texts[CARD], names, run)


OPENERS = {".onnx": open_onnx, ".xml": open_openvino, ".pt2": open_torch_export}


def open_file(path: Path) -> tuple[Opened, dict[str, Any]]:
    """The file in its runtime, and its card.

    RequestError where there is no such file, where it is damaged, or where `flowgru export` did not make it.
    """
    if not path.is_file():
        raise RequestError(f"there is no model file {path}: make one with flowgru export --output {path}")
    try:
        opened = OPENERS[path.suffix](path)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # each runtime has kinds of its own for what is damaged
        if lacks_memory(error):
            raise
        raise RequestError(f"{path} is not a readable {path.suffix} model ({one_line(error)})") from None
    try:
        card = json.loads(opened.card or "")
        export = card["export"]
        counts = export["max_size"], card["iterations"], card.get("hold", 0)
        sound = all(isinstance(count, int) for count in counts) and card["network"]
    except (ValueError, KeyError, TypeError, RecursionError):
        sound, card = False, {}
    if not sound:
        raise RequestError(f"{path} is not a model of flowgru's: its card is missing; make one with flowgru export")
    return opened, with_names_of_today(card)
