"""The checks of types at run time, without what they cost where no array is named."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import jaxtyping


def bind_shapes_only_where_arrays_are_named() -> None:
    """Makes jaxtyping's import hook check functions whose annotations name no array by the type checker alone.

    Both check the same of such a function; to bind the sizes of axes first takes 15 times as long as the check.
    """
    with_shapes = jaxtyping.jaxtyped

    def jaxtyped(checked: Any = None, *, typechecker: Callable[[Any], Any]) -> Any:
        if checked is None:
            return functools.partial(jaxtyped, typechecker=typechecker)
        if inspect.isfunction(checked) and not any(map(may_name_arrays, inspect.get_annotations(checked).values())):
            return typechecker(checked)
        return with_shapes(checked, typechecker=typechecker)

    jaxtyping.jaxtyped = jaxtyped


def may_name_arrays(annotation: Any) -> bool:
    """Whether a part of an annotation is an array of jaxtyping, or a name or list that may hold one."""
    if isinstance(annotation, (str, list)):
        return True
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return get_origin(annotation) is not Literal and any(map(may_name_arrays, get_args(annotation)))
