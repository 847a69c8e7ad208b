"""Square crops of photographs, from a folder or from what scikit-image ships."""

import functools
import importlib.util
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from flowgru.data.draws import Draws
from flowgru.data.formats.images import read_image
from flowgru.data.formats.pillow import PICTURE_SUFFIXES
from flowgru.errors import InputFileError, RequestError

SKIMAGE_PHOTOS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "rocket.jpg",
)
"""Those in the wheel itself that show the world as a camera sees it."""

Crop = Float[Tensor, "3 side side"]
"""RGB in [0, 1]."""


def photo_paths(photos: str | None) -> tuple[Path, ...]:
    """The pictures that the setting `photos` names.

    Raises RequestError when scikit-image is asked for and missing, or the folder holds no pictures.
    """
    if photos is None:
        return ()
    return tuple(path for source in photos.split(",") for path in _photos_of(source.strip()))


def _photos_of(photos: str) -> tuple[Path, ...]:
    if photos == "skimage":
        spec = importlib.util.find_spec("skimage")
        if spec is None or spec.origin is None:
            raise RequestError('photos "skimage" needs scikit-image, which is missing: pip install flowgru[train]')
        folder = Path(spec.origin).parent / "data"
        paths = tuple(path for name in SKIMAGE_PHOTOS if (path := folder / name).is_file())
    else:
        folder = Path(photos)
        if not folder.is_dir():
            raise RequestError(f'photos {photos!r} is no folder: name one, or "skimage", or leave it out')
        paths = tuple(sorted(path for path in folder.rglob("[!.]*") if path.suffix.lower() in PICTURE_SUFFIXES))
    if not paths:
        raise RequestError(f"photos {photos!r}: no pictures in {folder} ({', '.join(PICTURE_SUFFIXES)})")
    return paths


def photo_crops(draws: Draws, paths: tuple[Path, ...], number: int, side: int) -> list[Crop]:
    """`number` crops of `side` x `side` px, of several scales, spread over the photographs; none without any."""
    if not paths:
        return []
    start = draws.integer(0, len(paths) - 1)
    chosen = sorted(paths[(start + k * max(len(paths), number) // number) % len(paths)] for k in range(number))
    return [photo_crop(draws, read_photo(path), side) for path in chosen]


@functools.lru_cache(maxsize=1)
def read_photo(path: Path) -> Image.Image:
    """The picture as Pillow's own. InputFileError where it cannot be read."""
    try:
        return Image.fromarray(read_image(path))
    except InputFileError as error:
        raise InputFileError(f"{error}; remove it from the photos") from error


def photo_crop(draws: Draws, photo: Image.Image, side: int) -> Crop:
    span = min(photo.size) * draws.log_uniform(0.4, 1.0)
    left, top = draws.uniform(0.0, photo.width - span), draws.uniform(0.0, photo.height - span)
    crop = photo.resize((side, side), Image.Resampling.LANCZOS, box=(left, top, left + span, top + span))
    return torch.from_numpy(np.array(crop)).permute(2, 0, 1).float().div_(255)
