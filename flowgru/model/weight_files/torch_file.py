"""Checkpoints that torch.save wrote, read without running anything in them."""

import io
import pickle
import re
import tarfile
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from flowgru.errors import MachineError, RequestError, one_line

_WRAPPERS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "model_state_dict_ema", "params_ema", "ema"),
    *("ema_model", "ema_model_state_dict", "ema_weights", "shadow"),
    *("state_dict", "model_state_dict", "model", "params", "net", "network", "module", "weights"),
)
"""Keys under which training programs keep the weights beside their own state; moving averages of them go first."""

_PLAIN = (bool, int, float, str, type(None))
"""Kinds of values that some programs keep among the weights, such as the number of an epoch."""

_FOREIGN_OBJECT = ("GLOBAL ", "call reduce", "create new object", "Can only build")
"""What torch says when it refuses to make an object, as opposed to when it finds damage."""


def read_torch_file(path: Path, kind: Literal["zip", "pickle"]) -> dict[str, Tensor]:
    """The state dict in the file, on the CPU, without what a training program has wrapped around it.

    kind: how the file begins. RequestError for a file that holds anything but tensors and plain values, that would take
    more memory than it has bytes, or that is damaged; MachineError where it cannot be read.
    """
    if kind == "zip":
        with path.open("rb") as file:
            check_zip(path, file, path.stat().st_size)
    elif _is_tar(path):
        raise RequestError(f"{path} is a tar archive of torch before 0.2: save it again with a newer torch")
    weights, plain = {}, []
    for name, value in _unwrapped(path, _content(path)).items():
        if isinstance(name, str) and name.isprintable() and isinstance(value, _PLAIN):
            plain.append(name)
            continue
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise RequestError(f"{path} holds a {type(value).__name__} under {name!r:.80}: expected named tensors only")
        _check_storage(path, name, value)
        weights[name] = value.detach()
    if not weights:
        raise RequestError(f"{path} holds no tensor, only {', '.join(plain[:10])}: expected a state dict")
    held, size = _num_bytes(weights.values()), path.stat().st_size
    if held > size:  # in the format before zip, the list of values may be missing at the end
        raise RequestError(f"{path} is truncated or damaged: its tensors have {held} bytes, the whole file {size}")
    if plain:
        warnings.warn(f"{path}: values that are no tensors are left out: {', '.join(plain[:10])}", stacklevel=3)
    return weights


def _content(path: Path) -> Any:
    try:
        # torch's own warnings are about its formats; given a name, not a file, it would go by how the name ends.
        with warnings.catch_warnings(action="ignore"), path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not any(sign in str(error) for sign in _FOREIGN_OBJECT):
            raise RequestError(f"{path} is not a readable checkpoint (it is truncated or damaged)") from None
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise RequestError(
            f"{path} holds Python objects other than tensors{f' ({found[1]})' if found else ''}: it could run anything and "
            "is not loaded; convert it in a sandbox to a safetensors file"
        ) from None
    except PermissionError as error:
        raise MachineError(f"cannot read {path}: {error.strerror}") from None
    except Exception as error:  # damaged files raise nearly every kind, OSError, KeyError and struct.error among them
        reason = f"it is truncated or damaged: {one_line(error)}"
        raise RequestError(f"{path} is not a readable checkpoint ({reason})") from None


def check_zip(path: Path, file: io.BufferedIOBase, size: int) -> None:
    """RequestError for an archive that torch would unpack to more than its `size`, and for no archive of weights."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except Exception:  # zipfile has many ways to fail on damaged bytes
        raise RequestError(f"{path} is not a checkpoint (it is truncated: its list of contents is missing)") from None
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise RequestError(f"{path} is a TorchScript program: expected its weights, as saved from its state_dict()")
    unpacked = sum(member.file_size for member in members)
    if unpacked > size:
        raise RequestError(
            f"{path} is refused: of {size} bytes, it expands to {unpacked}; torch never compresses its checkpoints"
        )


def _is_tar(path: Path) -> bool:
    """As torch will see it: torch unpacks a tar archive, links included, before it looks at anything inside."""
    try:
        with tarfile.open(path, "r:"):
            return True
    except Exception:  # and tarfile too
        return False


def _unwrapped(path: Path, content: Any) -> Mapping[Any, Any]:
    """The state dict inside what a training program has saved."""
    for _ in range(3):  # a crafted dictionary may hold itself
        inner = content if isinstance(content, Mapping) else {}
        wrapped = [key for key in _WRAPPERS if isinstance(inner.get(key), Mapping)]
        keys = [key for key in wrapped if _may_hold_weights(inner[key])]
        if len(keys) > 1:
            warnings.warn(f"{path} holds {' and '.join(keys)}: {keys[0]} is read", stacklevel=4)
        if not wrapped:
            break
        content = inner[(keys or wrapped)[0]]
        if copies := _copies(inner, content):
            warnings.warn(f"{path} holds weights under {' and '.join(copies)}, too, which are not read", stacklevel=4)
    if not isinstance(content, Mapping):
        raise RequestError(f"{path} holds a {type(content).__name__}: expected a state dict, from names to tensors")
    if not content:
        raise RequestError(f"{path} holds an empty dictionary: expected a state dict, from names to tensors")
    return content


def _may_hold_weights(content: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, Tensor) or (key in _WRAPPERS) for key, value in content.items())


def _copies(inner: Mapping[Any, Any], weights: Mapping[Any, Any]) -> list[str]:
    """The entries that hold other values of the same weights, such as a moving average of them, but no optimizer's state."""
    shapes = _shapes(weights, depth=1)
    others = [key for key in inner if key not in _WRAPPERS and not str(key).startswith("optim")]
    return [str(key) for key in others if shapes and _shapes(inner[key], depth=2) == shapes]


def _shapes(content: Any, depth: int) -> list[tuple[int, ...]]:
    return sorted(tuple(value.shape) for value in _tensors(content, depth) if value.dim() > 1)


def _tensors(content: Any, depth: int) -> Iterator[Tensor]:
    """The tensors in mappings and lists, so many of them one in another."""
    if isinstance(content, Tensor):
        yield content
    elif depth and isinstance(content, Mapping | list | tuple):
        for value in content.values() if isinstance(content, Mapping) else content:
            yield from _tensors(value, depth - 1)


def _num_bytes(weights: Iterable[Tensor]) -> int:
    """Of all values in memory, those that several tensors share counted once."""
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in weights}
    return sum(storages.values())


def _check_storage(path: Path, name: str, value: Tensor) -> None:
    """RequestError for a tensor that is not laid out plainly in memory, or has fewer numbers than its shape says."""
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        raise RequestError(f"{path}: {name!r} is sparse, quantized or without values: expected a plain tensor")
    claimed, held = value.numel() * value.element_size(), value.untyped_storage().nbytes()
    if claimed > held:
        raise RequestError(
            f"{path}: {name!r} of {list(value.shape)} claims {claimed} bytes, the file holds {held} of them"
        )
