"""The words of a command line, as they are brought into the form that jsonargparse reads."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

SWITCH_WITH_NAME = bool | str
"""The type of a switch that may be followed by the name of a picture: --video, --video flow.gif, --no-video."""

_NAME = re.compile(r"[^-/\\][^/\\]*\.(gif|webp)", re.IGNORECASE)
"""The name of an animated picture without a folder: a video file behind a switch is an input, as it always was."""


def with_switches_named(words: Sequence[str], types: Mapping[str, Any]) -> list[str]:
    """The words, with `--video=true` for a mere switch that may have a name, `--video=flow.gif` for one that is named."""
    switches = {f"--{name.replace('_', '-')}": True for name, hint in types.items() if hint == SWITCH_WITH_NAME}
    switches |= {switch.replace("--", "--no-", 1): False for switch in switches}
    found: list[str] = []
    takes_name = False
    for word in words:
        if takes_name and _NAME.fullmatch(word):
            found[-1] = f"{found[-1].partition('=')[0]}={word}"
        else:
            found.append(word if word not in switches else f"--{word[2:].removeprefix('no-')}={switches[word]}".lower())
        takes_name = switches.get(word, False)
    return found


def with_files_first(words: list[str]) -> list[str]:
    """The words with each --config FILE before all others: an option is more than a file says, wherever it stands."""
    ends = words.index("--") if "--" in words else len(words)
    before, files, others = words[:ends], list[str](), list[str]()
    while before:
        word = before.pop(0)
        if word == "--config" and before:
            files += [word, before.pop(0)]
        else:
            (files if word.startswith("--config=") else others).append(word)
    return [*files, *others, *words[ends:]]
