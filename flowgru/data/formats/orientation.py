"""The eight ways in which a picture may lie, of which EXIF, TIFF and display matrices of videos each note one."""

from typing import NamedTuple

import numpy as np


class Orientation(NamedTuple):
    """How stored rows and columns become the upright picture: first the transpose, then the two mirrorings."""

    transposed: bool = False
    """Rows become columns: height and width change places."""
    mirrored: bool = False
    """Left and right change places."""
    upside_down: bool = False
    """Top and bottom change places."""

    def upright(self, stored: np.ndarray) -> np.ndarray:
        """The picture [H, W, ...] as it is to be looked at, as a view."""
        turned = stored.swapaxes(0, 1) if self.transposed else stored
        return turned[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]


_NOTED = {
    2: Orientation(mirrored=True),
    3: Orientation(mirrored=True, upside_down=True),
    4: Orientation(upside_down=True),
    5: Orientation(transposed=True),
    6: Orientation(transposed=True, mirrored=True),
    7: Orientation(transposed=True, mirrored=True, upside_down=True),
    8: Orientation(transposed=True, upside_down=True),
}


def noted_orientation(value: object) -> Orientation:
    """What the number under the tag Orientation of EXIF and TIFF says; an unknown number says nothing."""
    return _NOTED.get(value, Orientation()) if isinstance(value, int) else Orientation()


def displayed_orientation(matrix: bytes) -> Orientation:
    """What a display matrix of FFmpeg says: 9 int32 (a b u c d v x y w) with x' = a x + c y and y' = b x + d y.

    Other angles than quarter turns are rounded to one.
    """
    a, b, _, c, d = (int(value) for value in np.frombuffer(matrix, np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transposed=True, mirrored=c < 0, upside_down=b < 0)
    return Orientation(mirrored=a < 0, upside_down=d < 0)
