"""The convolutional minGRU whose recurrence runs over space, solved by a parallel scan.

minGRU (Feng et al. 2024, "Were RNNs All We Needed?", arXiv 2410.01201, section 3.1) drops the previous state from the
gates of a GRU: z = sigmoid(W_z x), h~ = W_h x, h_t = (1 - z_t) h_{t-1} + z_t h~_t. The recurrence is then linear in h and
a parallel scan solves it. The refinements themselves cannot be scanned, since the look-up of one depends on the flow of
the one before; what is scanned here is SPACE, inside one refinement, where every gate is known.
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from flowgru.config.require import require
from flowgru.layers import Conv2d
from flowgru.operators.base import SplitConv, UpdateOperator, squash, tanh
from flowgru.operators.min_cells import MinGRUCell, MinState
from flowgru.operators.spatial_scan import AROUND_THE_CORNER, STRAIGHT, Gate, decay_of, scan_over_space, starting_logits
from flowgru.types import Features

Form = Literal["mix", "cand", "chain"]
Mixing = Literal["gate", "add"]


class ConvMinGRU(UpdateOperator[MinState]):
    """A minGRU over the refinements whose values also travel across the whole picture within each of them.

    With x = [h, motion, context], C = hidden_size, all maps [B, C, h, w], sigma the logistic function:

        [z | c | a] = W x                                  3x3 convolution; the context's share once per pair
        v  = (1 - sigma(z)) h + sigma(z) tanh(c)           the minGRU update, in every pixel for itself
        A  = sigma(a)                                      what a pixel lets through, C/4 channels for each direction
        s_p = A_p s_{p-1} + (1 - A_p) v_p                  the same recurrence over pixels: right, left, down and up
        u  = sigma(W_u [v, s])                             1x1 convolution
        h' = (1 - u) v + u tanh(W_s s)                     1x1 convolution

    A is 0 where a scan starts, so every value is a convex combination and |h'| <= 1, whatever the options. One group of
    channels for each direction costs a quarter of all channels in all directions. The gates read the hidden state of the
    refinement before, which is known, and never s: the scan stays linear.

    Options:
        form        "mix": the above.
                    "cand": only the candidate travels, s_p = A_p s_{p-1} + (1 - A_p) tanh(c_p), and
                    h' = (1 - sigma(z)) h + sigma(z) tanh(c + W_s s), W_s zero at first; there is no u.
                    "chain": as "mix", but each group is scanned along its row, and the outcome along the column with
                    the same A. The groups go right and down, right and up, left and down, left and up: a step reaches
                    every pixel, at twice the scans.
        gate        "sigmoid": A = sigma(a). "exp": A = exp(-exp(-a)) (see decay_of).
        directions  4: the above. 2: to the right and down only ("chain": right and down, left and up), C/2 channels each.
        mixing      "gate": the above. "add": u is one number of each channel, learned, the same in every pixel.
        reach       Coarse pixels over which the slowest channels carry at first; the fastest carry over 1.
        cap         The largest A: A is multiplied by it. The mean reach stays below cap / (1 - cap).
        scan        False is the control with the same parameters: s_p = A_p h_p + (1 - A_p) v_p, what a pixel lets through
                    comes from its own past and not from its neighbour. "chain" is then "mix".
    """

    cell: type[MinGRUCell] = MinGRUCell
    """Whose gates blend a pixel's old value with its new one."""

    def __init__(
        self,
        hidden_size: int,
        motion_size: int,
        context_size: int,
        *,
        form: Form = "mix",
        gate: Gate = "sigmoid",
        directions: Literal[2, 4] = 4,
        mixing: Mixing = "gate",
        reach: float = 8.0,
        cap: float = 1.0,
        scan: bool = True,
    ) -> None:
        super().__init__(hidden_size, motion_size, context_size)
        for option, value, kind in (("form", form, Form), ("gate", gate, Gate), ("mixing", mixing, Mixing)):
            require(value in get_args(kind), option, repr(value), f"one of {', '.join(get_args(kind))}")
        require(form != "cand" or mixing == "gate", "mixing", repr(mixing), "left out: form 'cand' has nothing to mix")
        require(directions in STRAIGHT, "directions", repr(directions), "2 or 4")
        require(isinstance(scan, bool), "scan", repr(scan), "true or false")
        require(isinstance(cap, float | int) and 0.5 < cap <= 1, "cap", repr(cap), "above 0.5 and at most 1")
        longest = cap / (1 - cap) if cap < 1 else math.inf
        expected = f"at least 1 and, with cap {cap}, below {longest:.4g}" if cap < 1 else "at least 1 and finite"
        require(isinstance(reach, float | int) and 1 <= reach < longest, "reach", repr(reach), expected)
        self.routes = (AROUND_THE_CORNER if form == "chain" else STRAIGHT)[directions]
        if hidden_size % len(self.routes):
            raise ValueError(
                f"hidden_size is {hidden_size}: the scan has {directions} directions, make it a multiple of {directions}"
            )
        self.form, self.cap, self.scan = form, cap, scan
        self.gate: Gate = gate
        num_maps = self.cell.num_gates + 2
        self.gates = SplitConv(hidden_size + motion_size, context_size, num_maps * hidden_size, (3, 3))
        self.mix_gate = Conv2d(2 * hidden_size, hidden_size, 1) if form != "cand" and mixing == "gate" else None
        self.mix_bias = nn.Parameter(torch.full((hidden_size, 1, 1), -0.5)) if mixing == "add" else None
        self.carried = Conv2d(hidden_size, hidden_size, 1, bias=form != "cand")
        self._start(reach)

    @torch.no_grad()
    def _start(self, reach: float) -> None:
        bias = self.gates.recurrent.bias
        assert bias is not None
        group = self.hidden_size // len(self.routes)
        bias[-self.hidden_size :] = starting_logits(reach, group, self.gate, self.cap).repeat(len(self.routes))
        if self.mix_gate is not None and self.mix_gate.bias is not None:
            self.mix_gate.bias.fill_(-0.5)
        if self.form == "cand":
            nn.init.zeros_(self.carried.weight)

    def begin(self, hidden: Features, context: Features) -> MinState:
        hidden, context = squash(hidden, context)
        return MinState(hidden, self.gates.context(context))

    def step(self, motion: Features, state: MinState) -> tuple[Features, MinState]:
        hidden = state.hidden
        maps = self.gates(torch.cat([hidden, motion], dim=1), state.context_terms)
        gates, candidate, decay = maps.split(
            [self.cell.num_gates * self.hidden_size, self.hidden_size, self.hidden_size], dim=1
        )
        # CUDA's autocast computes softplus and exp in float32; torch.lerp takes one type only.
        update_gate = torch.sigmoid(self.cell.logit(gates)).to(maps.dtype)
        decay = decay_of(decay, self.gate, self.cap)
        if self.form == "cand":
            scanned = self._scanned(decay, torch.tanh(candidate), hidden)
            hidden = torch.lerp(hidden, tanh(candidate + self.carried(scanned)), update_gate)
        else:
            value = torch.lerp(hidden, tanh(candidate), update_gate)
            scanned = self._scanned(decay, value, hidden)
            hidden = torch.lerp(value, tanh(self.carried(scanned)), self._mix(value, scanned))
        return hidden, MinState(hidden, state.context_terms)

    def _scanned(self, decay: Tensor, value: Tensor, hidden: Tensor) -> Tensor:
        return (
            scan_over_space(decay, value, self.routes)
            if self.scan
            else torch.lerp(value, hidden, decay.to(value.dtype))
        )

    def _mix(self, value: Tensor, scanned: Tensor) -> Tensor:
        """The weight of what the scan brings, [B, C, h, w] or [C, 1, 1]."""
        if self.mix_gate is not None:
            return torch.sigmoid(self.mix_gate(torch.cat([value, scanned], dim=1)))
        assert self.mix_bias is not None
        return torch.sigmoid(self.mix_bias).to(value.dtype)
