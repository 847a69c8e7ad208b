"""YAML files of settings, looked through before anything in them is expanded."""

import re
from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from flowgru.errors import RequestError, one_line

MAX_BYTES = 2**20
"""Of a file of settings; a larger one is refused."""
MAX_NODES = 20_000
"""Values, lists and mappings of a file, each alias counted with all that it stands for."""
MAX_DEPTH = 50
"""Lists and mappings inside each other."""

BASE_60 = r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"
"""A number that YAML 1.1 reads in base 60, 1:30 as 90."""

_NULL = "tag:yaml.org,2002:null"

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_yaml_file(path: Path, texts: Collection[str] = ()) -> dict[str, bool]:
    """The settings that a YAML file names, and whether it gives each a value.

    texts: dotted names of the settings that are texts. RequestError where it is no mapping of settings, in UTF-8, each of
    them once, that stays small when its aliases are expanded; and where another setting is a number in base 60.
    """
    if path.exists() and not path.is_file():  # reading a pipe could wait for ever
        raise RequestError(f"{path} is no plain file: expected a YAML file of settings")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise RequestError(f"{path} has more than {MAX_BYTES} bytes: expected a YAML file of settings")
    try:
        text = data.decode("utf-8")
        check_extent(text)
        root = yaml.compose(text, _Loader)
        if not isinstance(root, yaml.MappingNode):
            raise ValueError("expected a mapping, one line `name: value` for each setting")
        _check_keys(root)
        _check_groups(root)
        _check_base_60(root, texts, "")
        entries = _entries(root)
    except (ValueError, yaml.YAMLError) as error:
        raise RequestError(f"{path} is no YAML file of settings: {_reason(error)}") from None
    return {name: value.tag != _NULL for name, value in entries.items()}


def _reason(error: Exception) -> str:
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    return one_line(error) if problem is None or mark is None else f"line {mark.line + 1}: {problem}"


def check_extent(text: str) -> None:
    """ValueError where aliases stand for themselves, or for more nodes than MAX_NODES in all, or nest too deeply."""
    sizes: dict[str, int] = {}
    """The number of nodes that an anchor stands for, once its node has ended."""
    open_nodes: list[list[Any]] = [[None, 0]]
    """The anchor of each node that has begun, and how many nodes are in it so far."""
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append([event.anchor, 1])
            size = 0
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
            sizes[anchor] = size
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in open_nodes):
                raise ValueError(f"the alias *{event.anchor} stands inside what it stands for")
            size = sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
            sizes[event.anchor] = 1
        else:
            size = 0
        open_nodes[-1][1] += size
        if len(open_nodes) > MAX_DEPTH:
            raise ValueError(f"lists and mappings lie more than {MAX_DEPTH} deep in each other")
        if sum(num for _, num in open_nodes) > MAX_NODES:
            raise ValueError(f"it has more than {MAX_NODES} values, aliases expanded")


def with_texts_of_numbers(text: str, value: Any, names: Collection[str]) -> Any:
    """The value that YAML text stands for, with the text itself in place of each number or date that some settings have.

    PyYAML reads 010 as 8, as YAML 1.1 has it; here it is 10, as on the command line.
    names: the dotted names of the settings; those of the mappings in a list begin with the name of the list.
    """
    return _with_texts(value, yaml.compose(text, _Loader), names, "")


def _with_texts(value: Any, node: yaml.Node | None, names: Collection[str], name: str) -> Any:
    if isinstance(value, dict) and isinstance(node, yaml.MappingNode):
        inside = _entries(node)
        begin = f"{name}." if name else ""
        return {key: _with_texts(inner, inside.get(key), names, f"{begin}{key}") for key, inner in value.items()}
    if isinstance(value, list) and isinstance(node, yaml.SequenceNode):
        return [_with_texts(inner, entry, names, name) for inner, entry in zip(value, node.value, strict=True)]
    is_number = isinstance(value, int | float | date) and not isinstance(value, bool)
    if not is_number or not isinstance(node, yaml.ScalarNode):
        return value
    if name.replace("-", "_") in names:
        return node.value
    if not isinstance(value, date) and re.fullmatch(BASE_60, node.value):
        raise ValueError(f"{node.value} is read in base 60 by YAML: write a number")
    return int(node.value) if isinstance(value, int) and re.fullmatch(r"-?0[0-7]+", node.value) else value


def _entries(mapping: yaml.MappingNode) -> dict[str, yaml.Node]:
    """The nodes of a mapping by their keys, with those of the mappings that << merges into it, as PyYAML merges them."""
    yaml.constructor.SafeConstructor().flatten_mapping(mapping)
    return {str(key.value): node for key, node in mapping.value}


def _check_groups(mapping: yaml.MappingNode) -> None:
    """ValueError where a setting is given in two ways, of which a reader would silently take one."""
    inside = _entries(mapping)
    lines = {str(key.value): key.start_mark.line + 1 for key, _ in mapping.value}
    spelled: dict[str, str] = {}
    for name in inside:
        before = spelled.setdefault(name.replace("-", "_"), name)
        if before != name:
            raise ValueError(f"line {lines[name]}: {name} and {before} are one setting, give it once")
    for name in inside:
        parts = name.replace("-", "_").split(".")
        for end in range(1, len(parts)):
            if (group := ".".join(parts[:end])) in spelled:
                raise ValueError(f"line {lines[name]}: {name} stands beside {spelled[group]}, give it inside")
    for node in inside.values():
        if isinstance(node, yaml.MappingNode):
            _check_groups(node)


def _check_base_60(node: yaml.Node, texts: Collection[str], name: str) -> None:
    """ValueError for 1:30 where no text is expected, in quotes too: what reads numbers takes it for 90."""
    if isinstance(node, yaml.MappingNode):
        begin = f"{name}." if name else ""
        for key, value in _entries(node).items():
            _check_base_60(value, texts, f"{begin}{key}".replace("-", "_"))
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            _check_base_60(entry, texts, name)
    elif isinstance(node, yaml.ScalarNode) and name not in texts and re.fullmatch(BASE_60, node.value.strip()):
        raise ValueError(
            f"line {node.start_mark.line + 1}: {name} is {node.value}, which YAML reads in base 60: write a number"
        )


def _check_keys(root: yaml.Node) -> None:
    """ValueError where a mapping has a key twice, of which a reader would silently take the last."""
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if not isinstance(node, yaml.MappingNode):
            waiting += node.value
            continue
        keys = set[str]()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in keys:
                raise ValueError(f"line {key.start_mark.line + 1}: {key.value} is there twice, give it once")
            keys.add(str(key.value))
            waiting += [key, value]
