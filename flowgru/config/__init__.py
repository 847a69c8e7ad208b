"""Every setting of networks, data and training, in words and numbers; reading these files needs no torch."""

from flowgru.config.augmentation import STAGES, AugmentationSettings, StageSet
from flowgru.config.network import PRESETS, NetworkConfig, NetworkSizes, Norm
from flowgru.config.synthetic import SyntheticSettings
from flowgru.config.training import OptimizerConfig, TrainConfig, ValidationConfig

__all__ = [
    "PRESETS",
    "STAGES",
    "AugmentationSettings",
    "NetworkConfig",
    "NetworkSizes",
    "Norm",
    "OptimizerConfig",
    "StageSet",
    "SyntheticSettings",
    "TrainConfig",
    "ValidationConfig",
]
