"""The processes that share one training run, by Lightning Fabric, which no other file imports."""

import logging
import os
import sys
from typing import Any, Literal

import torch

from flowgru.config.choices import Precision
from flowgru.config.require import require_precision
from flowgru.errors import MachineError, RequestError, counted

# Fabric looks at torchmetrics' release by importing it, which loads SciPy, matplotlib and torchvision: half of the time
# that a training takes to start. Hidden, it counts as not installed, and Fabric needs it for nothing that flowgru uses. The
# package `lightning` installs both, and its own module `lightning` could not be imported so.
_metrics = sys.modules.setdefault("torchmetrics", None)  # pyright: ignore[reportArgumentType]
try:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision
finally:
    if _metrics is None:
        del sys.modules["torchmetrics"]

FABRIC_PRECISION: dict[Precision, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "32": "32-true",
    "bf16": "bf16-mixed",
    "16": "16-mixed",
}
"""Fabric's names of the precisions."""


class ExactInputs(MixedPrecision):
    """Mixed precision whose network gets pictures and flows as they are.

    Lightning rounds them to 16 bits first: levels of a picture by up to half a level, and a flow of 60 px by 0.25 px.
    """

    def convert_input(self, data: Any) -> Any:
        return data


def connect(device: torch.device, devices: int, precision: Precision) -> Fabric:
    """The processes of a run: `devices` of them on this machine, or those that torchrun has started.

    They are started by `launch`, each with the command line of this one: a script has one such run, before any other.
    RequestError for less than one, for a second such run in one process, for one GPU's number where there are several
    processes, and for a precision that the device does not have; MachineError for more processes than GPUs.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # how processes meet says nothing to a user
    if devices < 1:
        raise RequestError(f"--devices is {devices}: it must be 1 or more")
    require_precision(precision, device.type)
    nodes = 1
    if torch.distributed.is_torchelastic_launched():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    elif devices > 1 and torch.distributed.is_initialized():
        raise RequestError(
            f"--devices is {devices}, and this Python process has had a run of several processes already: start the next "
            "one in a process of its own, as the command flowgru train does"
        )
    alone = devices * nodes == 1
    if device.index is not None and not alone:
        raise RequestError(
            f"--device is {device} for {devices * nodes} processes: name {device.type}, and choose GPUs by "
            "CUDA_VISIBLE_DEVICES"
        )
    if device.type == "cuda" and devices > (there := torch.cuda.device_count()):
        raise MachineError(
            f"--devices is {devices} and there is {counted(there, 'GPU')}: a process needs one of its own"
        )
    chosen = [device.index] if alone and device.type == "cuda" and device.index is not None else devices
    strategy = "auto" if alone else "ddp"
    named = FABRIC_PRECISION[precision]
    return Fabric(
        accelerator=device.type,
        devices=chosen,
        num_nodes=nodes,
        strategy=strategy,
        precision=named if named == "32-true" else None,
        plugins=None if named == "32-true" else [ExactInputs(named, device.type)],
    )
