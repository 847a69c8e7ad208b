"""The recurrent update operators: one step of refinement each, all behind the same two methods."""

import inspect
from typing import get_args

from flowgru.config.network import OptionValue
from flowgru.errors import RequestError, did_you_mean
from flowgru.operators.base import UpdateOperator
from flowgru.operators.conv_gru import ConvGRU
from flowgru.operators.conv_lstm import ConvLSTM
from flowgru.operators.conv_min_gru import ConvMinGRU
from flowgru.operators.conv_min_lstm import ConvMinLSTM
from flowgru.operators.conv_next import ConvNeXt
from flowgru.operators.conv_relu import ConvReLU
from flowgru.operators.min_gru import MinGRU
from flowgru.operators.seq_conv_gru import SeqConvGRU

UPDATE_OPERATORS: dict[str, type[UpdateOperator]] = {
    "conv_gru": ConvGRU,
    "seq_conv_gru": SeqConvGRU,
    "conv_min_gru": ConvMinGRU,
    "min_gru": MinGRU,
    "conv_min_lstm": ConvMinLSTM,
    "conv_lstm": ConvLSTM,
    "conv_relu": ConvReLU,
    "conv_next": ConvNeXt,
}


def find_operator(name: str) -> type[UpdateOperator]:
    """The operator of that name. RequestError, with the nearest name, where there is none."""
    if name in UPDATE_OPERATORS:
        return UPDATE_OPERATORS[name]
    hint = did_you_mean(name, UPDATE_OPERATORS)
    raise RequestError(f"unknown update operator {name!r}: {hint}known are {', '.join(UPDATE_OPERATORS)}")


def make_operator(
    name: str, hidden_size: int, motion_size: int, context_size: int, **options: OptionValue
) -> UpdateOperator:
    """A new operator of that name and those widths in channels. RequestError for an option it does not have, or a width
    or value that it refuses."""
    kind = find_operator(name)
    if unknown := options.keys() - option_names(name):
        known = ", ".join(option_names(name))
        theirs = f"its options are {known}" if known else "it has no options"
        raise RequestError(f"{name} has no option {min(unknown)!r}: {theirs}")
    try:
        return kind(hidden_size, motion_size, context_size, **options)
    except ValueError as error:
        raise RequestError(str(error)) from None


def option_names(name: str) -> list[str]:
    """The options of the operator of that name: the keyword-only arguments of its class."""
    parameters = inspect.signature(find_operator(name)).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def operator_variants() -> dict[str, tuple[str, dict[str, OptionValue]]]:
    """Every operator as it is, and with each other value of every option alone: label -> (operator, options).

    The values of an option are those of its annotation: a Literal's, or false and true.
    """
    variants: dict[str, tuple[str, dict[str, OptionValue]]] = {}
    for name, kind in UPDATE_OPERATORS.items():
        variants[name] = (name, {})
        for option in option_names(name):
            parameter = inspect.signature(kind).parameters[option]
            for value in (False, True) if parameter.annotation is bool else get_args(parameter.annotation):
                if value != parameter.default:
                    variants[f"{name} {option}={str(value).lower()}"] = (name, {option: value})
    return variants
