"""Where generated pairs show areas without texture: one colour or a gentle shade, whose motion only their edges show."""

import cv2
import torch
from jaxtyping import Float
from torch import Tensor

from flowgru.data.synthetic.paint import Paint
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.data.synthetic.rendering import layers_on_top
from flowgru.data.synthetic.textures import TextureBank, bank_of


def untextured_depth(pairs: SyntheticPairs, index: int) -> Float[Tensor, "H W"]:
    """How far inside an area without texture each pixel of the first picture lies; 0 where there is texture.

    In pixels, to the nearest one that shows another layer: the border of the picture shows no edge. An area is what is seen
    of one layer.
    """
    settings, bank = pairs.settings, bank_of(pairs.settings, torch.device("cpu"))
    layers = pairs.drawn(index, bank).layers
    tops = layers_on_top(layers, settings.height, settings.width, bank.device)
    depth = torch.zeros(tops.shape)
    for number, layer in enumerate(layers):
        if _is_untextured(layer.paint, bank):
            area = (tops == number).to(torch.uint8).numpy()
            depth += torch.from_numpy(cv2.distanceTransform(area, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
    return depth


def _is_untextured(paint: Paint, bank: TextureBank) -> bool:
    assert isinstance(paint.texture, Tensor), "the bank holds textures"
    one_colour = paint.texture.shape[-2:] == (1, 1)
    return one_colour or any(paint.texture is shade for shades in bank.shades for shade in shades)
