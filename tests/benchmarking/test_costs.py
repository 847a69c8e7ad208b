"""The costs of an operator are counted as they are defined."""

from flowgru.benchmarking.costs import multiply_adds
from flowgru.operators import make_operator


def test_multiply_adds_are_those_of_the_convolutions():
    operator = make_operator("conv_gru", 8, 6, 4)
    assert multiply_adds(operator, 128, 136) == 16 * 17 * 9 * (8 + 6) * 3 * 8
    wide = make_operator("conv_gru", 128, 128, 128)  # its convolutions take fewer, however they are counted
    assert multiply_adds(wide, 440, 1024) == 55 * 128 * 9 * 256 * 3 * 128
