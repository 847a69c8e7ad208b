"""The recurrent update operators: one step of refinement each, all behind the same two methods."""

import inspect
from typing import get_args

import torch

from flowgru.config.network import OptionValue
from flowgru.errors import RequestError, did_you_mean, one_line
from flowgru.operators.base import UpdateOperator
from flowgru.operators.conv_gru import ConvGRU
from flowgru.operators.conv_lstm import ConvLSTM
from flowgru.operators.conv_min_gru import ConvMinGRU
from flowgru.operators.conv_min_lstm import ConvMinLSTM
from flowgru.operators.conv_next import ConvNeXt
from flowgru.operators.conv_relu import ConvReLU
from flowgru.operators.min_gru import MinGRU
from flowgru.operators.seq_conv_gru import SeqConvGRU

STORED = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64}
"""The kinds of numbers in files of weights; int64 counts the batches that batch norm has seen."""

WRAPPERS = ("module", "_orig_mod")
"""Parts of names that DataParallel, AveragedModel and torch.compile put before the names of what they wrap."""

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
    """A new operator of that name and those widths in channels.

    RequestError for an option it does not have, for a width or value that it refuses, and where a file of weights could not
    hold it.
    """
    kind = find_operator(name)
    if unknown := options.keys() - option_names(name):
        known = ", ".join(option_names(name))
        theirs = f"its options are {known}" if known else "it has no options"
        raise RequestError(f"{name} has no option {min(unknown)!r}: {theirs}")
    try:
        operator = kind(hidden_size, motion_size, context_size, **options)
    except ValueError as error:
        raise RequestError(str(error)) from None
    except RuntimeError as error:
        if "meta" not in str(error):
            raise
        raise RequestError(
            f"{name} reads a tensor while it is made ({one_line(error, 100)}): its shapes must be known without values"
        ) from None
    if unfit := _unfit_part(operator):
        raise RequestError(f"{name} {unfit}")
    return operator


def _unfit_part(operator: UpdateOperator) -> str | None:
    """What of an operator would be refused in a file of weights."""
    for name, _ in operator.named_modules():
        if name.rpartition(".")[2] in WRAPPERS:
            return f"has a part named {name}: expected another name, for files of weights leave this one out"
    for name, value in operator.state_dict().items():
        if value.dtype not in STORED:
            return f"has a buffer {name} in {value.dtype}: expected floating point or int64, or persistent=False"
    return None


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
