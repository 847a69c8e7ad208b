"""The names of the corruptions of a pair, and their severities."""

CORRUPTION_NAMES = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "motion_blur",
    "brightness",
    "contrast",
    "fog",
    "rain",
    "jpeg",
    "pixelate",
    "h264",
)
"""What stands behind them is in flowgru.data.corruptions.pairs."""
ALL = "all"
SEVERITIES = (1, 2, 3)
