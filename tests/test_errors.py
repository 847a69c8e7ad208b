"""What all error texts share: the nearest name, and another library's words in one line."""

import re

import pytest
from paths import ROOT

from flowgru.errors import did_you_mean, first_line, nearest, one_line

NAMES = ("conv_gru", "seq_conv_gru", "Sintel")


@pytest.mark.parametrize(
    ("name", "near"), [("conv_gruu", "conv_gru"), ("SeqConvGRU", "seq_conv_gru"), ("sintle", "Sintel"), ("zzz", None)]
)
def test_the_nearest_name_is_found_in_whatever_case(name, near):
    assert nearest(name, NAMES) == near
    assert did_you_mean(name, NAMES) == ("" if near is None else f"did you mean {near!r}? ")


def test_an_error_becomes_one_line_of_limited_length():
    error = ValueError("a  bad\nthing\r\n" + "x" * 300)
    assert one_line(error) == "a bad thing " + "x" * 188 and one_line(error, 5) == "a bad"
    assert first_line(error) == "a bad" and first_line(error, 1) == "a"
    assert one_line(KeyboardInterrupt()) == first_line(KeyboardInterrupt()) == "KeyboardInterrupt"


@pytest.mark.parametrize("copied", [r"difflib", r"join\(str\(error\)\.split", r"str\(error\).*splitlines\(\)"])
def test_nothing_else_finds_names_or_shortens_errors_by_itself(copied):
    having = [path.name for path in (ROOT / "flowgru").rglob("*.py") if re.search(copied, path.read_text("utf-8"))]
    assert having == ["errors.py"]
