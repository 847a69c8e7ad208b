"""`flowgru evaluate --report`: one page that needs nothing from elsewhere."""

import re
from pathlib import Path

import pytest

from flowgru.cli import main
from flowgru.evaluation.measures.sections import shown, stored
from flowgru.view.report.named_lines import NamedLine, line_chart


def test_the_page_has_every_measure_and_the_worst_pairs(pairs, tmp_path):
    out = tmp_path / "out"
    small = ("--clip-size", "32x48", "--clip-frames", 9, "--reach-sizes", "32x48,64x96")
    asked = ("--corruptions", "fog,jpeg", "--trust", "--temporal", "--reach", "--time", "--report", *small)
    assert main(["evaluate", *map(str, (pairs, "--baseline", "farneback", *asked, "--output", out))]) == 0
    page = (out / "report.html").read_text("utf-8")
    titles = ["Errors", "Corruptions", "Trust", "Steadiness over time", "Reach", "Seconds of a pair"]
    assert re.findall("<h2>(.*?)</h2>", page) == [*titles, "The pairs with the largest errors"]
    assert page.count("data:image/svg+xml") == 6 and page.count("data:image/png") == 2
    assert "<script" not in page and not re.search(r'(src|href)="(?!data:)', page)
    for file in out.glob("*.csv"):
        assert file.stem in ("pairs", "corruptions", "trust_bins") or f"These numbers are in {file.name}." in page


def test_a_clip_has_a_page_without_errors(frames, tmp_path):
    out = tmp_path / "out"
    words = (frames, "--baseline", "zero", "--corruptions", "fog", "--report", "--output", out)
    assert main(["evaluate", *map(str, words)]) == 0
    assert "No true flow is known of this data" in (out / "report.html").read_text("utf-8")
    assert not Path(out / "worst").exists()


@pytest.mark.parametrize(
    "value, seen, kept",
    [
        (None, "-", ""),
        (float("nan"), "-", ""),
        (float("inf"), "NaN", "NaN"),
        (12345.678, "12,346", 12345.678),
        (0.0012345, "0.00123", 0.0012345),
        (0.0, "0.00", 0.0),
        (12, "12", 12),
        ("fog", "fog", "fog"),
    ],
)
def test_a_cell_as_it_is_seen_and_kept(value, seen, kept):
    assert (shown(value), stored(value)) == (seen, kept)


@pytest.mark.parametrize("unit, linear", [("[%]", True), ("[px]", False)])
def test_shares_stand_on_an_axis_that_has_a_zero(unit, linear):
    svg = line_chart([NamedLine("found", [1, 2, 3], [0.0, 1.0, 90.0])], "bin", f"error {unit}")
    assert ("<!-- 80 -->" in svg) is linear and ("<!-- 50 -->" in svg) is not linear


@pytest.mark.parametrize("ticks", [(), ("fog\udce9", "snow")])
def test_a_chart_shows_names_that_are_no_utf_8_with_escapes(ticks):
    lines = [NamedLine(name, [0, 1], [1.0, 2.0]) for name in ("caf\udce9", "walk")]
    assert line_chart(lines, "corruption", "distance [px]", ticks).encode().startswith(b"<svg")
