"""The augmentation that changes nothing but the extent."""

from flowgru.config import AugmentationSettings

NOTHING = AugmentationSettings(
    height=144,
    width=176,
    log2_scale=(0.0, 0.0),
    scaling=0.0,
    stretching=0.0,
    horizontal_flip=0.0,
    vertical_flip=0.0,
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    hue=0.0,
    asymmetric=0.0,
    erasing=0.0,
)
"""Only a crop."""
