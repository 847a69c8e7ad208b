"""`flowgru corpus`: the flow of thousands of clips, on many processes and machines, each clip exactly once."""

from flowgru.config.corpus import CorpusSettings
from flowgru.errors import InputFileError


def corpus(inputs: list[str], settings: CorpusSettings) -> int:
    """Estimates the flow of all clips of a folder, a pattern or a list; called again it goes on where it stopped.

    A clip that cannot be read whole is a row of manifest.csv with its reason; the exit code is then 3.

    inputs: A folder, which is searched for videos and folders of pictures; a quoted pattern; or a list of clips, .csv or
        .jsonl, with the columns id and path, and start and end where only some frames are wanted.
    """
    from flowgru.console import warn  # the rest imports torch and dask, which --help does without
    from flowgru.corpus.driver import run_corpus

    rows = run_corpus(inputs, settings)
    bad = [row for row in rows if row.status != "done"]
    if bad:
        warn(
            f"error: {len(bad)} of {len(rows)} clips could not be read whole, and {settings.output}/manifest.csv says why; "
            f"the first is {bad[0].id}: {bad[0].reason}"
        )
    return InputFileError.exit_code if bad else 0
