"""The recurrent update operators: one step of refinement each, all behind the same two methods."""

import difflib

from flowgru.errors import RequestError
from flowgru.operators.base import UpdateOperator
from flowgru.operators.conv_gru import ConvGRU
from flowgru.operators.conv_min_gru import ConvMinGRU
from flowgru.operators.seq_conv_gru import SeqConvGRU

UPDATE_OPERATORS: dict[str, type[UpdateOperator]] = {
    "conv_gru": ConvGRU,
    "seq_conv_gru": SeqConvGRU,
    "conv_min_gru": ConvMinGRU,
}


def find_operator(name: str) -> type[UpdateOperator]:
    """The operator of that name. RequestError, with the nearest name, where there is none."""
    if name in UPDATE_OPERATORS:
        return UPDATE_OPERATORS[name]
    near = difflib.get_close_matches(name, UPDATE_OPERATORS, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise RequestError(f"unknown update operator {name!r}{hint} Known: {', '.join(UPDATE_OPERATORS)}")
