"""`flowgru submit`: the flows of a benchmark's test split, in the files that its server takes."""

from flowgru.config.model_settings import ModelSettings
from flowgru.errors import RequestError


def submit(
    benchmark: list[str],
    settings: ModelSettings,
    root: str = "datasets",
    output: str | None = None,
    check: str | None = None,
    partial: bool = False,
    overwrite: bool = False,
) -> None:
    """Writes the flows of a benchmark's test split as its server takes them, and checks them before it says so.

    benchmark: sintel, kitti2012, kitti2015 or spring.
    root: The folder that holds the sets' own folders, such as Sintel and KITTI.
    output: Folder that receives the flows and, for KITTI, the zip to upload; with --partial it is called so that nobody
        uploads it.
    check: Only check the flows in this folder, which may come from anywhere; nothing is written.
    partial: Go on where pairs of the test split are missing, to try the command out; a server wants them all.
    overwrite: Replace flows that are already there; without it the command refuses before any work.
    """
    if (output is None) == (check is None):
        raise RequestError("give either --output FOLDER, to write flows, or --check FOLDER, to check those there")
    if check is not None and (given := [*settings.given(), *["--overwrite"] * overwrite]):
        raise RequestError(
            f"--check only reads, and has no {' or '.join(given)}: leave that out, or give --output to estimate flows"
        )
    from flowgru.evaluation.submission import check_submission, make_submission, open_benchmark  # imports torch

    opened = open_benchmark(" ".join(benchmark), root, settings, partial=partial)
    if output is not None:
        make_submission(opened, output, settings, overwrite=overwrite)
    else:
        check_submission(opened, check or "")
