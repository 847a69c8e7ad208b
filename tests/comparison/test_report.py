"""The report of a comparison says what was measured, what is missing, and no more than the seeds support."""

import math
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from comparisons import ROWS, write_comparison
from interpreter import run_alone
from PIL import Image

from flowgru import cli
from flowgru.comparison.measurements import Measurement, read_measurements, write_measurements
from flowgru.comparison.report.page import write_report
from flowgru.comparison.report.text import Verdict, beyond_training, estimate_text, number_text
from flowgru.comparison.results import read_results
from flowgru.comparison.statistics import Estimate, mean_interval
from flowgru.errors import InputFileError
from flowgru.view.report import charts

TWO = ("conv_gru", "conv_min_gru")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def report_folder(tmp_path_factory) -> Path:
    """The report of 13 rows in two regimes, not quite finished."""
    folder = tmp_path_factory.mktemp("comparison")
    unmeasured = (("conv_next", 2), ("min_gru", None))
    write_comparison(folder, sets=("synthetic",), unmeasured=unmeasured, diverged=(("conv_lstm", 1),))
    paths = write_report(folder)
    assert paths == [folder / "report.html", folder / "table.md"]
    return folder


def small(folder: Path, **changes) -> str:
    """The page of two rows in one regime."""
    write_comparison(folder, **{"rows": TWO, "regimes": ("equal_width",), "sets": ("synthetic",), **changes})
    write_report(folder)
    return (folder / "report.html").read_text("utf-8")


@pytest.fixture
def without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts take longer than the text beside them."""
    monkeypatch.setattr(charts, "svg_of", lambda draw: "<svg></svg>")


def words(page: str) -> str:
    """The text that a page shows, without its tags."""
    body = page.partition("<body>")[2]
    return " ".join(re.sub(r"<[^>]*>", " ", body).replace("&#x27;", "'").split())


def cells(page: str, caption: str) -> dict[str, list[str]]:
    """The cells of the first table whose caption begins so, by their row's heading."""
    for table in re.findall(r"<table.*?</table>", page, re.DOTALL):
        root = ElementTree.fromstring(table)
        if "".join(root.find("caption").itertext()).startswith(caption):  # pyright: ignore[reportOptionalMemberAccess]
            texts = [[" ".join("".join(cell.itertext()).split()) for cell in row] for row in root.iter("tr")]
            return {name: rest for name, *rest in texts}
    raise AssertionError(f"no table {caption!r}")


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(report_folder):
    page = (report_folder / "report.html").read_text("utf-8")
    assert "<script" not in page and "<link" not in page and "@import" not in page and "url(" not in page
    assert set(re.findall(r'(?:src|href|data|action)="([^,"]*)', page)) == {"data:image/svg+xml;base64"}
    assert not re.search(r"\son\w+=", page) and "http" not in page.replace("http-equiv", "")


def test_every_row_of_every_regime_has_its_numbers(report_folder):
    page = (report_folder / "report.html").read_text("utf-8")
    for title in ("Equal width", "Equal parameters"):
        table = cells(page, f"{title}: cost and error")
        assert list(table) == ["row", *ROWS]
        assert all(len(row) == len(table["row"]) for row in table.values())
    row = cells(page, "Equal width: cost")["conv_gru"]
    measured = {
        (m.measure, m.set, m.iterations, m.seed): m.value
        for m in read_measurements(report_folder / "measurements.csv")
        if (m.regime, m.row) == ("equal_width", "conv_gru")
    }
    assert row[0] == "1,200,000"
    assert row[1] == number_text(measured["multiply_adds", "", None, None] / 1e9)
    assert row[2] == number_text(measured["ms_per_step", "", None, None])
    assert row[3] == number_text(measured["ms_per_pair", "", 12, None])
    errors = [measured["epe_per_image", "synthetic", 12, seed] for seed in (0, 1, 2)]
    assert row[5] == str(estimate_text(mean_interval(errors)))


def test_a_difference_is_paired_by_seed_and_counted(report_folder):
    page = (report_folder / "report.html").read_text("utf-8")
    assert "66 compared" in words(page) and "Holm's correction for being so many" in words(page)
    results = read_results(report_folder)
    first, second = (
        results.by_seed("equal_width", row, "synthetic", 12) for row in ("conv_gru_reset_after", "conv_gru")
    )
    mean, half, _ = estimate_text(mean_interval([first[seed] - second[seed] for seed in (0, 1, 2)]), "+")
    assert cells(page, "Below the diagonal: EPE per image on synthetic")["conv_gru_reset_after"][0] == mean + half


