"""Files of weights: ours, a safetensors file with a card, and foreign ones, read without running anything in them."""

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from flowgru.config.renamed import NamesOfToday
from flowgru.errors import MachineError, RequestError, one_line
from flowgru.files.atomic import write_file
from flowgru.files.json_text import json_text, parse_json
from flowgru.model.weight_files.torch_file import read_torch_file
from flowgru.operators import STORED

BUNDLED = Path(__file__).parents[2] / "weights"
"""The folder of the weights that come with the package."""

WEIGHTS = "model.safetensors"
"""The file of a network's weights, in a run's folder and in a repository."""

STATE_FILE = "train.pt"
"""The file beside it in a checkpoint, with the rest of a training's state."""

MAX_BYTES = 4 * 2**30
"""The size of the largest file of weights that is read."""

_CARD = "flowgru_card"
"""The card's key in the safetensors header."""

_PREFIXES = ("module.", "model.", "_orig_mod.")
"""What DataParallel, Lightning modules and torch.compile put before every name."""

_MAX_HEADER = 100_000_000
"""Bytes of a safetensors header, by the format's own rule."""

_MOST_NAMES = 10
"""Names that are shown of each kind of mismatch."""


def write_model_file(
    path: str | Path, weights: dict[str, Tensor], card: dict[str, Any], *, overwrite: bool = False
) -> None:
    """A safetensors file with the card, which says where the weights come from, as JSON in its header.

    RequestError if the file exists without `overwrite` or a weight is not finite; MachineError if the disk refuses.
    """
    write_file(path, model_file_bytes(weights, card), overwrite, durable=True)


def model_file_bytes(weights: Mapping[str, Tensor], card: dict[str, Any]) -> bytes:
    """The content of a file of write_model_file."""
    return weights_as_bytes(weights, {_CARD: json_text(card, indent=None)})


def weights_as_bytes(weights: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The weights in safetensors format. RequestError names a weight that is not finite."""
    stored = {}
    for name, value in weights.items():
        if not bool(value.isfinite().all()):
            raise RequestError(
                f"the weights are not saved: {name} is not finite; a lower learning rate may keep them finite"
            )
        # A copy each, for safetensors takes neither views nor tensors that share their memory.
        stored[name] = value.detach().to("cpu", memory_format=torch.contiguous_format, copy=True)
    return safetensors.torch.save(stored, metadata)


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """The weights in a safetensors file or a torch checkpoint (.pth, .pt, .ckpt), on the CPU, and the card if there is one.

    What training programs wrap around weights, and put before their names, is taken off. No code in the file is run, and
    no tensor comes back that claims more memory than the file holds.

    RequestError where there is no such file or it is none of these, MachineError where it cannot be read.
    """
    path = Path(path)
    kind = _kind_of(path)
    card = _safetensors_card(path) if kind == "safetensors" else None
    weights = _safetensors_weights(path) if kind == "safetensors" else read_torch_file(path, kind)
    for name, value in weights.items():
        if not name.isprintable():  # names are shown in error texts
            raise RequestError(f"{path} holds a tensor of the name {name!r:.80}: expected letters, digits and dots")
        if value.dtype not in STORED:
            raise RequestError(f"{path} holds {name} in {value.dtype}: expected weights in floating point")
    return _without_prefixes(weights), card


def describe_mismatch(expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> str | None:
    """Which weights are missing, unexpected or of another shape, in one line; None where all fit."""
    reshaped = [
        f"{name} is {list(got[name].shape)}, expected {list(expected[name].shape)}"
        for name in expected
        if name in got and got[name].shape != expected[name].shape
    ]
    parts = (
        ("missing", [name for name in expected if name not in got]),
        ("unexpected", [name for name in got if name not in expected]),
        ("of another shape", reshaped),
    )
    return "; ".join(f"{len(names)} {what} ({listed(names)})" for what, names in parts if names) or None


def _kind_of(path: Path) -> Literal["safetensors", "zip", "pickle"]:
    """How the file begins. RequestError where there is no file, or one of no known kind."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise RequestError(f"{path} is a folder: expected a file of weights")
        if not stat.S_ISREG(status.st_mode):
            raise RequestError(f"{path} is not a regular file: expected a file of weights")
        with path.open("rb") as file:
            head = file.read(1024)
    except (FileNotFoundError, NotADirectoryError):
        raise RequestError(f"there is no file of weights {path}") from None
    except OSError as error:
        raise MachineError(f"cannot read {path}: {error.strerror}") from None
    size = status.st_size
    if size > MAX_BYTES:
        raise RequestError(f"{path} has {size / 2**30:.1f} GiB: at most {MAX_BYTES // 2**30} GiB of weights are read")
    header = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header <= _MAX_HEADER:
        if size < 8 + header:
            raise RequestError(
                f"{path} is not a checkpoint (it is truncated: its header needs {8 + header} of {size} bytes)"
            )
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(b"\x80"):
        return "pickle"
    raise RequestError(f"{path} is not a checkpoint ({_foreign_kind(head)})")


def _foreign_kind(head: bytes) -> str:
    """What a file that holds no weights is, by its first bytes."""
    if not head:
        return "it is empty, 0 bytes"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")) or b"<html" in start:
        return "it is an HTML page; the download gave a web page in place of the file"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; get the file itself with git lfs pull"
    if head[257:262] == b"ustar":
        return "it is a tar archive"
    if not re.search(rb"[\x00-\x08\x0e-\x1f]", head):
        return "it is a text file"
    if len(head) < 9:
        return f"it is truncated after {len(head)} bytes"
    return "its beginning is neither that of a safetensors file nor that of a torch file"


def _safetensors_weights(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except OSError as error:
        raise MachineError(f"cannot read {path}: {error}") from None
    except (safetensors.SafetensorError, KeyError, RuntimeError) as error:
        raise RequestError(f"{path} is not a readable checkpoint ({one_line(error)})") from None


def _safetensors_card(path: Path) -> dict[str, Any] | None:
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_CARD)
    except OSError as error:
        raise MachineError(f"cannot read {path}: {error}") from None
    except safetensors.SafetensorError as error:
        hint = (
            "it is truncated, or longer than its header says" if "not fully covered" in str(error) else one_line(error)
        )
        raise RequestError(f"{path} is not a readable checkpoint ({hint})") from None
    if text is None:
        return None
    try:
        card = parse_json(text)
    except ValueError as error:
        raise RequestError(f"the card of {path} is not JSON ({one_line(error, 120)})") from None
    if not isinstance(card, dict):
        raise RequestError(f"the card of {path} is a {type(card).__name__}: expected a JSON object")
    with NamesOfToday(f"the card of {path}", quiet=BUNDLED in Path(path).parents) as names:
        return names.card(card)


def _without_prefixes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with the prefixes removed that every name carries."""
    while weights:
        prefix = next((prefix for prefix in _PREFIXES if all(name.startswith(prefix) for name in weights)), None)
        if prefix is None:
            break
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def listed(names: list[str]) -> str:
    """The first few names; "..." stands for those behind them."""
    return ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
