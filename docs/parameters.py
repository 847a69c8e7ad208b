"""Lets the reference begin a paragraph with each parameter that a docstring explains as `name: what it is`."""

import re
from typing import Any

import griffe


class ParameterParagraphs(griffe.Extension):
    """Changes docstrings as mkdocstrings reads them; mkdocs.yml names this file."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        if func.docstring is not None:
            name = "|".join(re.escape(parameter.name) for parameter in func.parameters)
            explained = re.compile(rf"^((?:{name})(?:, (?:{name}))*): ", re.MULTILINE)
            func.docstring.value = explained.sub(r"\n**`\1`**: ", func.docstring.value)
