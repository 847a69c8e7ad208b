"""An exported file, opened in the runtime that it is for."""

import json
from pathlib import Path
from typing import Any

from flowgru.config.renamed import NamesOfToday
from flowgru.errors import RequestError, lacks_memory, one_line
from flowgru.model.exported.formats import Opened, format_of, missing_package


def open_file(path: Path) -> tuple[Opened, dict[str, Any]]:
    """The file in its runtime, and its card.

    RequestError where there is no such file, where its runtime is not installed, where it is damaged, or where
    `flowgru export` did not make it.
    """
    if not path.is_file():
        raise RequestError(f"there is no model file {path}: make one with flowgru export --output {path}")
    kind = format_of(path)
    assert kind is not None, "its name was looked at"
    try:
        opened = kind.open(path)
    except ModuleNotFoundError as error:
        raise missing_package(error.name or str(error)) from None
    except Exception as error:  # each runtime has kinds of its own for what is damaged
        if lacks_memory(error):
            raise
        raise RequestError(f"{path} is not a readable {path.suffix} model ({one_line(error)})") from None
    try:
        card = json.loads(opened.card or "")
        export = card["export"]
        counts = export["max_size"], card["iterations"], card.get("hold", 0)
        sound = all(isinstance(count, int) for count in counts) and card["network"]
    except (ValueError, KeyError, TypeError, RecursionError):
        sound, card = False, {}
    if not sound:
        raise RequestError(f"{path} is not a model of flowgru's: its card is missing; make one with flowgru export")
    with NamesOfToday(f"the card of {path}") as names:
        return opened, names.card(card)