def test_what_is_missing_or_diverged_is_said(report_folder):
    text = words((report_folder / "report.html").read_text("utf-8"))
    assert (
        "Missing at equal width: parameters, multiply_adds, ms_per_step, ms_per_training_step, peak_mib: min_gru"
        in text
    )
    assert "errors with seed 2: conv_next" in text
    assert "because a seed of one of the two diverged: 12" in text
    assert "Left out, because they diverged or are not measured: conv_lstm and min_gru" in text
    table = cells((report_folder / "report.html").read_text("utf-8"), "Equal width: cost")
    assert table["conv_lstm"][5] == "diverged in 1 of 3" and table["conv_next"][5].endswith("(n = 2)")
    assert table["min_gru"][:5] == ["–"] * 5


def test_the_markdown_table_has_one_line_a_row(report_folder):
    text = (report_folder / "table.md").read_text("utf-8")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) == 2 * (2 + len(ROWS)) and len({line.count("|") for line in tables}) == 1
    assert sum(line.startswith("| conv_min_gru_no_scan |") for line in tables) == 2


def test_one_seed_prints_no_interval_and_says_so(tmp_path, without_charts):
    page = small(tmp_path, seeds=(0,))
    assert "There is one seed, so nothing here has an interval" in words(page)
    assert "±" not in page and "±" not in (tmp_path / "table.md").read_text("utf-8")
    assert "1, without interval" in words(page)


def test_the_same_folder_gives_the_same_page(tmp_path):
    page = small(tmp_path)
    write_report(tmp_path)
    assert (tmp_path / "report.html").read_text("utf-8") == page
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "comparison.json", "measurements.csv", "report.html", "table.md",
    ]  # fmt: skip


def test_a_comparison_of_which_only_costs_are_known_has_a_page(tmp_path):
    page = small(tmp_path, unmeasured=tuple((row, seed) for row in TWO for seed in (0, 1, 2)))
    assert "errors with seed 0, 1, 2: conv_gru and conv_min_gru" in words(page) and "There is no error yet" in words(
        page
    )


def test_rows_that_all_diverged_have_a_page(tmp_path):
    write_comparison(tmp_path, rows=TWO, regimes=("equal_width",), sets=("synthetic",))
    lines = read_measurements(tmp_path / "measurements.csv")
    bad = [m._replace(value=math.inf if m.iterations == 32 else math.nan) for m in lines if m.seed is not None]
    write_measurements(tmp_path / "measurements.csv", [*(m for m in lines if m.seed is None), *bad])
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert cells(page, "Equal width: cost")["conv_gru"][5:] == ["diverged in 3 of 3", "diverged in training"]


def test_names_are_text_and_never_markup(tmp_path):
    write_comparison(tmp_path, rows=TWO, regimes=("equal_width",), sets=("synthetic",), seeds=(0,))
    lines = read_measurements(tmp_path / "measurements.csv")
    evil = [m._replace(row="<script>|x" if m.row == "conv_gru" else m.row) for m in lines]
    write_measurements(tmp_path / "measurements.csv", evil)
    write_report(tmp_path)
    assert "<script" not in (tmp_path / "report.html").read_text("utf-8")
    assert "| &lt;script&gt;\\|x |" in (tmp_path / "table.md").read_text("utf-8")


def test_every_set_has_its_errors_beside_those_of_zero_flow(tmp_path, without_charts):
    page = small(tmp_path, sets=("synthetic", "streets"))
    table = cells(page, "EPE per image [px]; the lowest mean")
    assert list(table) == ["row", *TWO, "zero flow"] and table["zero flow"] == ["24.3", "22.3"]
    assert (
        "EPE per image on streets [px] after so many refinements" in page
        and "guesses no motion, is 24.3 px" in words(page)
    )
    assert cells(page, "Equal width: cost")["conv_gru"][5:7] == table["conv_gru"]


@pytest.mark.parametrize(
    "mean, half, texts",
    [
        (5.21349, 0.04099, ("5.213", "± 0.041")),
        (5.21349, 0.31, ("5.21", "± 0.31")),
        (5.21349, 0.0996, ("5.21", "± 0.10")),
        (123.4, 45.0, ("123", "± 45")),
        (1234.0, 561.0, ("1,230", "± 560")),
        (-0.0004, 0.26, ("0.00", "± 0.26")),
        (-1.5, 0.26, ("−1.50", "± 0.26")),
        (2.5, 0.0, ("2.50", "± 0")),
        (2.51234, None, ("2.51", "")),
        (3e9, 4e8, ("3.0e+09", "± 4.0e+08")),
    ],
)
def test_digits_follow_the_interval(mean, half, texts):
    assert estimate_text(Estimate(mean, half, 1 if half is None else 3, 0))[:2] == texts


