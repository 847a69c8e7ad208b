"""`flowgru demo`: the flow of the bundled sample clip, against its exact flow."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from flowgru.config.require import require_device
from flowgru.errors import RequestError

SAMPLE = Path(__file__).parents[2] / "datasets" / "sample"
"""frames/ and their exact flow/, of a short generated clip; part of a checkout, not of an installed package."""


def demo(output: str = "flow_out", model: str = "default", device: str = "auto", overwrite: bool = False) -> int:
    """Shows the flow of a sample clip that comes with the project, beside its exact flow and the flow of OpenCV's DIS.

    output: Folder that receives the flows, a video and a picture; a former demo there is replaced.
    model: default, raft_large, raft_small, or a file of weights.
    device: auto (CUDA where there is one), cpu, cuda, cuda:1.
    overwrite: Replace what another command wrote there, too.
    """
    require_device(device)
    frames, exact = sorted((SAMPLE / "frames").glob("*.png")), sorted((SAMPLE / "flow").glob("*.png"))
    if len(frames) < 2 or not exact:
        raise RequestError(
            f"the sample clip is not in {SAMPLE}: it comes with a checkout of the project, not with the installed "
            "package; try a clip of your own: flowgru estimate clip.mp4 --output flow_out --video"
        )
    from flowgru.commands.estimate import estimate
    from flowgru.config.estimation import EstimateSettings
    from flowgru.console import say
    from flowgru.data.classical import dis_flow
    from flowgru.data.formats.flow_files import read_flow
    from flowgru.data.formats.images import read_image, write_image
    from flowgru.estimation.journal import Journal
    from flowgru.estimation.reads import fingerprint
    from flowgru.view.colour_wheel import suggest_max_flow
    from flowgru.view.panels import flow_sheet

    folder, clip = Path(output), SAMPLE / "frames"
    picture = folder / "demo.png"
    request = Journal(folder).earlier.request or {}
    # By name alone, frames of the user's own in a folder of that name would be taken for the sample's.
    is_demo = picture.exists() and request.get("files") == {clip.name: fingerprint(frames)}
    replaces = overwrite or is_demo
    if picture.exists() and not replaces:
        raise RequestError(
            f"{picture} exists, and was not made by a demo of these frames: give --overwrite or another --output"
        )
    settings = EstimateSettings(output=output, model=model, device=device, video=True, overwrite=replaces)
    code = estimate([str(clip)], settings)
    if code:
        return code
    pictures = [read_image(path) for path in frames]
    truths = [read_flow(path) for path in exact]
    estimates = {
        "this model": [read_flow(folder / f"{path.stem}.flo").flow for path in exact],
        "DIS": [dis_flow(first, second) for first, second in pairwise(pictures)],
    }
    for name, flows in estimates.items():
        error = _mean_error(flows, truths)
        say(f"EPE of {name} against the exact flow: {error:.3f} px, mean of {len(flows)} pairs")
    truth = truths[0].flow
    sheet = flow_sheet(
        pictures[0], [truth, *(flows[0] for flows in estimates.values())], max_flow=suggest_max_flow([truth])
    )
    write_image(picture, sheet, overwrite=replaces)
    say(f"frames beside their flow: {folder / 'flow.mp4'}")
    say(f"first frame, exact flow, and below them the flows of this model and of DIS: {picture}")
    return 0


def _mean_error(flows: Sequence[Any], truths: Sequence[Any]) -> float:
    """The mean of the pairs' mean end-point errors, in pixels; flows are arrays [H, W, 2], truths what flow files say."""
    import numpy as np

    errors = [
        np.linalg.norm(flow - truth.flow, axis=2)[truth.valid].mean() for flow, truth in zip(flows, truths, strict=True)
    ]
    return float(np.mean(errors))
