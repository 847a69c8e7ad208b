"""`flowgru train`: from a configuration to a model file; the same command starts a run and goes on with it."""

import time

from flowgru.config import TrainConfig
from flowgru.config.require import MAX_PROCESSES, require, require_device, require_minutes


def train(
    config: TrainConfig,
    output: str,
    resume: str = "auto",
    device: str = "auto",
    devices: int = 1,
    compile: bool = False,
    cuda_graph: bool = True,
    minutes: float | None = None,
) -> None:
    """Trains a network; called again with the same configuration it goes on where it stopped.

    output: Folder that receives checkpoints, log.jsonl and best.safetensors while it runs, and model.safetensors at the end;
        one that holds a run of another configuration is refused.
    resume: auto goes on from the newest whole checkpoint in the folder, or begins; never begins, and refuses a folder
        with checkpoints; anything else is the folder of one checkpoint, such as runs/a/step-00001000, of a run
        of the same configuration, to go on from; of one in the output folder, its name is enough. --steps may be more.
    device: auto (CUDA where there is one), cpu, cuda, cuda:1.
    devices: GPUs, or processes on a CPU, that share each batch; under torchrun, torchrun's processes do.
    compile: Let torch.compile make the network's parts faster; the first steps then take minutes.
    cuda_graph: On a CUDA device, record once for each kind of step how the gradient of a batch is computed, and then start
        that as a whole; --no-cuda-graph starts each kernel by itself, and so do --compile and several processes.
    minutes: Instead of --steps: a new run first measures its speed, for a tenth of the time or a little more, and then
        makes as many steps as let it end, validated and saved, within so many minutes. Their number is noted in the
        folder, and a run that was stopped goes on to the same step, however long that takes; one that was stopped while
        it measured begins anew.
    """
    began = time.monotonic()
    if minutes is not None:
        require_minutes("--minutes", minutes)
    require_device(device)
    require(0 < devices <= MAX_PROCESSES, "--devices", devices, f"from 1 to {MAX_PROCESSES}")
    from flowgru.training.run import train as run  # imports torch, which --help does without

    run(
        config,
        output,
        resume=resume,
        device=device,
        devices=devices,
        compile=compile,
        cuda_graph=cuda_graph,
        minutes=minutes,
        began=began,
    )
