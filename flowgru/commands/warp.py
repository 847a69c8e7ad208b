"""`flowgru warp`: a picture moved by a flow."""

from pathlib import Path
from typing import TYPE_CHECKING

from flowgru.errors import RequestError, sides, size_text
from flowgru.files.own_folders import refuse_file

if TYPE_CHECKING:
    import numpy as np


def warp(
    inputs: list[str],
    output: str,
    forward: bool = False,
    occlusion: str | None = None,
    mask: str | None = None,
    overwrite: bool = False,
) -> None:
    """Moves a picture by a flow: flowgru warp IMAGE FLOW --output FILE.

    The second picture of a pair and the flow from the first to the second give what looks like the first. With --forward,
    the first picture and the same flow give what looks like the second, with holes. Pixels that are not known are black.

    inputs: The picture, in any format that flowgru reads, and then the flow file. Both have one size.
    output: File that receives the warped picture in 8 bits; its ending names the format: .png, .jpg, .ppm, .bmp or .tif.
    forward: Carry each pixel to the place that its flow leads to, instead of looking each pixel up there. Where several
        pixels arrive, they are averaged, whatever lies in front; give --occlusion to leave out those that are hidden.
    occlusion: A picture that is white where the first picture's pixel is hidden in the second, such as the one that
        estimate --backward writes. These pixels are left out.
    mask: Also write this picture: white where the result is known, black elsewhere.
    overwrite: Replace files that are already there.
    """
    if len(inputs) != 2:
        raise RequestError(f"got {len(inputs)} inputs, {' '.join(inputs)}: expected a picture and then a flow file")
    picture, flow = map(Path, inputs)
    sources = [picture, flow, *([Path(occlusion)] if occlusion else [])]
    targets = {"--output": Path(output), **({"--mask": Path(mask)} if mask else {})}
    _check_targets(targets, sources, overwrite)
    from flowgru.console import say
    from flowgru.data.formats.flow_files import read_flow
    from flowgru.data.formats.images import read_image, write_image, written_format
    from flowgru.data.formats.masks import white_pixels
    from flowgru.data.video.listing import is_picture
    from flowgru.estimation.public.warping import warp as warp_by_flow

    for target in targets.values():
        written_format(target)
    if not is_picture(picture) and is_picture(flow):
        raise RequestError(f"got {picture} and then {flow}: expected the picture first and then the flow file")
    image, found = read_image(picture), read_flow(flow)
    height, width = found.valid.shape
    _require_size(image, picture, height, width, f"the flow {flow}")
    left_out = ~found.valid
    if occlusion:
        hidden = white_pixels(Path(occlusion))
        _require_size(hidden, Path(occlusion), height, width, f"the flow {flow}")
        left_out |= hidden
    warped, valid = warp_by_flow(image, found.flow, forward=forward, occluded=left_out)
    levels = valid.astype("uint8")[..., None].repeat(3, axis=2) * 255
    for target, written in zip(targets.values(), (warped, levels), strict=False):
        write_image(target, written, overwrite=overwrite)
    say(f"wrote {' and '.join(map(str, targets.values()))}, {valid.mean():.1%} of the pixels are known")


def _check_targets(targets: dict[str, Path], sources: list[Path], overwrite: bool) -> None:
    """RequestError where what is written would replace an input, a file that is there, or itself."""
    if len({target.resolve() for target in targets.values()}) < len(targets):
        raise RequestError(f"--output and --mask are both {targets['--mask']}: name two files")
    known = {source.resolve() for source in sources}
    for option, target in targets.items():
        refuse_file(target.parent, option, target)
        if target.resolve() in known:
            raise RequestError(f"{option} {target} would replace an input: name another file")
        if target.is_dir():
            raise RequestError(f"{option} {target} is a folder: name a file, such as {target / 'warped.png'}")
        if target.exists() and not overwrite:
            raise RequestError(f"{target} is already there: give --overwrite or another {option}")


def _require_size(picture: "np.ndarray", path: Path, height: int, width: int, of: str) -> None:
    """RequestError unless a picture has the size of the flow."""
    if picture.shape[:2] != (height, width):
        raise RequestError(
            f"{path} is {size_text(picture.shape)} and {of} {sides((height, width))}: expected one size; resize the picture"
        )
