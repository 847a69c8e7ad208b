"""JSON and YAML of strangers are read within bounds: nothing is expanded, nested or repeated without a limit."""

import json
import math

import pytest

from flowgru.errors import RequestError
from flowgru.files.json_text import json_text, parse_json
from flowgru.files.yaml_text import check_yaml_file


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, "[" * 101 + "]" * 101])
def test_json_that_is_nested_too_deeply_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_brackets_in_texts_are_no_nesting():
    values = {"a": "[" * 1000, "b": '"{' * 500, "größe": [[[]]]}
    assert parse_json(json.dumps(values).encode()) == values
    with pytest.raises(ValueError):
        parse_json(b"\xff\xfe{}")


@pytest.mark.parametrize("end", ["", "\\"])
def test_a_text_without_an_end_is_looked_through_once(end):
    """Looked through again from each of its quotes, this one would take an hour."""
    with pytest.raises(ValueError):
        parse_json('["' + '\\"' * 500_000 + end)


def test_a_number_that_is_not_finite_is_null():
    written = json_text({"a": [math.nan, (1.5, -math.inf)], "b": {"c": math.inf}, "d": 1}, indent=None)
    assert written == '{"a": [null, [1.5, null]], "b": {"c": null}, "d": 1}'


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"b{n}: &b{n} [{','.join([f'*{before}'] * 9)}]\n" for n, before in enumerate(["a", *(f"b{n}" for n in range(8))])
)

BAD_YAML = {
    BOMB: "more than 20000 values, aliases expanded",
    "sets: &a [*a, *a]\n": "the alias *a stands inside what it stands for",
    "a: &a {b: [*a]}\n": "the alias *a stands inside",
    b"steps: \xff\xfe": "can't decode",
    "[" * 5000: ("nest", "more than 50 deep"),  # newer versions of libyaml have a limit of their own
    "a: " + "{a: " * 60 + "1" + "}" * 60: "more than 50 deep",
    "steps: 3\nseed: 1\nsteps: 4\n": "line 3: steps is there twice",
    "network:\n  operator: a\n  operator: b\n": "line 3: operator is there twice",
    "": "expected a mapping",
    "[1, 2]": "expected a mapping",
    "a: *b\n": "line 1: found undefined alias",
    "a: 1\n---\nb: 2\n": "another document",
    "a: " + "x" * 2**20: "more than 1048576 bytes",
}


@pytest.mark.parametrize("text", BAD_YAML, ids=lambda text: repr(text[:12]))
def test_a_bad_yaml_file_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RequestError) as caught:
        check_yaml_file(path)
    reasons = BAD_YAML[text] if isinstance(BAD_YAML[text], tuple) else (BAD_YAML[text],)
    said = str(caught.value)
    assert str(path) in said and any(reason in said for reason in reasons) and "\n" not in said


def test_aliases_that_stay_small_are_taken(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {b: 1, c: [1, 2]}\nd: *a\ne: {<<: *a, b: 2}\nf: null\n")
    assert check_yaml_file(tmp_path / "a.yaml") == {"a": True, "d": True, "e": True, "f": False}
