"""The report of a comparison of update operators: a page with tables and charts, and a table for a README."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flowgru.comparison.record import how_timed
from flowgru.comparison.report.sections import RegimeReport
from flowgru.comparison.report.text import RULE, joined
from flowgru.comparison.results import MEASUREMENTS, Results, read_results
from flowgru.config.flatten import flatten
from flowgru.console import printable
from flowgru.errors import counted
from flowgru.files.atomic import write_file
from flowgru.view.report.charts import styles
from flowgru.view.report.html import bullets, definitions, details, element, page

PAGE = "report.html"
TABLE = "table.md"


def write_report(folder: Path) -> list[Path]:
    """Writes report.html and table.md from what the folder of a comparison holds, finished or not; gives their paths.

    Earlier ones are replaced. InputFileError where the folder holds no measurements, or damaged ones; MachineError if
    the disk refuses.
    """
    results = read_results(folder)
    looks = styles(list(dict.fromkeys(row for regime in results.regimes for row in results.rows(regime))))
    regimes = [RegimeReport(results, regime, looks) for regime in results.regimes]
    texts = {PAGE: page("Update operators compared", _page(results, regimes)), TABLE: _markdown(results, regimes)}
    for name, text in texts.items():
        write_file(folder / name, text, overwrite=True)
    return [folder / name for name in texts]


def _page(results: Results, regimes: list[RegimeReport]) -> Iterator[str]:
    yield element(
        "p",
        "Networks that differ in their recurrent update operator (at equal parameters also in the width of its hidden "
        "state), trained by one recipe on the same pairs in the same order. "
        "EPE per image (epe_per_image) is the mean over the pairs of each pair's mean end-point error in pixels, which is "
        "the length of the difference between estimated and true flow; less is better.",
    )
    for report in regimes:
        if missing := results.missing(report.regime):
            text = "\n".join(f"{what}: {joined(rows)}" for what, rows in missing.items())
            yield element("p", f"Not finished. Missing at {report.title}:\n{text}", "notice")
    yield element("h3", "In short")
    for report in regimes:
        yield element("p", f"At {report.title}:")
        yield bullets(report.findings())
    yield element("h3", "What was run")
    yield definitions(_run(results))
    yield element("p", _how_to_read(results))
    yield details("Every setting", [definitions(_settings(results))])
    for report in regimes:
        yield from report.section()


def _run(results: Results) -> Iterator[tuple[str, str]]:
    """What the reader must know to run it again, as far as it was kept."""
    record, setting = results.record, results.setting
    for name, text in (("command", record.command), ("commit", record.commit), ("date", record.date)):
        yield name, text or "not kept"
    for name, value in _texts(record.machine) if record.machine else [("machine", "not kept")]:
        yield name, value
    if times := _times(results):
        yield "times", times
    minutes, steps = setting("minutes"), setting("training", "steps")
    if minutes is not None:
        yield "training", f"about {minutes:g} minutes for each network; the steps follow from its speed"
    elif steps is not None:
        yield "training", f"{counted(steps, 'step')} of {counted(setting('training', 'batch_size'), 'pair')}"
    yield "seeds", f"{len(results.seeds)} ({', '.join(map(str, results.seeds))})"
    if results.trained_iterations is not None:
        without = setting("training", "no_grad_iterations")
        before = f", up to {without} more without gradient before them in half of the steps" if without else ""
        yield "refinements", f"{results.trained_iterations} in a training step{before}"
    sets = setting("training", "stage") or [part.get("name") for part in setting("training", "sets") or []]
    yield "trained on", sets if isinstance(sets, str) else joined(sets) if sets else "generated pairs"
    test = setting("test")
    if isinstance(test, dict) and "synthetic" in results.sets:
        yield (
            "held-out pairs",
            f"{test.get('pairs')}, generated, of {test.get('height')}x{test.get('width')} px (height x width)",
        )
    counts = record.pairs
    sets = [name + (f" ({counted(counts[name], 'pair')})" if name in counts else "") for name in results.sets]
    yield "measured on", joined(sets) or "nothing yet"
    yield "all numbers", f"{MEASUREMENTS}, beside this page"


def _times(results: Results) -> str | None:
    """On what the times were taken, unless it is the device that is named, or not known of any."""
    machine = results.record.machine
    by_machine: dict[tuple[str | None, str | None], list[str]] = {}
    for regime, rows in results.record.rows.items():
        for row, noted in rows.items():
            if results.value(regime, row, "ms_per_step") is not None:
                where = f"{row} at {regime.replace('_', ' ')}"
                by_machine.setdefault((noted.timed_on, noted.timed_with), []).append(where)
    device = machine.get("device")
    if by_machine.keys() in (set(), {(None, None)}, {(device, None)}, {(device, how_timed(machine))}):
        return None
    return "; ".join(
        f"of {joined(rows)} taken on {place or 'a device not kept'}{f' with {how}' if how else ''}"
        for (place, how), rows in by_machine.items()
    )


def _how_to_read(results: Results) -> str:
    if len(results.seeds) < 2:
        return (
            "There is one seed, so nothing here has an interval: how much a number would change with another seed is not "
            f"known, and a small difference between two rows says nothing. {RULE}"
        )
    return (
        "a ± b is the mean over the seeds and half its 95 % interval (Student's t), which with few seeds is wide. "
        "A number that is not finite is a result, diverged, and leaves no mean. Digits follow the interval: the last one "
        f"printed is the second that it supports. {RULE}"
    )


def _settings(results: Results) -> Iterator[tuple[str, str]]:
    """All settings but the rows, which have a table of their own."""
    yield from _texts({name: value for name, value in results.record.config.items() if name != "rows"})


def _texts(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names and texts."""
    for name, value in flatten(settings).items():
        if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
            for index, inner in enumerate(value):
                yield from _texts({f"{name}[{index}]": inner})
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield name, "none" if value is None or value == [] else text


def _markdown(results: Results, regimes: list[RegimeReport]) -> str:
    """The main table of every regime, in Markdown."""
    lines = []
    for report in regimes:
        caption, header, rows = report.main_table()
        lines += [f"### {_markdown_text(report.title)}", "", _markdown_text(caption), "", _markdown_row(header)]
        lines += ["|---" + "|---:" * (len(header) - 1) + "|"]
        lines += [_markdown_row([cell[0] if isinstance(cell, tuple) else cell for cell in row]) for row in rows]
        lines += [""]
    if times := _times(results):
        lines += [_markdown_text(f"Times: {times}."), ""]
    return "\n".join([*lines, _markdown_text(_how_to_read(results)), ""])


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(_markdown_text(cell) for cell in cells) + " |"


def _markdown_text(text: str) -> str:
    """A plain text as one line of Markdown that shows it as it is: no HTML, emphasis, link, code or formula in it."""
    # Inside a word, as in the names of operators, an underscore means nothing.
    escaped = re.sub(r"([\\`*\[\]$|~#!]|\b_|_\b)", r"\\\1", " ".join(printable(text).split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
