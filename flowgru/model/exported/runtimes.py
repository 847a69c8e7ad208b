"""An exported file, opened in the runtime that it is for."""

from pathlib import Path
from typing import Any

from flowgru.config.renamed import NamesOfToday
from flowgru.errors import RequestError, lacks_memory, one_line
from flowgru.files.json_text import parse_json
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
        card = parse_json(opened.card or "")
        export = card["export"]
        counts = (export["max_size"], 8), (card["iterations"], 1), (card.get("hold", 0), 0)
        sound = all(type(count) is int and least <= count < 2**31 for count, least in counts) and "network" in card
    except (ValueError, KeyError, TypeError, AttributeError):
        sound, card = False, {}
    if not sound:
        raise RequestError(
            f"{path} is not a model of flowgru's: its card is missing, or says no sense; make one with flowgru export"
        )
    with NamesOfToday(f"the card of {path}") as names:
        return opened, names.card(card)
