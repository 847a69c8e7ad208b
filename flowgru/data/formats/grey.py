"""Grey JPEG pictures with a comment, which hold a component of a flow in 8 bits."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from flowgru.data.formats.pillow import opened_by_pillow, readable, require_jpeg_size
from flowgru.errors import InputFileError
from flowgru.files.atomic import atomic_write
from flowgru.files.bounded import MAX_PIXELS

QUALITY = 95


def write_grey(path: Path, levels: UInt8[np.ndarray, "H W"], *, comment: str) -> None:
    """Writes a grey JPEG of quality 95.

    RequestError if `path` exists, or for more than a JPEG holds; MachineError if the disk refuses.
    """
    require_jpeg_size(path, levels)
    with atomic_write(path, overwrite=False) as temporary:
        Image.fromarray(levels).save(temporary, format="JPEG", quality=QUALITY, comment=comment)


def read_grey(path: Path) -> tuple[UInt8[np.ndarray, "H W"], str]:
    """The levels of a grey JPEG and its comment. InputFileError where it is missing, damaged, or of another kind."""
    with readable(path), opened_by_pillow(path, MAX_PIXELS) as opened:
        if opened.format != "JPEG" or opened.mode != "L":
            raise InputFileError(f"{path} is a {opened.format} of mode {opened.mode}: expected a grey JPEG")
        comment = opened.info.get("comment", b"")
        return np.asarray(opened), bytes(comment).decode("utf-8", "replace")
