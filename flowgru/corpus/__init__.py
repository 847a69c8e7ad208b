"""Flow of many clips, on many processes and machines, each clip exactly once: the work of `flowgru corpus`.

What may be on disk, and when, is the protocol that makes "exactly once" true:

1. One driver at a time: it holds the lock on `corpus.lock`, and it alone writes `manifest.csv` and `scores.csv`.
2. A worker writes a clip below `.unfinished/RUN/`, flushes it to the disk, and moves it by one rename of its folder to its
   final name. So an output is whole under its final name, or not there.
3. Only then does the driver write the clip's row of scores.csv, and after it the clip's row of manifest.csv. A clip is done
   when its row of the manifest is whole.
4. A new driver first moves `.unfinished/` aside and removes it: a worker that outlived its driver finds no folder to move,
   and gives up. Then it takes back what has no row of the manifest: half a last line, rows of scores.csv, parts of shards.
   Of the clips that it is asked for, a row whose output is not there, or of another size than the row says, is dropped, and
   the clip is done again; what is said of other clips stays.
5. Parts of shards are whole outputs in `.parts/`. A shard is made of whole parts; the rows of its clips and its rows of
   shards.csv are flushed first, then it gets its final name by a rename, then its parts go. A row without its shard is
   dropped: its parts are still there. A shard of another size was changed by somebody, and is refused.
6. A clip whose worker died leaves its folder below `.unfinished/RUN/`, so the number of these folders says how often that
   happened to the clip, and not to another clip that merely waited for the same worker.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

if TYPE_CHECKING:
    from flowgru.corpus.kinds import read_jpeg_flow
    from flowgru.corpus.shards import read_shard
    from flowgru.corpus.tables import ManifestRow

__all__ = ["read_jpeg_flow", "read_shard", "run"]


def run(inputs: str | Path | Sequence[str | Path], output: str | Path, **settings: Any) -> "list[ManifestRow]":
    """Estimates the flow of all clips, as `flowgru corpus` does, and gives their rows of manifest.csv.

    inputs: a folder, a pattern, a list (.csv or .jsonl), a video, or several of these.
    settings: those of CorpusSettings, such as write=("score", "half"), workers=4, fps=8.0; one kind may stand alone, as in
        write="half".

    A clip that cannot be read is a row and no exception. RequestError where the request makes no sense, InputFileError
    after more than max_failures, MachineError where the machine refuses. The processes that work import the script that
    calls this: call it below `if __name__ == "__main__":`.
    """
    from flowgru.config.corpus import CorpusSettings
    from flowgru.corpus.driver import run_corpus

    given = [inputs] if isinstance(inputs, str | Path) else inputs
    settings = {name: _as_option(name, value) for name, value in settings.items()}
    if (kinds := settings.get("write")) is not None:
        settings["write"] = _kinds(kinds.split(",") if isinstance(kinds, str) else kinds)
    return run_corpus([str(one) for one in given], CorpusSettings(output=str(output), **settings))


def _as_option(name: str, value: Any) -> Any:
    """A setting as CorpusSettings has it. RequestError where there is none of that name, or it is of another kind."""
    from flowgru.config.corpus import CorpusSettings
    from flowgru.errors import RequestError, did_you_mean
    from flowgru.option_texts import fits, type_text

    hints = get_type_hints(CorpusSettings)
    if name not in hints:
        hint = did_you_mean(name, hints)
        raise RequestError(f"there is no setting {name}: {hint}flowgru corpus --help lists them")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "resize" and is_number:
        value = str(value)
    if name in ("resize", "tiles") and isinstance(value, tuple | list) and fits((*value,), tuple[int, int]):
        value = "{}x{}".format(*value)
    if name != "write" and not fits(value, hints[name]):
        raise RequestError(f"{name} is {value!r}: expected {type_text(hints[name])}")
    return value


def _kinds(given: Sequence[str]) -> tuple[Any, ...]:
    """The kinds of results of these names. RequestError where one is none."""
    from flowgru.config.corpus import Kind
    from flowgru.errors import RequestError

    if unknown := [kind for kind in given if kind not in get_args(Kind)]:
        raise RequestError(f"write has {unknown[0]!r}: expected one or more of {', '.join(get_args(Kind))}")
    return tuple(given)


def __getattr__(name: str) -> Any:
    if name == "read_jpeg_flow":
        from flowgru.corpus.kinds import read_jpeg_flow

        return read_jpeg_flow
    if name == "read_shard":
        from flowgru.corpus.shards import read_shard

        return read_shard
    raise AttributeError(f"module 'flowgru.corpus' has no attribute {name!r}")
