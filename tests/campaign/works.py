"""Pieces of work that are interrupted: each has a command, and says whether what it leaves is whole and the right one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from comparisons import RECIPE
from media import noisy_frames
from safetensors.torch import load_file
from tiny_run import TINY, write_config

from flowgru.comparison.measurements import read_measurements
from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.images import read_image, write_image
from flowgru.errors import FlowgruError
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import write_model_file
from tests.campaign.commands import Ended, Failed, run

TIMED = ("ms_per_pair", "ms_per_step", "ms_per_training_step", "peak_mib")
"""Measures of a comparison that no run repeats to the bit."""


class Work(NamedTuple):
    """A command that may be stopped at any moment and goes on, or begins anew, when it is given again."""

    name: str
    words: Callable[[Path], list[str]]
    """From the output folder to the command."""
    begun: Callable[[Path], Path]
    """What is there once the work has begun."""
    result: Callable[[Path], object]
    """What must be the same to the bit, however often the work was interrupted."""


def make_inputs(folder: Path) -> None:
    """Frames, a small model and the recipes, on which the works work."""
    torch.manual_seed(0)
    network = FlowNetwork(TINY.network)
    card = {"network": {"preset": "compact", "operator": "conv_gru"}, "iterations": 2}
    write_model_file(folder / "model.safetensors", network.state_dict(), card)
    (folder / "frames").mkdir()
    for number, frame in enumerate(noisy_frames(12, 96, 128)):
        write_image(folder / "frames" / f"{number:03}.png", frame)
    write_config(folder / "train.yaml", workers=1)
    (folder / "compare.yaml").write_text(RECIPE)


def works(inputs: Path) -> dict[str, Work]:
    """Each work by its name."""
    model = str(inputs / "model.safetensors")

    def estimate(suffix: str, *more: str) -> Callable[[Path], list[str]]:
        words = ["estimate", str(inputs / "frames"), "--model", model, "--device", "cpu", "--format", suffix, *more]
        return lambda folder: [*words, "--output", str(folder)]

    def train(folder: Path) -> list[str]:
        return ["train", "--config", str(inputs / "train.yaml"), "--output", str(folder), "--device", "cpu"]

    def compare(folder: Path) -> list[str]:
        return ["compare", "--config", str(inputs / "compare.yaml"), "--output", str(folder), "--device", "cpu"]

    def export(folder: Path) -> list[str]:
        return ["export", "--model", model, "--max-size", "256", "--output", str(folder / "flow.onnx")]

    flows = Work("estimate", estimate("flo", "--backward"), lambda folder: folder / "000.flo", _flows)
    hdf5 = Work("estimate flo5", estimate("flo5"), lambda folder: folder / "000.flo5", _flows)
    video = Work("estimate video", estimate("npz", "--video"), lambda folder: folder / "000.npz", _flows)
    return {
        work.name: work
        for work in (
            flows,
            hdf5,
            video,
            Work("train", train, lambda folder: folder / "run.lock", _model),
            Work("compare", compare, lambda folder: folder / "run.lock", _comparison),
            Work(
                "export", export, lambda folder: folder, lambda folder: (folder / "flow.onnx").stat().st_size > 10_000
            ),
        )
    }


def finished(work: Work, folder: Path, usual: float) -> Ended:
    """Gives the command again until it is done: it goes on, or asks for --overwrite and begins anew."""
    ended = run(work.words(folder), usual=usual).require({0, 2})
    if ended.code == 2:
        if "--overwrite" not in ended.err:
            raise Failed(f"{work.name} does not go on: {ended.err}")
        ended = run([*work.words(folder), "--overwrite"], usual=usual).require({0})
    return ended


def require_whole(folder: Path) -> None:
    """Failed where a file that can be seen is not whole."""
    readers = {
        **dict.fromkeys((".flo", ".flo5", ".npz", ".pfm"), read_flow),
        ".png": read_image,
        ".json": lambda path: json.loads(path.read_text("utf-8")),
        ".csv": read_measurements,
        ".safetensors": load_file,
        ".mp4": _require_index,
        ".html": lambda path: _require(path.read_text("utf-8").endswith("</html>\n"), path),
    }
    for path in folder.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or path.suffix not in readers:
            continue
        try:
            readers[path.suffix](path)
        except (FlowgruError, ValueError, OSError) as error:
            raise Failed(f"a half-written file: {path}: {error}") from error


def require_no_leftovers(folder: Path) -> None:
    """Failed where a command that has ended by itself has left a temporary file."""
    if left := [path for path in folder.rglob(".flowgru-*")]:
        raise Failed(f"a temporary file is left: {left[0]}")


def _require(holds: bool, path: Path) -> None:
    if not holds:
        raise ValueError(f"{path} is cut")


def _require_index(path: Path) -> None:
    data = path.read_bytes()
    _require(data[4:8] == b"ftyp" and b"moov" in data and b"mdat" in data, path)


def _flows(folder: Path) -> dict[str, bytes]:
    return {path.name: np.asarray(read_flow(path).flow).tobytes() for path in folder.iterdir() if _is_flow(path)}


def _is_flow(path: Path) -> bool:
    return path.suffix in (".flo", ".flo5", ".npz") and not path.name.startswith(".")


def _model(folder: Path) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in load_file(folder / "model.safetensors").items()}


def _comparison(folder: Path) -> object:
    measured = sorted(str(one) for one in read_measurements(folder / "measurements.csv") if one.measure not in TIMED)
    models = sorted(folder.glob("runs/**/model.safetensors"))
    return measured, [_model(path.parent) for path in models]
