"""The output folder of a corpus: one driver, one set of settings, and the tables that grow in it."""

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
from flowgru.corpus.earlier_run import take_back
from flowgru.corpus.inputs import SETTINGS, Clip
from flowgru.corpus.staging import PARTS, SHARDS, UNFINISHED, begin_run, end_run
from flowgru.corpus.tables import (
    INDEX,
    MANIFEST,
    SCORE_COLUMNS,
    SCORES,
    GrowingTable,
    ManifestRow,
    ShardRow,
    read_table,
    write_table,
)
from flowgru.errors import FlowgruError, MachineError, RequestError
from flowgru.estimation.matching.initial_flow import FlowFolder
from flowgru.files.atomic import atomic_write
from flowgru.files.json_text import parse_json
from flowgru.files.own_folders import make_folders, refuse_foreign, refuse_link
from flowgru.files.writer_lock import WriterLock
from flowgru.version import VERSION

LOCK = "corpus.lock"

USUAL = {each.name: each.default for each in fields(CorpusSettings)} | asdict(Way())
"""What a setting is that nobody has given."""


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
        self._lock = WriterLock(root / LOCK)

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
        """A digest of the settings that decide about a clip's results.

        Behind a dot stands what tells the clip's initial flows from others, where they come from files, and behind another
        one what tells the clip from another of its path: of a folder, from when it had other files.
        """
        digest = _digest({"settings": self.settings, "start": clip.start, "end": clip.end})
        given = self.options.get("initial_flow")
        flows = "" if given in (None, *COMPUTED) else _flow_files(Path(given) / clip.id)
        with suppress(OSError):
            facts = os.stat(clip.path)
            return f"{digest}.{flows}.{facts.st_size:x}-{facts.st_mtime_ns:x}"
        return f"{digest}.{flows}."

    def _refuse_others(self) -> None:
        """RequestError where the folder holds results of other settings, or such as no corpus run has written.

        A setting that an earlier version of flowgru did not have was as it is by default; the rows of that version's clips
        bear the digests of its settings, so these stay the folder's.
        """
        path = self.root / SETTINGS
        for name in (UNFINISHED, PARTS, *self.kinds):  # what lies there unfinished is taken away
            refuse_link(self.root / name, self.root)
        refuse_foreign(self.root, "a corpus", path.name, (LOCK, UNFINISHED))
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
        if not (self.root / SETTINGS).exists():
            with atomic_write(self.root / SETTINGS, overwrite=False, durable=True) as temporary:
                noted = {"flowgru": VERSION, "settings": self.settings, "options": self.options}
                temporary.write_text(json.dumps(noted, indent=1) + "\n")
        self.rows, self.shard_rows = take_back(self.root, self.kinds, self.clips, self.fingerprint)
        self.manifest = GrowingTable(self.root / MANIFEST, ManifestRow._fields)
        self.scores = GrowingTable(self.root / SCORES, SCORE_COLUMNS) if "score" in self.kinds else None
        self.index = GrowingTable(self.root / INDEX, ShardRow._fields) if SHARDS in self.kinds else None

    def _tell_each_once(self) -> None:
        """Leaves of several rows of a clip, which was done again, the last one."""
        stored = read_table(manifest := self.root / MANIFEST, ManifestRow._fields)
        last = {line[0]: line for line in stored}
        if len(last) < len(stored):
            write_table(manifest, ManifestRow._fields, last.values())


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
