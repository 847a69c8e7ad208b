"""Choices that several commands offer, as words; what stands behind a word is a table of the same names."""

from typing import Literal

FlowFormat = Literal["flo", "png16", "npz", "flo5", "pfm"]
"""Formats in which flows are written, see flowgru.data.formats.flow_formats.FLOW_FORMATS."""

ExportFormat = Literal["onnx", "torch-export", "openvino"]
"""Kinds of files that a network is exported as, see flowgru.model.exported.formats.FORMATS."""

Preset = Literal["large", "small", "compact"]
"""Sizes of everything around the update operator, see flowgru.config.network.PRESETS."""

Precision = Literal["32", "bf16", "16"]
"""Bits of the arithmetic; bf16 and 16 compute in mixed precision."""

CorrelationMethod = Literal["auto", "all_pairs", "on_demand"]
"""How matches are computed: all_pairs keeps the volume of all of them, on_demand computes those that a refinement needs.

auto takes all_pairs where its pyramid fits the memory budget.
"""
