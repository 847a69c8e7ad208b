"""What all error texts share: the nearest name, and another library's words in one line."""

import re

import pytest
from paths import ROOT

from flowgru.errors import did_you_mean, first_line, nearest, one_line, sides, size_text, value_text

NAMES = ("conv_gru", "seq_conv_gru", "Sintel")


@pytest.mark.parametrize(
    ("name", "near"), [("conv_gruu", "conv_gru"), ("SeqConvGRU", "seq_conv_gru"), ("sintle", "Sintel"), ("zzz", None)]
)
def test_the_nearest_name_is_found_in_whatever_case(name, near):
    assert nearest(name, NAMES) == near
    assert did_you_mean(name, NAMES) == ("" if near is None else f"did you mean {near!r}? ")


def test_a_name_that_holds_the_given_one_is_meant_where_none_is_spelled_alike():
    assert did_you_mean("flip", ["height", "inner.horizontal_flip"]) == "did you mean 'inner.horizontal_flip'? "
    assert did_you_mean("inner.flip", ["horizontal_flip"]) == "did you mean 'horizontal_flip'? "
    assert did_you_mean("ip", ["horizontal_flip"]) == did_you_mean("fog", ["horizontal_flip"]) == ""


def test_an_error_becomes_one_line_of_limited_length():
    error = ValueError("a  bad\nthing\r\n" + "x" * 300)
    assert one_line(error) == "a bad thing " + "x" * 188 and one_line(error, 5) == "a bad"
    assert first_line(error) == "a bad" and first_line(error, 1) == "a"
    assert one_line(KeyboardInterrupt()) == first_line(KeyboardInterrupt()) == "KeyboardInterrupt"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["clip"], "clip"),
        (("a", "b"), "a, b"),
        ((), "nothing"),
        (None, "not given"),
        (True, "true"),
        ({"dis": 0.5, "sizes": (1, 2)}, "dis: 0.5, sizes: 1, 2"),
        (0, "0"),
        ("", ""),
    ],
)
def test_a_value_is_shown_without_pythons_brackets(value, text):
    assert value_text(value) == text


def test_a_size_is_height_and_width_and_says_so():
    assert sides((480, 640, 3)) == "480x640" and size_text((480, 640)) == "480x640 px (height x width)"


def test_sizes_are_written_in_one_place():
    """Nothing else puts a width before a height, or a height before a width, into a line."""
    pattern = r"\{[\w.]*(width|height|size\[\d\]|shape\[\d\])\}x\{"
    having = [path.name for path in (ROOT / "flowgru").rglob("*.py") if re.search(pattern, path.read_text("utf-8"))]
    assert having == ["errors.py"]


@pytest.mark.parametrize("copied", [r"difflib", r"join\(str\(error\)\.split", r"str\(error\).*splitlines\(\)"])
def test_nothing_else_finds_names_or_shortens_errors_by_itself(copied):
    having = [path.name for path in (ROOT / "flowgru").rglob("*.py") if re.search(copied, path.read_text("utf-8"))]
    assert having == ["errors.py"]
