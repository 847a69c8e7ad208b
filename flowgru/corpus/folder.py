"""The output folder of a corpus: one driver, one set of settings, and what an earlier run has left whole."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from flowgru.config.corpus import CorpusSettings
from flowgru.config.way import COMPUTED, Way
from flowgru.console import warn
from flowgru.corpus.inputs import SETTINGS, Clip, refuse_shared_folders
from flowgru.corpus.kinds import IN_FOLDERS
from flowgru.corpus.parquet import remove_parquet
from flowgru.corpus.shards import END, SUFFIX, shard_row
from flowgru.corpus.staging import (
    PARTS,
    UNFINISHED,
    Written,
    begin_run,
    end_run,
    final_place,
    measured,
    remove_part,
    waiting_parts,
)
from flowgru.corpus.tables import (
    SCORE_COLUMNS,
    GrowingTable,
    ManifestRow,
    ShardRow,
    manifest_row,
    read_table,
    write_table,
)
from flowgru.errors import FlowgruError, MachineError, RequestError, counted
from flowgru.estimation.matching.initial_flow import FlowFolder
from flowgru.files.atomic import atomic_write
from flowgru.files.json_text import parse_json
from flowgru.files.own_folders import make_folders, refuse_foreign, refuse_link
from flowgru.files.writer_lock import WriterLock
from flowgru.version import VERSION

NAMES = {"settings": SETTINGS, "lock": "corpus.lock", "manifest": "manifest.csv", "scores": "scores.csv"}
SHARDS = "shards"
INDEX = "shards.csv"

USUAL = {each.name: each.default for each in fields(CorpusSettings)} | asdict(Way())
"""What a setting is that nobody has given."""

WRITTEN = ("done", "damaged")
"""The status of clips of which something is written."""


class CorpusFolder:
    """Holds the lock while it is open; `rows` are the clips that are whole, by their ids.

    settings: what decides about the results, see fingerprint. options: the same as the user gave them, before anything was
    derived; messages name these. RequestError where the folder holds another run's results, or something else;
    MachineError where it cannot be written, or another process writes it.
    """

    def __init__(
        self, root: Path, settings: Mapping[str, Any], clips: Sequence[Clip], options: Mapping[str, Any]
    ) -> None:
        self.root, self.settings, self.clips, self.options = root, dict(settings), clips, dict(options)
        self.kinds: Sequence[str] = settings["write"]
        self.rows: dict[str, ManifestRow] = {}
        self.shard_rows: dict[str, ShardRow] = {}
        self._lock = WriterLock(root / NAMES["lock"])

    def __enter__(self) -> "CorpusFolder":
        self._refuse_others()
        make_folders([self.root])
        try:
            self._lock.acquire()
        except OSError as error:
            raise MachineError(f"cannot write into {self.root} ({error.strerror}): name another --output") from None
        try:
            self._open()
        except BaseException:
            end_run(self.root)
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for table in (self.manifest, self.scores, self.index):
            if table is not None:
                table.close()
        with suppress(FlowgruError):
            self._tell_each_once()
        end_run(self.root)
        self._lock.release()

    def fingerprint(self, clip: Clip) -> str:
        """A digest of all that decides about a clip's results, but for the clip itself.

        Behind a dot stands what tells the clip's initial flows from others, where they come from files.
        """
        digest = _digest({"settings": self.settings, "start": clip.start, "end": clip.end})
        given = self.options.get("initial_flow")
        return digest if given in (None, *COMPUTED) else f"{digest}.{_flow_files(Path(given) / clip.id)}"

    def _refuse_others(self) -> None:
        """RequestError where the folder holds results of other settings, or such as no corpus run has written.

        A setting that an earlier version of flowgru did not have was as it is by default; the rows of that version's clips
        bear the digests of its settings, so these stay the folder's.
        """
        path = self.root / NAMES["settings"]
        for name in (UNFINISHED, PARTS, *self.kinds):  # what lies there unfinished is taken away
            refuse_link(self.root / name, self.root)
        refuse_foreign(self.root, "a corpus", path.name, (NAMES["lock"], UNFINISHED))
        if not path.exists():
            return
        try:
            noted = parse_json(path.read_bytes())
            before, options, version = dict(noted["settings"]), dict(noted.get("options", {})), noted["flowgru"]
        except OSError as error:
            raise MachineError(f"cannot read {path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise RequestError(f"{path} is damaged: name another --output") from None
        usual = {name: USUAL[name] for name in self.settings if name in USUAL}
        now, usual, options_now = json.loads(json.dumps([self.settings, usual, self.options]))
        if usual | before != now:
            raise RequestError(
                f"{self.root} was begun with {_difference(usual | before, now, options, options_now)}: "
                "give the same settings, or another --output"
            )
        self.settings = before
        if version != VERSION:
            warn(f"{self.root} was begun by flowgru {version}, and goes on with {VERSION}")

    def _open(self) -> None:
        self.run = begin_run(self.root)
        if not (self.root / NAMES["settings"]).exists():
            with atomic_write(self.root / NAMES["settings"], overwrite=False, durable=True) as temporary:
                noted = {"flowgru": VERSION, "settings": self.settings, "options": self.options}
                temporary.write_text(json.dumps(noted, indent=1) + "\n")
        self._take_back()
        self.manifest = GrowingTable(self.root / NAMES["manifest"], ManifestRow._fields)
        self.scores = GrowingTable(self.root / NAMES["scores"], SCORE_COLUMNS) if "score" in self.kinds else None
        self.index = GrowingTable(self.root / INDEX, ShardRow._fields) if SHARDS in self.kinds else None

    def _take_back(self) -> None:
        """Keeps what is whole, and takes back the rest; point 4 of the protocol."""
        manifest, scores = self.root / NAMES["manifest"], self.root / NAMES["scores"]
        lines = (manifest_row(line, manifest) for line in read_table(manifest, ManifestRow._fields))
        stored, asked = {row.id: row for row in lines}, {clip.id for clip in self.clips}
        scored = {line[0]: line for line in read_table(scores, SCORE_COLUMNS)} if "score" in self.kinds else None
        if SHARDS in self.kinds:
            self._take_back_shards(asked | stored.keys())
        parts = {clip for clip, _ in waiting_parts(self.root)} if SHARDS in self.kinds else set()
        kept = {
            row.id: row
            for row in stored.values()
            if row.status in WRITTEN
            and (scored is None or row.id in scored)
            and (SHARDS not in self.kinds or row.id in self.shard_rows or row.id in parts)
            and self._measured(row.id) == (row.files, row.bytes)
        }
        changed = []
        for clip in self.clips:
            if (row := kept.get(clip.id)) is None:
                continue
            before, now = (text.partition(".") for text in (row.settings, self.fingerprint(clip)))
            if before[2] and before != now:
                changed.append(clip.id)
            if before[0] != now[0]:
                raise RequestError(
                    f"the clip {clip.id!r} was done with other frames than from {clip.start or 'the first'} to "
                    f"{clip.end or 'the last'}: give it another id, or name another --output"
                )
        refuse_shared_folders(kept.keys() | {clip.id for clip in self.clips})
        self._warn_of_other_paths(kept)
        if changed:
            warn(
                f"the initial flows of {counted(len(changed), 'clip')} that are done have changed since (the first is "
                f"{changed[0]}): they count as done; if the new ones are to be used, name another --output"
            )
        # Clips that are not asked for are not done again: what is said of them stays, wherever their results are now.
        told = {clip: row for clip, row in stored.items() if clip in kept or clip not in asked}
        # Nor is a clip forgotten that is in a shard: it may not be asked for the next time.
        again = {"status": "failed", "reason": "it was to be done again, and is not done yet", "files": 0, "bytes": 0}
        redone = (stored.keys() & self.shard_rows.keys()) - told.keys()
        told |= {clip: stored[clip]._replace(**again) for clip in redone}
        if manifest.exists():
            write_table(manifest, ManifestRow._fields, told.values())
        if scored is not None and scores.exists():
            lines_told = [line for clip, line in scored.items() if clip in told and told[clip].status in WRITTEN]
            if len(lines_told) < len(scored):
                remove_parquet(self.root)
            write_table(scores, SCORE_COLUMNS, lines_told)
        for clip, _ in waiting_parts(self.root):
            if clip not in told or told[clip].status not in WRITTEN or clip in self.shard_rows:
                remove_part(self.root, clip)
        self.rows = kept

    def _tell_each_once(self) -> None:
        """Leaves of several rows of a clip, which was done again, the last one."""
        stored = read_table(manifest := self.root / NAMES["manifest"], ManifestRow._fields)
        last = {line[0]: line for line in stored}
        if len(last) < len(stored):
            write_table(manifest, ManifestRow._fields, last.values())

    def _warn_of_other_paths(self, kept: Mapping[str, ManifestRow]) -> None:
        """Says where clips of done ids lay elsewhere when they were done: they have been moved, or are others."""
        moved = [
            (clip.id, kept[clip.id].path, now)
            for clip in self.clips
            if clip.id in kept and kept[clip.id].path != (now := os.path.abspath(clip.path))
        ]
        if moved:
            name, before, now = moved[0]
            warn(
                f"{counted(len(moved), 'clip')} of ids that are done lay elsewhere then (the first is {name}: {before}, now "
                f"{now}): they count as done; if they are other clips, name another --output"
            )

    def _take_back_shards(self, known: set[str]) -> None:
        """known: the clips that have a row in the manifest, or are done in this run where they have none."""
        index = self.root / INDEX
        rows = [shard_row(line, index) for line in read_table(index, ShardRow._fields)]
        ends: dict[str, int] = {}
        for row in rows:
            ends[row.shard] = max(ends.get(row.shard, 0), row.offset + row.bytes)
        sizes = {path.name: path.stat().st_size for path in (self.root / SHARDS).glob(f"*{SUFFIX}")}
        if unknown := sorted(sizes.keys() - ends.keys()):
            raise RequestError(f"{self.root / SHARDS / unknown[0]} is in no row of {INDEX}: move it out of {self.root}")
        whole = {shard for shard, end in ends.items() if sizes.get(shard) == end + len(END)}
        if changed := sorted(sizes.keys() - whole):
            raise RequestError(
                f"{self.root / SHARDS / changed[0]} has another size than {INDEX} says: move it out "
                f"of {self.root}, and its clips are done again"
            )
        self.shard_rows = {row.id: row for row in rows if row.shard in whole}
        if lost := sorted(self.shard_rows.keys() - known):
            raise RequestError(
                f"{self.root / SHARDS / self.shard_rows[lost[0]].shard} holds the clip {lost[0]!r}, which has no row in "
                f"{NAMES['manifest']} any more: give it among the clips, put the row back, or name another --output"
            )
        if index.exists():
            write_table(index, ShardRow._fields, self.shard_rows.values())

    def _measured(self, clip: str) -> Written:
        """Number and size of the files that a clip has in folders."""
        found = [measured(final_place(self.root, kind, clip)) for kind in self.kinds if kind in IN_FOLDERS]
        return Written(sum(one.files for one in found), sum(one.bytes for one in found))


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _flow_files(folder: Path) -> str:
    """Tells the flow files of a folder from others by their names, sizes and times."""
    known = {}
    with suppress(OSError, FlowgruError):  # who reads them says what is wrong
        for path in FlowFolder(folder).files():
            facts = path.stat()
            known[path.name] = facts.st_size, facts.st_mtime_ns
    return _digest(known)


def _difference(
    before: Mapping[str, Any], now: Mapping[str, Any], options: Mapping[str, Any], options_now: Mapping[str, Any]
) -> str:
    """What differs between two runs' settings, as the options that differ; without one, as the settings themselves.

    A setting that only one of the runs has, such as the bound of jpeg, differs because of another one.
    """
    differ = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    names = [name for name in differ if name in options and name in options_now]
    if given := [name for name in names if options[name] != options_now[name]]:
        old, new = ([_as_option(name, each[name]) for name in given] for each in (options, options_now))
    else:  # the model's file has other weights, or its card says another way
        old, new = ([f"{name} {json.dumps(each.get(name))}" for name in differ] for each in (before, now))
    return f"{' '.join(old)}, and {' '.join(new)} is asked for"


def _as_option(name: str, value: Any) -> str:
    option = name.replace("_", "-")
    if value is None:
        return f"no --{option}"
    if isinstance(value, bool):
        return f"--{option}" if value else f"--no-{option}"
    return f"--{option} {','.join(map(str, value)) if isinstance(value, list) else value}"
