"""Convolutions that repeat the edges of their maps give torch's values and gradients, compiled or not."""

import copy
from typing import Any

import jaxtyping
import pytest
import torch
import torch.nn.functional as F

from flowgru.layers import Conv2d


@pytest.mark.parametrize("kernel,stride", [((3, 3), 1), ((7, 7), 2), ((1, 5), 1), ((1, 1), 2)])
@pytest.mark.parametrize("height,width", [(9, 12), (1, 1)])
def test_values_and_gradients_are_those_of_padding(kernel, stride, height, width):
    padding = kernel[0] // 2, kernel[1] // 2
    conv = Conv2d(3, 5, kernel, stride=stride, padding=padding, padding_mode="replicate").double()
    input = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    padded = F.pad(input, (padding[1], padding[1], padding[0], padding[0]), mode="replicate")
    expected = F.conv2d(padded, conv.weight, conv.bias, stride)
    torch.testing.assert_close(conv(input), expected)
    with torch.no_grad():
        torch.testing.assert_close(conv(input), expected)
    weights = torch.randn_like(expected)
    (found,), (gradient,) = (torch.autograd.grad((values * weights).sum(), input) for values in (conv(input), expected))
    torch.testing.assert_close(found, gradient)


@pytest.fixture
def no_type_checks():
    """What is compiled is not checked by jaxtyping: PyTorch 2.11 cannot trace its checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_a_compiled_gradient_is_the_plain_one_where_the_channels_lie_last(no_type_checks):
    plain: Any = torch.nn.Sequential(
        Conv2d(3, 8, 3, padding=1, padding_mode="replicate"), Conv2d(8, 8, 1, padding_mode="replicate")
    )
    plain = plain.to(memory_format=torch.channels_last)
    compiled = copy.deepcopy(plain)
    compiled.compile(dynamic=False)
    input = torch.randn(2, 3, 16, 24).contiguous(memory_format=torch.channels_last)
    for network in (plain, compiled):
        network(input).sin().sum().backward()
    for expected, found in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-4)
