"""FlyingChairs (Dosovitskiy et al. 2015), and the file that splits it."""

from collections.abc import Sequence
from pathlib import Path

from flowgru.data.sets.layouts.pairing import Listing, PairFiles, matching, paired
from flowgru.errors import InputFileError
from flowgru.files.bounded import read_bytes

SPLIT_FILES = ("chairs_split.txt", "FlyingChairs_train_val.txt")
"""The names that RAFT and the set's authors gave it: one line per pair, in their order."""
TRAIN, VALIDATION = 1, 2


def chairs_pairs(folder: Path) -> Listing:
    """00001_img1.ppm, 00001_img2.ppm, 00001_flow.flo."""
    first, second, flow = "_img1.ppm", "_img2.ppm", "_flow.flo"
    present = matching(folder, r"[^._]+_(img1\.ppm|img2\.ppm|flow\.flo)")
    numbers = sorted({path.name.split("_")[0] for path in present})
    pairs = (
        PairFiles(number, folder / f"{number}{first}", folder / f"{number}{second}", folder / f"{number}{flow}")
        for number in numbers
    )
    return paired(pairs, present, folder)


def split_pairs(pairs: list[PairFiles], part: int, folders: Sequence[Path]) -> list[PairFiles]:
    """The pairs whose line in the split file says `part`; the file is looked for in these folders.

    InputFileError without the file, or where it has not one line, 1 or 2, for every pair.
    """
    path = next((folder / name for folder in folders for name in SPLIT_FILES if (folder / name).is_file()), None)
    if path is None:
        looked = ", ".join(map(str, folders))
        raise InputFileError(
            f"no {' or '.join(SPLIT_FILES)} in {looked}: it comes with FlyingChairs, or ask for chairs, which is all pairs"
        )
    lines = read_bytes(path).decode("ascii", "replace").split()
    wrong = next((number for number, line in enumerate(lines, 1) if line not in ("1", "2")), None)
    if wrong is not None:
        raise InputFileError(f"{path} line {wrong} is {lines[wrong - 1][:20]!r}: expected 1 (train) or 2 (validation)")
    if len(lines) != len(pairs):
        raise InputFileError(
            f"{path} has {len(lines)} lines and {folders[0]} {len(pairs)} pairs: expected one line for each pair"
        )
    return [pair for pair, line in zip(pairs, lines, strict=True) if int(line) == part]