@pytest.mark.parametrize(
    "errors, verdict",
    [
        ({4: 9.0, 6: 5.0, 12: 4.0, 32: 4.7}, "helps (−6 %)"),
        ({6: 5.0, 12: 4.0, 32: 5.2}, "flat (+4 %)"),
        ({6: 5.0, 12: 4.0, 32: 5.4}, "diverges (+8 %)"),
        ({4: 5.0, 8: 4.0}, "helps (−20 %)"),
        ({6: 5.0, 32: math.nan}, "diverges"),
        ({6: 5.0, 12: math.inf, 32: 4.0}, "diverges"),
        ({6: math.nan, 32: 4.0}, "diverged in training"),
        ({6: 5.0}, "–"),
        ({8: 5.0, 32: 4.0}, "–"),
    ],
)
def test_more_refinements_help_or_not_by_the_stated_rule(errors, verdict):
    estimates = {number: mean_interval([error, error]) for number, error in errors.items()}
    assert str(beyond_training(estimates, 6)) == verdict
    assert beyond_training(estimates, None) == Verdict("unknown") and str(Verdict("unknown")) == "–"


@pytest.mark.parametrize(
    "damage, said",
    [
        (
            lambda folder: (folder / "measurements.csv").unlink(),
            "has no measurements.csv: expected the --output folder",
        ),
        (lambda folder: (folder / "comparison.json").unlink(), "has no comparison.json: expected the --output folder"),
        (lambda folder: (folder / "comparison.json").write_text("{"), "comparison.json is no JSON"),
        (lambda folder: (folder / "comparison.json").write_bytes(b"\xff\xff"), "comparison.json is no JSON"),
        (lambda folder: (folder / "comparison.json").write_text("[1]"), "has no rows by regime and name"),
        (lambda folder: (folder / "comparison.json").write_text('{"rows": {"a": [1]}}'), "has no rows by regime"),
        (
            lambda folder: append(folder, "equal_width,conv_gru,0,epe,s,12,,wrong"),
            "is no measurement, expected regime,row",
        ),
        (
            lambda folder: append(folder, "equal_width,conv_gru,0,ep"),
            "line 100: 'equal_width,conv_gru,0,ep' is no measure",
        ),
        (lambda folder: append(folder, '"never closed'), "measurements.csv, line 100: unexpected end of data"),
        (lambda folder: (folder / "measurements.csv").write_bytes(b"\xff"), "is no CSV in UTF-8"),
        (
            lambda folder: (folder / "measurements.csv").write_text("a,b\n"),
            "begins with 'a,b': expected regime,row,seed",
        ),
        (lambda folder: write_measurements(folder / "measurements.csv", []), "holds no measurement yet"),
    ],
)
def test_a_damaged_folder_is_one_line_and_exit_code_3(tmp_path, monkeypatch, capsys, damage, said):
    line = Measurement("equal_width", "conv_gru", 0, "epe_per_image", "synthetic", 12, None, 1.0)
    write_measurements(tmp_path / "measurements.csv", [line] * 98)
    (tmp_path / "comparison.json").write_text('{"rows": {}}')
    damage(tmp_path)
    with pytest.raises(InputFileError, match=re.escape(said)):
        write_report(tmp_path)
    assert run(tmp_path, monkeypatch) == 3
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error


def test_a_missing_package_is_named_with_its_extra(tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from flowgru import cli\n"
        "cli.COMMANDS['report'] = cli.Command('flowgru.comparison.report.page', 'write_report', '')\n"
        f"sys.exit(cli.main(['report', '--folder', {str(tmp_path)!r}]))"
    )
    ended = run_alone(code)
    said = ended.stderr.splitlines()[0]  # PyTorch's compiler may have the last word as a process ends
    assert (ended.returncode, said) == (2, "error: the package matplotlib is missing: pip install 'flowgru[report]'")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to render the page with")
def test_a_browser_shows_the_whole_page(report_folder, tmp_path):
    picture, page = tmp_path / "page.png", (report_folder / "report.html").as_uri()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1200,7000"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [str(CHROMIUM), *options, profile, f"--screenshot={picture}", page]
    subprocess.run(command, capture_output=True, timeout=240, check=True)
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert pixels.shape == (7000, 1200)
    dark = pixels < 128
    assert 0.005 < dark.mean() < 0.2  # text and lines on white
    assert all(band.any() for band in np.array_split(dark[:6000], 20))  # from the top of the page to far down
    assert (pixels[:, :20] > 250).all() and (pixels[:, -20:] > 250).all()  # nothing is wider than the page


def append(folder: Path, line: str) -> None:
    with (folder / "measurements.csv").open("a") as file:
        file.write(line + "\n")


def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """What the command line makes of the report's errors."""
    monkeypatch.setitem(cli.COMMANDS, "report", cli.Command("flowgru.comparison.report.page", "write_report", ""))
    return cli.main(["report", "--folder", str(folder)])
