"""A folder of files sealed by a manifest: every byte of them is verified before any is used."""

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

from flowgru.errors import MachineError, RequestError
from flowgru.files.atomic import flush
from flowgru.files.json_text import parse_json

MANIFEST = "manifest.json"
"""Holds size and SHA-256 of the other files, and its own."""


def write_sealed(folder: Path, files: dict[str, bytes], facts: dict[str, Any]) -> None:
    """The new folder with these files and a manifest that also states `facts`, flushed. OSError if the disk refuses."""
    manifest = _sealed_text({**facts, "files": {name: _fingerprint(data) for name, data in files.items()}})
    folder.mkdir()
    for name, data in {**files, MANIFEST: manifest}.items():
        write_durably(folder / name, data)
    flush(folder)


def read_sealed(folder: Path, names: tuple[str, ...]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of these names, and the facts. RequestError names the one that is missing, damaged or a link."""
    facts = read_facts(folder)
    fingerprints, files = facts.pop("files", None), {}
    if not isinstance(fingerprints, dict) or not {*names} <= {*fingerprints}:
        raise RequestError(f"{folder / MANIFEST} does not name {' and '.join(names)}: it was not written by flowgru")
    for name in names:
        path, data = folder / name, _read_plain(folder / name)
        found, written = _fingerprint(data), fingerprints[name]
        if found != written:
            raise RequestError(f"{path} is damaged: it is {found}, {written} was written")
        files[name] = data
    return files, facts


def read_facts(folder: Path) -> dict[str, Any]:
    """What the manifest states, with the fingerprints of the files under "files". RequestError where it is damaged."""
    path = folder / MANIFEST
    data = _read_plain(path)
    try:
        facts = parse_json(data)
        del facts["sha256"]
        intact = _sealed_text(facts) == data
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise RequestError(f"{path} is damaged: it does not match its own SHA-256")
    return facts


def write_durably(path: Path, data: bytes) -> None:
    """A new file that outlives a power cut, once its folder is flushed too. OSError if the disk refuses."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _fingerprint(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _sealed_text(facts: dict[str, Any]) -> bytes:
    """JSON with its own digest; reading compares the whole text, so that not one byte of it may differ."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**facts, "sha256": digest}, indent=1, sort_keys=True) + "\n").encode()


def _read_plain(path: Path) -> bytes:
    """The bytes of a plain file; a link could lead anywhere and is refused."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise RequestError(f"{path} is a link or no plain file: a checkpoint holds its own files")
        return path.read_bytes()
    except FileNotFoundError:
        raise RequestError(f"{path} is missing") from None
    except OSError as error:
        raise MachineError(f"cannot read {path}: {error.strerror}") from None
