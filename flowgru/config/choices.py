"""Choices that several commands offer, as words; what stands behind a word is a table of the same names."""

from typing import Literal

FlowFormat = Literal["flo", "png16", "npz", "flo5", "pfm"]
"""Formats in which flows are written, see flowgru.data.formats.flow_formats.FLOW_FORMATS."""

ExportFormat = Literal["onnx", "torch-export", "openvino"]
"""Kinds of files that a network is exported as, see flowgru.model.exported.formats.FORMATS."""
