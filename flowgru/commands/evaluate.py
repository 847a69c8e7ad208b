"""`flowgru evaluate`: the errors of a model, or of a baseline, on benchmark pairs with known flow."""

from typing import Literal

from flowgru.config.evaluation.measures import MeasureSettings
from flowgru.config.require import require, require_effect
from flowgru.errors import InputFileError, RequestError


def evaluate(
    data: list[str],
    settings: MeasureSettings,
    root: str = "datasets",
    baseline: Literal["dis", "farneback", "zero"] | None = None,
    flows: str | None = None,
    static: int | None = None,
    output: str | None = None,
    worst: int | None = None,
    overwrite: bool = False,
) -> int:
    """Prints the errors of a model, or of a classical baseline, on benchmark pairs with known flow.

    A pair that cannot be read is left out and named at the end; the exit code is then 3.

    data: Data sets, such as chairs, sintel (both passes), sintel_clean, kitti2015, middlebury; or a manifest.csv, whose
        column `set` gives each of its groups a column of the table. Videos and folders of frames, whose true flow nobody
        knows, are taken too by --corruptions, --temporal and --time.
    root: The folder that holds the sets' own folders, such as Sintel and KITTI.
    baseline: Measure a method without learning instead: OpenCV's DIS or Farneback, or zero flow.
    flows: Measure flow files that were written elsewhere instead, from this folder: named as the pairs in pairs.csv, such as
        sintel/clean/alley_1/frame_0001.flo, or without the set's name, in any format; for my/pairs.csv that name is pairs. A
        pixel that is not known in them counts as not finite.
    static: Also estimate the flow from the first picture to itself, for so many pairs evenly spread over each set:
        static_flow, which should be 0; 0: none, without it 8.
    output: Folder that receives evaluation.json, pairs.csv with the measures of every pair, and pictures. The files in a
        folder of --initial-flow are named as the pairs there; those of my/manifest.csv lie in its folder manifest.
    worst: With --output, pictures of so many pairs of each set, those with the largest error; 0: none, without it 5.
    overwrite: Replace results that are already there; without it the command refuses before any work.
    """
    if baseline is not None and flows is not None:
        raise RequestError(f"--baseline is {baseline} and --flows {flows}: give one of them")
    if (baseline or flows) is not None and (given := settings.given()):
        named = f"--flows {flows} is" if baseline is None else f"--baseline {baseline} is"
        raise RequestError(f"{named} no model, and has no {' or '.join(given)}: give one or the others")
    for name, value in (("worst", worst), ("static", static)):
        require(value is None or value >= 0, f"--{name}", value, "0 or more")
    require_effect(not settings.report or output is not None, "--report", "without --output")
    require_effect(not worst or output is not None, "--worst", "without --output")
    require_effect(not static or flows is None, "--static", "with --flows, which are not estimated here")
    require_effect(not overwrite or output is not None, "--overwrite", "without --output")
    from flowgru.evaluation.run import run_evaluation  # imports torch, which --help does without

    whole = run_evaluation(
        data,
        settings,
        root=root,
        baseline=baseline,
        flows=flows,
        static=static,
        output=output,
        worst=worst,
        overwrite=overwrite,
    )
    return 0 if whole else InputFileError.exit_code
