"""RAFT's separable GRU."""

from flowgru.operators.conv_gru import ConvGRU


class SeqConvGRU(ConvGRU):
    """A 1x5 GRU cell, then a 5x1 one (RAFT, appendix): a step reaches four coarse pixels along rows and columns.

    With reset "after" (see GRUCell) it reaches two. The operator of RAFT's released large weights, with reset "before".
    """

    kernel_sizes = ((1, 5), (5, 1))
