"""Every setting of networks, data and training, in words and numbers; reading these files needs no torch."""

from flowgru.config.augmentation import STAGES, AugmentationSettings, StageSet
from flowgru.config.comparison import ComparisonConfig, HeldOutConfig, Regime, RowConfig
from flowgru.config.network import PRESETS, NetworkConfig, NetworkSizes, Norm
from flowgru.config.synthetic import SyntheticSettings
from flowgru.config.training import OptimizerConfig, StartShares, TrainConfig, ValidationConfig

__all__ = [
    "PRESETS",
    "STAGES",
    "AugmentationSettings",
    "ComparisonConfig",
    "HeldOutConfig",
    "NetworkConfig",
    "NetworkSizes",
    "Norm",
    "OptimizerConfig",
    "Regime",
    "RowConfig",
    "StageSet",
    "StartShares",
    "SyntheticSettings",
    "TrainConfig",
    "ValidationConfig",
]
