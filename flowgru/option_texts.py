"""What a command's help says of its options: the docstrings of a task and of its settings."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator


def field_texts(settings: type) -> Iterator[tuple[str, str]]:
    """The docstring under each field of a dataclass, and of those that it is made of."""
    for base in reversed(settings.__mro__[:-1]):  # the last one is object
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                yield field.target.id, inspect.cleandoc(ast.literal_eval(text.value)).replace("%", "%%")


def parameter_text(description: str, name: str) -> str:
    """What a docstring says of a parameter, in a paragraph or line `name: text`."""
    found = re.search(rf"^ *{name}: (.*(?:\n(?! *\w+: ).+)*)", description, re.MULTILINE)
    return " ".join(found[1].split()).replace("%", "%%") if found else ""
