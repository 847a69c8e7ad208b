"""Lines of text as pictures, in the font that comes with Pillow."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont


def lettered(text: str, size: int = 14, margin: int = 3) -> UInt8[np.ndarray, "H W 3"]:
    """A line of text, black on white; `size` is the height of its letters in pixels. What the font lacks is a box."""
    font = ImageFont.load_default(size)
    line = " ".join(text.split()) or " "
    width = round(font.getlength(line)) + 2 * margin
    picture = Image.new("RGB", (width, size + size // 3 + 2 * margin), "white")
    ImageDraw.Draw(picture).text((margin, margin), line, fill="black", font=font)
    return np.array(picture)
