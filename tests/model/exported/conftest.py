"""What the tests of exported files share. Nothing of flowgru is imported above: the type checks begin after this file."""

from pathlib import Path

import pytest


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    """Two frames of a size that has to be padded."""
    from media import noisy_frames

    from flowgru.data.formats.images import write_image

    names = [str(tmp_path / f"{name}.png") for name in ("a", "b")]
    for name, frame in zip(names, noisy_frames(2, 130, 150), strict=True):
        write_image(name, frame)
    return names
