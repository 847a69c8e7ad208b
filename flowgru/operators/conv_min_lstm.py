"""The convolutional minLSTM whose recurrence runs over space."""

from flowgru.operators.conv_min_gru import ConvMinGRU
from flowgru.operators.min_cells import MinLSTMCell


class ConvMinLSTM(ConvMinGRU):
    """conv_min_gru with the two gates of minLSTM (Feng et al. 2024, arXiv 2410.01201, section 3.2) for its update gate.

        [f | i | c | a] = W x                                          3x3 convolution of x = [h, motion, context]
        F = sigma(f)    I = sigma(i)
        v = F / (F + I) h + I / (F + I) tanh(c)                        the minLSTM update, in every pixel for itself

    The rest, from A = sigma(a) on, and the options are ConvMinGRU's. As in minLSTM there is no cell state beside h.
    """

    cell = MinLSTMCell
