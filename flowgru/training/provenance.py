"""Where a trained model comes from, and which terms it inherits from there, for its card."""

import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flowgru.config import TrainConfig
from flowgru.config.way import resolve_way
from flowgru.data.sets.layouts import licence_of
from flowgru.model.weight_files.card import OWN_LICENCE
from flowgru.training.feeding.pairs import FROM_DIS, SYNTHETIC
from flowgru.training.run_state import Run


def trained_on(config: TrainConfig) -> list[str]:
    """The names of the data sets that a run is trained on."""
    return [part.name for part in config.parts] or [SYNTHETIC]


def licence(config: TrainConfig, origin: dict[str, Any]) -> str:
    """The terms of a run's weights: this project's own, unless its data or the weights it began with restrict them."""
    terms = origin["license"].split("; ") if origin else []
    for name in trained_on(config):
        if name != SYNTHETIC:
            terms.append(licence_of(name))
            continue
        folders = {source.strip() for source in (config.data.photos or "skimage").split(",")} - {"skimage"}
        terms += [f"{folder}: as the owner of its pictures allows" for folder in sorted(folders)]
    inherited = [term for term in dict.fromkeys(terms) if term != OWN_LICENCE]
    return "; ".join(inherited) or OWN_LICENCE


def card_of(config: TrainConfig, run: Run, folder: Path, how: Sequence[str]) -> dict[str, Any]:
    """What the model file of a run in `folder` says of itself; `how` are the other words of its command.

    A network that was measured from the flow of DIS is to be used so, and polished, and with two scales where it was trained
    for them; where the model that it began with is used so too, with as many refinements, and as many held ones if it was
    trained with these. held_out_epe_per_image is of the network's own flow at one scale, before that.
    """
    first = next(iter(run.validation.values()))
    started = [errors for name, errors in run.validation.items() if name.endswith(FROM_DIS)]
    errors = started[0] if started else first
    way: dict[str, Any] = {"iterations": min(errors, key=errors.__getitem__)}
    if started:
        parts = {"initial_flow": "dis", "polish": True, "scales": 2 if config.coarse_first else 1}
        before = run.origin.get("way", {})
        began_so = resolve_way(before) == resolve_way(before | parts) and before.get("hold", 0) <= config.hold
        way = asdict(resolve_way(before)) if began_so else way | parts | {"hold": config.hold}
    return {
        "network": asdict(config.network),
        **{name: value for name, value in way.items() if value is not None},
        "held_out_epe_per_image": {
            # Not rounded: best.safetensors is replaced by what is better than this, after an interruption, too.
            name: {str(count): error for count, error in errors.items()}
            for name, errors in run.validation.items()
        },
        "data": ", ".join(trained_on(config)),
        "init_from": run.origin or None,
        "config": asdict(config),
        "steps": run.step,
        "seed": config.seed,
        "hours": round(run.seconds / 3600, 3),
        "command": shlex.join(
            ["flowgru", "train", "--config", f"{folder / 'config.yaml'}", "--output", f"{folder}", *how]
        ),
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
        "license": licence(config, run.origin),
    }


def commit() -> str:
    """The commit of the code that runs; 'unknown' outside a checkout."""

    def said(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # Where git does not know this file, the package lies in a checkout of something else.
        said("ls-files", "--error-unmatch", Path(__file__).name)
        return said("describe", "--always", "--dirty")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
