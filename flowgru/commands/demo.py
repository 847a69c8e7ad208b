"""`flowgru demo`: the flow of the bundled sample clip, against its exact flow."""

from pathlib import Path

from flowgru.errors import RequestError

SAMPLE = Path(__file__).parents[2] / "datasets" / "sample"
"""Frames and exact flow of a short generated clip; part of a checkout, not of an installed package."""


def demo(output: str = "flow_out", model: str = "default", device: str = "auto") -> int:
    """Shows the flow of a sample clip that comes with the project, and how far it is from the exact flow.

    output: Folder that receives the flows, a video and a picture; a former demo there is replaced.
    model: default, raft_large, raft_small, or a file of weights.
    device: auto (CUDA where there is one), cpu, cuda, cuda:1.
    """
    frames, exact = sorted(SAMPLE.glob("frame_*.png")), sorted(SAMPLE.glob("frame_*.flo"))
    if len(frames) < 2 or not exact:
        raise RequestError(
            f"the sample clip is not in {SAMPLE}: it comes with a checkout of the project, not with the installed "
            "package; try a clip of your own: flowgru estimate clip.mp4 --output flow_out --video"
        )
    import numpy as np

    from flowgru.commands.estimate import estimate
    from flowgru.commands.view import view
    from flowgru.config.estimation import EstimateSettings
    from flowgru.console import say
    from flowgru.data.formats.flow_files import read_flow

    folder = Path(output)
    code = estimate(
        [str(SAMPLE)], EstimateSettings(output=output, model=model, device=device, video=True, overwrite=True)
    )
    if code:
        return code
    errors = []
    for path in exact:
        truth, found = read_flow(path), read_flow(folder / path.name)
        errors.append(np.linalg.norm(found.flow - truth.flow, axis=2)[truth.valid].mean())
    first = exact[0]
    view([str(folder / first.name)], output=output, overwrite=True)
    say(f"EPE per image against the exact flow: {np.mean(errors):.3f} px, mean of {len(errors)} pairs")
    say(f"frames beside their flow: {folder / 'flow.mp4'}")
    say(f"first flow as a picture:  {folder / first.with_suffix('.png').name}")
    return 0
