"""Names in a comparison's report are shown as they are: no formula, HTML, Markdown or escape sequence in them is obeyed."""

import pytest
from comparisons import write_comparison

from flowgru.comparison.report.page import _markdown_text, write_report
from flowgru.comparison.results import read_results
from flowgru.errors import InputFileError

NAMES = ("$x^$", "<b>bold</b>", "[a](http://b) *c* `d` |", "e\x1b[2J\u202e\udcfff")


def test_no_name_is_obeyed(tmp_path):
    write_comparison(tmp_path, rows=NAMES, regimes=("equal_width",), seeds=(0,), sets=("synthetic", "m/<i>$^$<i>.csv"))
    page, table = (path.read_text("utf-8") for path in write_report(tmp_path))
    assert "&lt;b&gt;bold&lt;/b&gt;" in page and "<b>bold" not in page and "<i>" not in page
    assert "\x1b" not in page + table and "\u202e" not in page + table and "e\\x1b[2J\\u202e" in page
    for shown in (
        r"\$x^\$",
        "&lt;b&gt;bold&lt;/b&gt;",
        r"\[a\](http://b) \*c\* \`d\` \|",
        r"e\\x1b\[2J\\u202e\\udcfff",
    ):
        assert f"| {shown} |" in table


@pytest.mark.parametrize(
    ("sets", "shown"),
    [
        (("/some/where/a/manifest.csv", "/some/where/b/manifest.csv"), ("a/manifest.csv", "b/manifest.csv")),
        (("my/sets/pairs.csv", "my/sets/pairs.csv from dis"), ("pairs.csv", "pairs.csv from dis")),
        (("/sets/b/x.csv", "/sets/ab/x.csv from dis"), ("b/x.csv", "ab/x.csv from dis")),
        (("/sets/b/x.csv", "/sets/ab/x.csv"), ("b/x.csv", "ab/x.csv")),
        (("x.csv", "a/x.csv"), ("x.csv", "a/x.csv")),
        (("kitti2015", "kitti2015 from dis"), ("kitti2015", "kitti2015 from dis")),
    ],
)
def test_manifests_go_by_the_end_of_their_paths(tmp_path, sets, shown):
    write_comparison(tmp_path, rows=("a",), regimes=("equal_width",), seeds=(0,), sets=("synthetic", *sets))
    assert read_results(tmp_path).sets[0] == "synthetic" and {*read_results(tmp_path).sets[1:]} == {*shown}


def test_plain_words_of_a_table_stay_as_they_are():
    assert _markdown_text("conv_min_gru 1.25 ± 0.03\n(−2 %)") == "conv_min_gru 1.25 ± 0.03 (−2 %)"
    assert _markdown_text("_a_ b_") == r"\_a\_ b\_"


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"rows": ' + '{"a":' * 200 + "1" + "}" * 201, b"\xff{}".decode("latin-1")]
)
def test_a_comparison_json_of_a_stranger_is_one_line(tmp_path, text):
    write_comparison(tmp_path, rows=("a",), regimes=("equal_width",), seeds=(0,))
    (tmp_path / "comparison.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputFileError, match=r"comparison.json is no JSON"):
        read_results(tmp_path)
