"""What generated pairs look like."""

import math
from dataclasses import dataclass

from flowgru.config.require import require, require_seed
from flowgru.errors import RequestError, size_text

MAX_CLIP_FRAMES = 64
"""Of a generated clip, whose pairs are trained on together."""


@dataclass(frozen=True)
class SyntheticSettings:
    """What the generated pairs look like; the same settings give the same pairs."""

    height: int = 192
    """Height of the generated pictures in pixels."""

    width: int = 256
    """Width of the generated pictures in pixels."""

    seed: int = 0
    """Another seed gives other textures and other pairs."""

    clip_frames: int = 2
    """Frames of each generated clip. 2: single pairs. From 3 on the motion goes on from frame to frame, and the pairs of a
    clip lie one after the other in a batch. All frames of such a clip have one colour, blur and fog; motion_blur, plain,
    rigid and shadow are of single pairs alone."""

    layers: tuple[int, int] = (3, 20)
    """Fewest and most cut-outs over the background; few are more likely than many."""

    radius: tuple[float, float] = (0.05, 0.6)
    """Smallest and largest cut-out, as share of the picture's shorter side; every factor between equally likely."""

    holes: float = 0.2
    """Share of the solid cut-outs that have a hole."""

    speed: tuple[float, float] = (0.2, 60.0)
    """Slowest and fastest pair's typical displacement in pixels of a 192x256 picture; every factor between equally
    likely. The upper end grows with the picture's diagonal, up to `most_speed`."""

    most_speed: float = 150.0
    """No pair's typical displacement is above this, in pixels, however large the picture."""

    furthest: float = 0.4
    """No layer moves further than about this share of the picture's diagonal, so that matches remain; bending may add to
    it."""

    static_share: float = 0.06
    """Share of the pairs in which nothing moves, or nothing by more than about 0.3 px, in rooms 0.6 px."""

    still_background_share: float = 0.15
    """Share of the pairs in which some cut-outs move over a background that stands still."""

    nonrigidity: float = 1.0
    """Strength of bending, relative to the pair's displacement; 0: every layer is rigid up to turn, zoom and shear."""

    colour: float = 0.15
    """Strength of the change of brightness, contrast, gamma and saturation; about a third of it between the two
    pictures of some pairs; 0: none."""

    shadow: float = 0.25
    """Strength of light and shade that differ a little between the pictures of some pairs; 0: none."""

    blur: float = 2.0
    """Largest deviation of blur in pixels; 0: none."""

    noise: float = 0.04
    """Largest deviation of the sensor's noise, as share of the range of values; 0: none."""

    motion_blur: float = 0.0
    """Share of the pairs that are exposed for so long that what moves is blurred along its way."""

    fog: float = 0.0
    """Share of the pairs behind fog of uneven density, which lies still while the rest moves."""

    thin: float = 0.0
    """Share of the cut-outs that are bundles or nets of long wires, 1 to 4 px thin."""

    untextured: float = 0.0
    """Share of the cut-outs that are large, solid and without texture: one colour or a gentle shade, as walls and
    paintwork. They move as the others do, and only their edges show how far."""

    plain: float = 0.0
    """Share of the pairs with a background of one colour that stands still, empty or with a few cut-outs, most of them
    of one colour too; between the pictures of some empty ones the colour changes. The background never moves."""

    rigid: float = 0.0
    """Share of the pairs that show a rigid scene: a room in perspective with things in it, through which the camera moves
    forward, sideways and turning, so that what is nearer moves further and hides what is behind it. A few of the things
    move by themselves."""

    grey: float = 0.0
    """Share of the pairs without colour, as of a camera that sees only light and dark."""

    patterns: float = 0.0
    """Textures that repeat a small patch, as a share of num_textures; they are added to the bank."""

    photos: str | None = None
    """A folder of pictures that half of the layers are painted with, or "skimage" for the photographs that scikit-image
    ships, or several of these with commas between them; without it there are generated textures only."""

    num_textures: int = 64
    """Generated textures in the bank, and as many crops of photos where there are some."""

    def __post_init__(self) -> None:
        """Raises RequestError for settings that cannot be drawn from."""
        require_seed("data.seed", self.seed)
        if min(self.height, self.width) < 16:
            raise RequestError(
                f"synthetic pairs of {size_text((self.height, self.width))}: both sides must be at least 16"
            )
        for name, (low, high), lowest in (
            ("layers", self.layers, 0),
            ("radius", self.radius, 1e-6),
            ("speed", self.speed, 1e-6),
        ):
            if not lowest <= low <= high:
                raise RequestError(f"data.{name} is {low}, {high}: expected {lowest} <= low <= high")
        for name in (
            "holes",
            "static_share",
            "still_background_share",
            "noise",
            "motion_blur",
            "fog",
            "untextured",
            "plain",
            "thin",
            "rigid",
            "grey",
            "patterns",
        ):
            require(0 <= getattr(self, name) <= 1, f"data.{name}", getattr(self, name), "a share, from 0 to 1")
        for name in ("nonrigidity", "colour", "shadow", "blur"):
            require(0 <= getattr(self, name) < math.inf, f"data.{name}", getattr(self, name), "0 or more, and finite")
        for name in ("most_speed", "furthest"):
            require(0 < getattr(self, name) < math.inf, f"data.{name}", getattr(self, name), "above 0, and finite")
        require(
            max(self.radius[1], self.speed[1]) < math.inf,
            "data.radius and data.speed",
            (self.radius, self.speed),
            "finite",
        )
        if self.layers[1] > 254:
            raise RequestError(f"layers up to {self.layers[1]} in the synthetic settings: expected at most 254")
        require(
            2 <= self.clip_frames <= MAX_CLIP_FRAMES, "data.clip_frames", self.clip_frames, f"2 to {MAX_CLIP_FRAMES}"
        )
        if self.num_textures < 1:
            raise RequestError(f"num_textures of {self.num_textures} in the synthetic settings: expected at least 1")
