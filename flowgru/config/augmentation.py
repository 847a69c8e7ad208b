"""How pairs are changed before they are trained on, with RAFT's published numbers for each of its stages."""

from dataclasses import dataclass, replace

from flowgru.config.require import require

MAX_LOG2 = 6
"""A picture may become 64 times as large, or as small."""


@dataclass(frozen=True)
class AugmentationSettings:
    """What may happen to a pair, how strongly and how often; a probability of 0 turns a part off.

    The numbers that are given here are those of RAFT's FlowAugmentor (Teed and Deng 2020).
    """

    height: int
    """Height of the crop in pixels."""

    width: int
    """Width of the crop in pixels."""

    log2_scale: tuple[float, float]
    """Smallest and largest scale, as exponents of 2; every exponent between equally likely."""

    sparse: bool = False
    """The flow is known at scattered pixels only: it is moved to the nearest pixel and never interpolated, and crops prefer
    the left and right edge and the bottom. RAFT's SparseFlowAugmentor also has `stretching`, `vertical_flip` and
    `asymmetric` 0."""

    scaling: float = 0.8
    """Probability that a pair is scaled. One that is too small for the crop is enlarged in any case."""

    stretching: float = 0.8
    """Probability that height and width of a scaled pair are scaled differently."""

    log2_stretch: float = 0.2
    """Each side is stretched by up to 2 to this power, or shrunk by as much."""

    horizontal_flip: float = 0.5
    """Probability that left and right change places."""

    vertical_flip: float = 0.1
    """Probability that top and bottom change places."""

    brightness: float = 0.4
    """Largest relative change of brightness."""

    contrast: float = 0.4
    """Largest relative change of contrast."""

    saturation: float = 0.4
    """Largest relative change of saturation."""

    hue: float = 0.5 / 3.14
    """Largest turn of the hue, as share of the whole circle."""

    asymmetric: float = 0.2
    """Probability that each picture gets its own change of colour instead of one for both."""

    erasing: float = 0.5
    """Probability that boxes of the second picture are painted over with its mean colour."""

    eraser_boxes: tuple[int, int] = (1, 2)
    """Fewest and most boxes that are painted over."""

    eraser_sides: tuple[int, int] = (50, 100)
    """Shortest side of a box in pixels of the unscaled picture, and the length that all stay below."""

    def __post_init__(self) -> None:
        require(min(self.height, self.width) > 0, "the augmentation's crop", (self.height, self.width), "1 px or more")
        low, high = self.log2_scale
        require(-MAX_LOG2 <= low <= high <= MAX_LOG2, "log2_scale", self.log2_scale, f"ascending, within {MAX_LOG2}")
        require(0 <= self.log2_stretch <= MAX_LOG2, "log2_stretch", self.log2_stretch, f"from 0 to {MAX_LOG2}")
        for name in ("scaling", "stretching", "horizontal_flip", "vertical_flip", "asymmetric", "erasing"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a probability, from 0 to 1")
        for name in ("brightness", "contrast", "saturation"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "from 0 to 1")
        require(0 <= self.hue <= 0.5, "hue", self.hue, "from 0 to 0.5, half of the circle")
        require(
            0 <= self.eraser_boxes[0] <= self.eraser_boxes[1], "eraser_boxes", self.eraser_boxes, "ascending, from 0"
        )
        require(0 < self.eraser_sides[0] < self.eraser_sides[1], "eraser_sides", self.eraser_sides, "ascending, from 1")


@dataclass(frozen=True)
class StageSet:
    """One of the data sets that a stage of training mixes."""

    name: str
    """A data set by its name, a manifest ending in .csv, or synthetic for the generated pairs."""
    augmentation: AugmentationSettings
    """How its pairs are changed."""
    repeats: int = 1
    """How often each of its pairs is seen in an epoch."""

    def __post_init__(self) -> None:
        require(self.repeats > 0, f"repeats of {self.name}", self.repeats, "1 or more")


_CHAIRS = AugmentationSettings(368, 496, log2_scale=(-0.1, 1.0))
_THINGS = AugmentationSettings(400, 720, log2_scale=(-0.4, 0.8))
_SINTEL = AugmentationSettings(368, 768, log2_scale=(-0.2, 0.6))
_KITTI = AugmentationSettings(
    288,
    960,
    log2_scale=(-0.2, 0.4),
    sparse=True,
    stretching=0.0,
    horizontal_flip=0.0,
    vertical_flip=0.0,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.3 / 3.14,
    asymmetric=0.0,
)
_SPARSE_IN_SINTEL = replace(_KITTI, height=368, width=768, horizontal_flip=0.5)

STAGES: dict[str, tuple[StageSet, ...]] = {
    "chairs": (StageSet("chairs_train", _CHAIRS),),
    "things": (StageSet("things_clean", _THINGS), StageSet("things_final", _THINGS)),
    "sintel": (
        StageSet("sintel_clean", _SINTEL, repeats=100),
        StageSet("sintel_final", _SINTEL, repeats=100),
        StageSet("kitti2015", replace(_SPARSE_IN_SINTEL, log2_scale=(-0.3, 0.5)), repeats=200),
        StageSet("hd1k", replace(_SPARSE_IN_SINTEL, log2_scale=(-0.5, 0.2)), repeats=5),
        StageSet("things_clean", _SINTEL),
    ),
    "kitti": (StageSet("kitti2015", _KITTI),),
}
"""RAFT's stages of training, each begun with the weights of the one before; sintel is its C+T+K+S+H."""
