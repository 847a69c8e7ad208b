"""Convolution: `Conv2d`, the layer of every network here."""

from flowgru.layers.convolution import Conv2d

__all__ = ["Conv2d"]
