"""What the scripts of this folder have in common: their options, and that none prints a time of something that is wrong."""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowgru.benchmarking.timing import CLOCKS
from flowgru.comparison.record import ComparisonRecord
from flowgru.config.renamed import NamesOfToday
from flowgru.data.classical import use_threads
from flowgru.data.sets.opening import open_dataset
from flowgru.errors import FlowgruError
from flowgru.evaluation.evaluate import Samples
from flowgru.processes.devices import device_text

HELD_OUT_SEED = 2_000_003
"""Of generated pairs that neither a training nor its validation uses; photographs may be those of a training."""


def arguments(
    text: str | None, *, rounds: int | None = None, device: bool = True, clock: bool = True
) -> argparse.ArgumentParser:
    """A parser with the options that every script has, and with `rounds` those of scripts that take times in turns.

    device: whether the script can use another device than the CPU; clock: whether it can take times by the processor's.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    if device:
        parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU, for everything alike")
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help="in which everything takes its turn")
        if clock:
            parser.add_argument(
                "--clock", choices=CLOCKS, default="wall", help="processor: where other work runs on the machine"
            )
    parser.add_argument("--json", type=Path, help="file to which each row is appended as a line of JSON")
    return parser


def add_root(parser: argparse.ArgumentParser) -> None:
    """The option of the scripts that read real pairs."""
    parser.add_argument("--root", default="datasets", help="the folder that holds the data sets' own folders")


def add_sets(parser: argparse.ArgumentParser) -> None:
    """The options of the scripts that measure on the sets of real pairs."""
    parser.add_argument("--sets", nargs="+", default=["middlebury", "sintel", "kitti2012", "chairs"])
    add_root(parser)


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What the command line says; an old name of an option is read, with one line of note."""
    with warnings.catch_warnings(record=True) as noted, NamesOfToday(parser.prog) as names:
        words = names.words(sys.argv[1:], known=("root",))
    for note in noted:
        print(f"note: {note.message}", file=sys.stderr)
    return parser.parse_args(words)


def begin(given: argparse.Namespace) -> torch.device:
    """Sets the threads of PyTorch and of OpenCV, and the seed; the device of a script that has no --device is the CPU."""
    torch.set_num_threads(given.threads)
    use_threads(given.threads)
    torch.manual_seed(0)
    return torch.device(getattr(given, "device", "cpu"))


def circumstances(device: torch.device, **more: object) -> dict[str, str]:
    """What a number that is no time depends on; `more` is what the script chose, by its name."""
    said = {key.replace("_", " "): str(value) for key, value in more.items()}
    return {**said, "device": device_text(device), "threads": str(torch.get_num_threads()), "torch": torch.__version__}


def alone(iterations: int) -> dict[str, Any]:
    """The options of estimate_flow for the network alone: so many refinements from zero, without polish."""
    return {"iterations": iterations, "initial_flow": "zero", "hold": 0, "polish": False}


def opened(names: Iterable[str], root: str) -> Iterator[tuple[str, Samples]]:
    """The data sets of these names that can be read; of each other one it is said why it is not measured."""
    for name in names:
        try:
            yield name, open_dataset(name, root)
        except FlowgruError as error:
            print(f"{name}: not measured, {error}", file=sys.stderr)


def size_of(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH as numbers."""
    height, width = map(int, text.split("x"))
    return height, width


def looks_of(record: ComparisonRecord) -> dict[str, Any]:
    """How the pairs of a comparison look: the settings of SyntheticSettings by name."""
    given = record.config["training"]["data"]
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def furthest(found: Tensor, expected: Tensor) -> float:
    """The largest difference anywhere; infinite where one is not finite."""
    difference = (found.cpu().float() - expected.cpu().float()).abs().max().item()
    return difference if difference < float("inf") else float("inf")


def furthest_without_cudnn(
    theirs: Callable[[Tensor, int], list[Tensor]], ours: Callable[[Tensor, int], list[Tensor]], pair: Tensor, count: int
) -> float:
    """The largest difference of two flows of a pair after `count` refinements, where cuDNN computes neither of them."""
    with torch.backends.cudnn.flags(enabled=False, allow_tf32=False):
        (expected,), (found,) = (flows(pair, count) for flows in (theirs, ours))
    return furthest(found, expected)


def bootstrap_interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean over clips: percentiles of 10,000 resamples, the same ones each time."""
    from scipy import stats  # takes a second, and few scripts need it

    found = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(0))
    return found.confidence_interval.low, found.confidence_interval.high


def refuse(problems: list[str]) -> None:
    """Ends the script with exit code 1 where something was wrong."""
    if problems:
        sys.exit("\n".join(["not timed, because it is wrong:", *problems]))
