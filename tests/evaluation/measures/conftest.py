"""What the tests of further measures share. Nothing of flowgru is imported above: the type checks begin after this file."""

from pathlib import Path

import pytest


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A manifest of two pairs of 24x40 px that move 2 px to the right, and have one pixel without flow."""
    import numpy as np

    from flowgru.data.formats.flow_files import write_flow
    from flowgru.data.formats.images import write_image

    y, x = np.mgrid[:24, :48]
    flow = np.zeros((24, 40, 2), np.float32)
    flow[..., 0], flow[0, 0] = 2, np.nan
    lines = ["first,second,flow"]
    for number in range(2):
        wide = np.stack(
            [128 + 100 * np.sin(x / (3 + channel) + number) * np.cos(y / 4) for channel in range(3)], axis=2
        )
        for name, left in (("a", 4), ("b", 2)):
            write_image(tmp_path / f"{name}{number}.png", wide[:, left : left + 40].round().astype(np.uint8))
        write_flow(tmp_path / f"f{number}.flo", flow)
        lines.append(f"a{number}.png,b{number}.png,f{number}.flo")
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """A folder of three frames of 24x40 px whose flow nobody knows."""
    import numpy as np

    from flowgru.data.formats.images import write_image

    y, x = np.mgrid[:24, :40]
    for number in range(3):
        wave = 128 + 100 * np.sin((x - 2 * number) / 3) * np.cos(y / 4)
        grey = np.repeat(wave[..., None], 3, axis=2).round().astype(np.uint8)
        write_image(tmp_path / "walk" / f"frame_{number}.png", grey)
    return tmp_path / "walk"
