"""What an earlier run has left in the folder of a corpus: what of it is whole, and the rest, which is taken back."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from flowgru.console import warn
from flowgru.corpus.inputs import Clip, refuse_shared_folders
from flowgru.corpus.kinds import IN_FOLDERS
from flowgru.corpus.parquet import remove_parquet
from flowgru.corpus.shards import END, SUFFIX, shard_row
from flowgru.corpus.staging import SHARDS, Written, final_place, measured, remove_part, waiting_parts
from flowgru.corpus.tables import (
    INDEX,
    MANIFEST,
    SCORE_COLUMNS,
    SCORES,
    WRITTEN,
    ManifestRow,
    ShardRow,
    manifest_row,
    read_table,
    write_table,
)
from flowgru.errors import RequestError, counted


class EarlierRun(NamedTuple):
    """What of an earlier run is whole, each by the clip's id."""

    rows: dict[str, ManifestRow]
    shard_rows: dict[str, ShardRow]
    """Of the clips that lie in a whole shard."""


def take_back(
    root: Path, kinds: Sequence[str], clips: Sequence[Clip], fingerprint: Callable[[Clip], str]
) -> EarlierRun:
    """Keeps what is whole, and takes back the rest; point 4 of the protocol.

    kinds: of the results that this run writes. clips: those that it is asked for. fingerprint: gives a digest of all that
    decides about a clip's results.
    RequestError where a clip was done with other frames, where somebody has changed a table or a shard, or where two clips
    would share a folder.
    """
    manifest, scores = root / MANIFEST, root / SCORES
    lines = (manifest_row(line, manifest) for line in read_table(manifest, ManifestRow._fields))
    stored, asked = {row.id: row for row in lines}, {clip.id for clip in clips}
    scored = {line[0]: line for line in read_table(scores, SCORE_COLUMNS)} if "score" in kinds else None
    shard_rows = _take_back_shards(root, asked | stored.keys()) if SHARDS in kinds else {}
    packed = shard_rows.keys() | {clip for clip, _ in waiting_parts(root)} if SHARDS in kinds else None
    kept = {
        row.id: row
        for row in stored.values()
        if row.status in WRITTEN
        and (scored is None or row.id in scored)
        and (packed is None or row.id in packed)
        and _measured(root, kinds, row.id) == (row.files, row.bytes)
    }
    changed = _begun_otherwise(clips, kept, fingerprint)
    refuse_shared_folders(kept.keys() | asked)
    _warn_of_other_paths(clips, kept)
    for what, those in changed.items():
        warn(
            f"{what} {counted(len(those), 'clip')} that are done have changed since (the first is {those[0]}): they count "
            "as done; if the new ones are to be used, name another --output"
        )
    # Clips that are not asked for are not done again: what is said of them stays, wherever their results are now.
    told = {clip: row for clip, row in stored.items() if clip in kept or clip not in asked}
    # Nor is a clip forgotten that is in a shard: it may not be asked for the next time.
    again = {"status": "failed", "reason": "it was to be done again, and is not done yet", "files": 0, "bytes": 0}
    redone = (stored.keys() & shard_rows.keys()) - told.keys()
    told |= {clip: stored[clip]._replace(**again) for clip in redone}
    if manifest.exists():
        write_table(manifest, ManifestRow._fields, told.values())
    written = {clip for clip, row in told.items() if row.status in WRITTEN}
    if scored is not None and scores.exists():
        lines_told = [line for clip, line in scored.items() if clip in written]
        if len(lines_told) < len(scored):
            remove_parquet(root)
        write_table(scores, SCORE_COLUMNS, lines_told)
    for clip, _ in waiting_parts(root):
        if clip not in written or clip in shard_rows:
            remove_part(root, clip)
    return EarlierRun(kept, shard_rows)


def _begun_otherwise(
    clips: Iterable[Clip], kept: Mapping[str, ManifestRow], fingerprint: Callable[[Clip], str]
) -> dict[str, list[str]]:
    """The clips that were done from other files than theirs are now, or from other initial flows.

    RequestError where they were done with other numbers of frames.
    """
    changed: dict[str, list[str]] = {}
    for clip in clips:
        if (row := kept.get(clip.id)) is None:
            continue
        before, now = ([*text.split("."), "", ""][:3] for text in (row.settings, fingerprint(clip)))
        # An earlier version has noted less.
        for what, part in (("the initial flows of", 1), ("the files of", 2)):
            is_here = part == 1 or row.path == os.path.abspath(clip.path)  # elsewhere it is said to be elsewhere
            if is_here and before[part] and now[part] and before[part] != now[part]:
                changed.setdefault(what, []).append(clip.id)
        if before[0] != now[0]:
            raise RequestError(
                f"the clip {clip.id!r} was done with other frames than from {clip.start or 'the first'} to "
                f"{clip.end or 'the last'}: give it another id, or name another --output"
            )
    return changed


def _warn_of_other_paths(clips: Iterable[Clip], kept: Mapping[str, ManifestRow]) -> None:
    """Says where clips of done ids lay elsewhere when they were done: they have been moved, or are others."""
    moved = [
        (clip.id, kept[clip.id].path, now)
        for clip in clips
        if clip.id in kept and kept[clip.id].path != (now := os.path.abspath(clip.path))
    ]
    if moved:
        name, before, now = moved[0]
        warn(
            f"{counted(len(moved), 'clip')} of ids that are done lay elsewhere then (the first is {name}: {before}, now "
            f"{now}): they count as done; if they are other clips, name another --output"
        )


def _take_back_shards(root: Path, known: Set[str]) -> dict[str, ShardRow]:
    """The rows of the clips in whole shards; known: the clips that have a row in the manifest, or are asked for."""
    index = root / INDEX
    rows = [shard_row(line, index) for line in read_table(index, ShardRow._fields)]
    ends: dict[str, int] = {}
    for row in rows:
        ends[row.shard] = max(ends.get(row.shard, 0), row.offset + row.bytes)
    sizes = {path.name: path.stat().st_size for path in (root / SHARDS).glob(f"*{SUFFIX}")}
    if unknown := sorted(sizes.keys() - ends.keys()):
        raise RequestError(f"{root / SHARDS / unknown[0]} is in no row of {INDEX}: move it out of {root}")
    whole = {shard for shard, end in ends.items() if sizes.get(shard) == end + len(END)}
    if changed := sorted(sizes.keys() - whole):
        raise RequestError(
            f"{root / SHARDS / changed[0]} has another size than {INDEX} says: move it out of {root}, and its clips are "
            "done again"
        )
    shard_rows = {row.id: row for row in rows if row.shard in whole}
    if lost := sorted(shard_rows.keys() - known):
        raise RequestError(
            f"{root / SHARDS / shard_rows[lost[0]].shard} holds the clip {lost[0]!r}, which has no row in {MANIFEST} any "
            "more: give it among the clips, put the row back, or name another --output"
        )
    if index.exists():
        write_table(index, ShardRow._fields, shard_rows.values())
    return shard_rows


def _measured(root: Path, kinds: Iterable[str], clip: str) -> Written:
    """Number and size of the files that a clip has in folders."""
    found = [measured(final_place(root, kind, clip)) for kind in kinds if kind in IN_FOLDERS]
    return Written(sum(one.files for one in found), sum(one.bytes for one in found))
