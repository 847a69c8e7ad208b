"""scores.csv as Parquet, where pyarrow is installed."""

from importlib.util import find_spec
from pathlib import Path

from flowgru.corpus.tables import SCORE_COLUMNS, SCORES
from flowgru.files.atomic import atomic_write
from flowgru.files.own_folders import remove_files

NAME = "scores.parquet"
COUNTS = ("width", "height", "frames", "cuts")


def remove_parquet(root: Path) -> None:
    """Takes scores.parquet away, which an earlier run has written. MachineError where the disk refuses."""
    remove_files([root / NAME])


def write_parquet(root: Path) -> Path | None:
    """Writes scores.parquet beside scores.csv, and gives its path; None without pyarrow.

    An id that is no UTF-8, which Parquet does not take, is written with escapes.
    """
    if find_spec("pyarrow") is None:
        return None
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    types = {name: pa.int64() if name in COUNTS else pa.float64() for name in SCORE_COLUMNS if name != "id"}
    convert = pyarrow.csv.ConvertOptions(column_types={"id": pa.string(), **types})
    text = (root / SCORES).read_bytes().decode("utf-8", "surrogateescape")
    table = pyarrow.csv.read_csv(pa.BufferReader(text.encode("utf-8", "backslashreplace")), convert_options=convert)
    path = root / NAME
    with atomic_write(path, overwrite=True) as temporary:
        pyarrow.parquet.write_table(table, temporary)
    return path
