"""`flowgru view`: what is in a flow file, as numbers, as a picture, and in other formats."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flowgru.config.choices import FlowFormat
from flowgru.config.require import require_effect
from flowgru.errors import InputFileError, RequestError, size_text

if TYPE_CHECKING:
    import numpy as np

    from flowgru.data.formats.flow_formats import FlowFile


def view(
    flows: list[str],
    output: str | None = None,
    format: Literal["png", FlowFormat] | None = None,
    max_flow: float | None = None,
    overwrite: bool = False,
) -> int:
    """Prints the statistics of flow files and, with --output, writes pictures of them or converts them.

    flows: Flow files; the first bytes of a file tell its format.
    output: Folder that receives one file for each flow; without it only the statistics are printed.
    format: png is a picture in colours with a legend, as without it; the others are formats of flow files, see estimate's
        --format.
    max_flow: Length in pixels of the strongest colour; without it the largest 99th percentile, one scale for all.
    overwrite: Replace files that are already there.
    """
    if max_flow is not None and not 0 < max_flow < float("inf"):
        raise RequestError(f"--max-flow is {max_flow}: it must be above 0, in pixels")
    for option, given in (("--format", format), ("--max-flow", max_flow)):
        require_effect(given is None or output is not None, option, "without --output")
    require_effect(not overwrite or output is not None, "--overwrite", "without --output")
    format = format or "png"
    require_effect(max_flow is None or format == "png", "--max-flow", f"with --format {format}, which has no colours")
    from flowgru.console import say, warn
    from flowgru.data.formats.flow_files import read_flow
    from flowgru.data.formats.flow_formats import FLOW_FORMATS

    sources = [Path(flow) for flow in flows]
    targets = _targets(sources, output, ".png" if format == "png" else FLOW_FORMATS[format].suffix, overwrite)
    readable = []
    for path, target in zip(sources, targets, strict=True):
        try:
            _refuse_folder(path)
            say(f"{path}: {_statistics(read_flow(path))}")
            readable.append((path, target))
        except InputFileError as error:
            warn(f"error: {error}")
    if output is not None and readable:
        scale = _write(readable, output, format, max_flow, overwrite)
        files = "1 file" if len(readable) == 1 else f"{len(readable)} files"
        say(f"wrote {files} into {output}" + (f", full colour at {scale:g} px" if scale else ""))
    return 0 if len(readable) == len(sources) else InputFileError.exit_code


def _write(
    flows: list[tuple[Path, Path]],
    output: str,
    format: Literal["png", FlowFormat],
    max_flow: float | None,
    overwrite: bool,
) -> float | None:
    """Writes a picture of each flow, or the flow in another format, to its target; the scale of the pictures in pixels."""
    from flowgru.data.formats.flow_files import read_flow, write_flow_array
    from flowgru.data.formats.images import write_image
    from flowgru.files.own_folders import make_folders
    from flowgru.view.colour_wheel import suggest_max_flow

    make_folders([Path(output)])
    if format != "png":
        for path, target in flows:
            write_flow_array(target, *read_flow(path), overwrite=overwrite)
        return None
    scale = max_flow or suggest_max_flow(_known(read_flow(path)) for path, _ in flows)
    for path, target in flows:
        write_image(target, _picture(read_flow(path), scale), overwrite=overwrite)
    return scale


def _targets(sources: list[Path], output: str | None, extension: str, overwrite: bool) -> list[Path]:
    """Where each flow's result goes. RequestError where results exist already or would replace a flow."""
    from flowgru.data.video.listing import distinct_names
    from flowgru.files.own_folders import refuse_file

    if output is None:
        return sources  # nothing is written
    folder = Path(output)
    refuse_file(folder)
    targets = [folder / f"{name}{extension}" for name in distinct_names(sources, "flows")]
    viewed = {source.resolve() for source in sources}
    for target in targets:
        if target.resolve() in viewed:
            raise RequestError(f"{target} would replace a flow that is viewed: name another --output")
        if target.exists() and not overwrite:
            raise RequestError(f"{target} is already there: give --overwrite or another --output")
    return targets


def _refuse_folder(path: Path) -> None:
    """InputFileError for a folder, which names the patterns of the flow files in it."""
    from flowgru.data.formats.flow_files import flow_size
    from flowgru.data.formats.flow_formats import BY_SUFFIX

    # Unlike path.is_dir, os.path.isdir is False of what may not be looked at; the error comes when that is read.
    if not os.path.isdir(path):
        return
    try:
        os.listdir(path)
    except OSError as error:
        raise InputFileError(f"cannot read {path}: {error.strerror}") from None

    def is_flow(file: Path) -> bool:  # the pictures beside the flows are .png too
        with suppress(InputFileError):
            return not file.name.startswith(".") and bool(flow_size(file))
        return False

    patterns = [str(path / f"*{suffix}") for suffix in BY_SUFFIX if any(map(is_flow, path.glob(f"*{suffix}")))]
    fix = f"give its flow files: {' '.join(patterns)}" if patterns else f"expected files of {', '.join(BY_SUFFIX)}"
    raise InputFileError(f"{path} is a folder: {fix}")


def _statistics(found: "FlowFile") -> str:
    import numpy as np

    lengths = np.linalg.norm(found.flow[found.valid], axis=1)
    text = f"{size_text(found.valid.shape)}, {found.valid.mean():.1%} known"
    if not lengths.size:
        return text
    median, most = np.percentile(lengths, [50, 95])
    return f"{text}, length mean {lengths.mean():.2f} median {median:.2f} 95% {most:.2f} max {lengths.max():.2f} px"


def _known(found: "FlowFile") -> "np.ndarray":
    """The flow, NaN where it is not known."""
    import numpy as np

    return np.where(found.valid[..., None], found.flow, np.float32(np.nan))


def _picture(found: "FlowFile", scale: float) -> "np.ndarray":
    """The flow in colours, black where it is not known, with the legend in a corner."""
    from flowgru.view.colour_wheel import flow_picture
    from flowgru.view.legend import colour_wheel_legend, lay_into_corner, legend_size

    colours = flow_picture(_known(found), scale)
    return lay_into_corner(colours, colour_wheel_legend(scale, legend_size(colours)))
