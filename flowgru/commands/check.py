"""`flowgru data check`: what is missing or damaged in data sets, in plain words."""

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from flowgru.config.renamed import NamesOfToday
from flowgru.errors import InputFileError, RequestError, counted, did_you_mean

if TYPE_CHECKING:
    from flowgru.data.sets.checking import SetReport

SHOWN_LINES = 20
"""As many files are named one by one before they are only counted."""


def data(words: list[str], root: str | None = None, samples: int = 8) -> int:
    """Says whether data sets are whole: `flowgru data check NAME ... --root ROOT`.

    Every file's length is compared with its header; pictures whose header does not say it, such as JPEG, are decoded. The
    exit code is 0 if all of the sets are whole, else 3.

    words: The word check, then names of sets as for evaluate, or manifests such as my_pairs.csv.
    root: The folder that holds the sets' own folders, such as Sintel and KITTI; without it, datasets.
    samples: Pairs that are decoded as well, evenly spread over each set.
    """
    if words[0] != "check" or len(words) == 1:
        hint = "" if words[0] == "check" else _did_you_mean_check(words)
        raise RequestError(f"flowgru data {' '.join(words)}: {hint}expected flowgru data check NAME ... --root ROOT")
    if samples < 0:
        raise RequestError(f"--samples is {samples}: it must be 0 or more")
    names, root = _names_and_root(words[1:], root)
    return 0 if all([_is_whole(name, root, samples) for name in names]) else InputFileError.exit_code


def _did_you_mean_check(words: list[str]) -> str:
    """The hint for words that misspell the word check, or that begin with a set; empty for others."""
    from flowgru.data.sets.layouts import DATASETS
    from flowgru.data.sets.opening import is_manifest

    if words[0] in DATASETS or is_manifest(words[0]):
        return f"did you mean {' '.join(['check', *words])!r}? "
    return did_you_mean(words[0], ["check"])


def _names_and_root(words: list[str], root: str | None) -> tuple[list[str], str]:
    """The sets' names and their root, which is the last word where that is no set, as it was before --root."""
    from flowgru.data.sets.layouts import DATASETS
    from flowgru.data.sets.opening import is_manifest, is_nearly_set, require_known

    *names, last = dict.fromkeys(words)
    is_set = last in DATASETS or is_manifest(last)
    if names and not is_set and (Path(last).is_dir() or not is_nearly_set(last)):
        if root is not None:
            raise RequestError(f"{last} is no data set, and --root is {root} already: name sets, or one folder")
        root = last
        with NamesOfToday("flowgru data check") as today:
            today.noted(f"the last word {last}", f"--root {last}")
    else:
        names.append(last)
    for name in names:
        require_known(name)
    return names, root or "datasets"


def _is_whole(name: str, root: str, samples: int) -> bool:
    """Says what is there of a set, and whether it is whole."""
    from flowgru.console import progress, say, warn
    from flowgru.data.sets.checking import check_dataset

    try:
        with contextlib.ExitStack() as stack:
            report = check_dataset(
                name, root, samples, lambda total: stack.enter_context(progress(name, total, "pairs"))
            )
    except InputFileError as error:
        warn(f"error: {error}")
        return False
    for line in _lines(name, root, report):
        say(line)
    return report.whole


def _lines(name: str, root: str, report: "SetReport") -> list[str]:
    listing, layout = report.listing, report.layout
    num_pairs = len(listing.pairs)
    lines = [f"{name} is {'whole' if report.whole else 'not whole'}", f"  looked in  {report.folder}"]
    if layout is None:
        lines.append(f"  pairs      {num_pairs} in the manifest whose files are all there")
    elif layout.split is not None and listing.missing:
        lines.append(f"  pairs      {num_pairs} in both parts, which are told apart once no file is missing")
    elif layout.num_pairs is None:
        lines.append(f"  pairs      {num_pairs} (how many the full set has is not known to flowgru)")
    else:
        lines.append(f"  pairs      {num_pairs} of {layout.num_pairs} (a pair: two pictures and the flow between them)")
    if set(report.found) - {"."}:
        shown = [f"{folder}: {count}" for folder, count in list(report.found.items())[:SHOWN_LINES]]
        more = f", and {len(report.found) - SHOWN_LINES} more folders" if len(report.found) > SHOWN_LINES else ""
        lines.append(f"  found in   {', '.join(shown)}{more}")
    if report.missing_scenes:
        lines.append(f"  no pair of {len(report.missing_scenes)} scenes: {', '.join(report.missing_scenes)}")
    if "flow_noc" in report.found:
        lines.append("  flow_noc leaves out what is hidden in the second picture; the usual flow_occ is not there")
    if report.missing_parts:
        lines.append(f"  no folder  {', '.join(report.missing_parts)}")
    sound = (
        "each as long as its header says, or decoded" if not report.damaged else "of which some are damaged, see below"
    )
    if report.num_files:
        lines.append(f"  files      {report.num_files}, {sound}")
    if report.num_decoded:
        lines.append(
            f"  decoded    {counted(report.num_decoded, 'pair')}, in which the flow of {report.known:.1%} of the pixels is "
            "known"
        )
    partner = ", although another file of its pair is there" if layout is not None else ""
    lines += _listed(f"missing{partner}", listing.missing)
    lines += _listed("left over, because the other files of its pair are missing", listing.lone)
    lines += _listed("damaged", report.damaged)
    return lines + [f"  {text}" for text in _advice(name, root, report)]


def _listed(title: str, entries: list[str]) -> list[str]:
    if not entries:
        return []
    more = [f"    and {len(entries) - SHOWN_LINES} more"] if len(entries) > SHOWN_LINES else []
    return [f"  {len(entries)} {title}:", *(f"    {entry}" for entry in entries[:SHOWN_LINES]), *more]


def _advice(name: str, root: str, report: "SetReport") -> list[str]:
    """What to do, in whole sentences."""
    num_pairs, layout = len(report.listing.pairs), report.layout
    fits = not (report.listing.missing or report.listing.lone)
    advice = []
    if layout is not None and (report.num_lacking > 0 or report.missing_scenes):
        what = counted(report.num_lacking, "pair") if report.num_lacking else "These scenes"
        advice.append(f"{what} of the full set are not there. To have them, download {layout.source}")
        advice.append(f"and unpack it so that its files come to lie in {report.folder}.")
    if report.num_lacking < 0:
        advice.append(
            f"There are {-report.num_lacking} pairs more than the full set has: are two sets mixed in one folder?"
        )
    if layout is not None and not fits:
        advice.append("An archive was perhaps not unpacked, or not to its end: unpack it again.")
        advice.append("Until then evaluate and train refuse the set, because pairs would be lost unnoticed.")
    if layout is None and not num_pairs and fits:
        advice.append("It lists no pair: below its header, it needs a line for each.")
    if layout is None and report.listing.missing:
        advice.append("Correct these paths; they are relative to the manifest.")
    if report.damaged:
        advice.append("Damaged files were perhaps not downloaded to their end: get them again.")
    if num_pairs and report.num_lacking >= 0 and not report.whole and fits and not report.damaged:
        command = shlex.join(["flowgru", "evaluate", name, "--root", root])
        advice.append(f"What is there can be used as it is: {command}")
    return advice
