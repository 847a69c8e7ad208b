"""The equations of every update operator, written out plainly as they were published or documented."""

import math

import torch
import torch.nn.functional as F


def refine(operator, hidden, context, motions):
    """What the heads read after the last of several steps."""
    state = operator.begin(hidden, context)
    for motion in motions:
        hidden, state = operator.step(motion, state)
    return hidden


def joined(split, inputs, context):
    """A SplitConv as the one convolution over [inputs, context] that it stands for."""
    weight = torch.cat([split.recurrent.weight, split.context.weight], 1)
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    return F.conv2d(torch.cat([inputs, context], 1), weight, split.recurrent.bias, padding=padding)


def textbook_gru(operator, hidden, context, motions, reset="before"):
    """RAFT's cells, each gate by one convolution over the concatenated [hidden, motion, context]."""
    hidden, context = torch.tanh(hidden), torch.relu(context)
    for motion in motions:
        for cell in operator.cells:
            gates = joined(cell.gates, torch.cat([hidden, motion], 1), context)
            z, r = torch.sigmoid(gates).chunk(2, 1)
            if reset == "before":
                candidate = joined(cell.candidate, torch.cat([r * hidden, motion], 1), context)
            else:
                own = cell.hidden_candidate
                padding = (own.weight.shape[2] // 2, own.weight.shape[3] // 2)
                candidate = joined(cell.candidate, motion, context)
                candidate = candidate + r * F.conv2d(hidden, own.weight, own.bias, padding=padding)
            hidden = (1 - z) * hidden + z * torch.tanh(candidate)
    return hidden


def textbook_lstm(operator, hidden, context, motions, peephole=False, coupled=False):
    """Shi et al.'s equations, gate by gate."""
    cell = hidden = torch.tanh(hidden)
    context = torch.relu(context)
    names = "igo" if coupled else "ifgo"
    look = (
        dict(zip(names.replace("g", ""), operator.cell.peepholes, strict=True)) if peephole else dict.fromkeys("ifo", 0)
    )
    for motion in motions:
        gates = joined(operator.cell.gates, torch.cat([hidden, motion], 1), context)
        gate = dict(zip(names, gates.chunk(len(names), 1), strict=True))
        i = torch.sigmoid(gate["i"] + look["i"] * cell)
        f = 1 - i if coupled else torch.sigmoid(gate["f"] + look["f"] * cell)
        cell = f * cell + i * torch.tanh(gate["g"])
        hidden = torch.sigmoid(gate["o"] + look["o"] * cell) * torch.tanh(cell)
    return hidden


def textbook_conv_relu(operator, hidden, context, motions):
    """Three convolutions, the first over [hidden, motion, context]."""
    hidden, context = torch.tanh(hidden), torch.relu(context)
    for motion in motions:
        hidden = torch.relu(joined(operator.first, torch.cat([hidden, motion], 1), context))
        for conv in (operator.second, operator.third):
            hidden = torch.relu(F.conv2d(hidden, conv.weight, conv.bias, padding=1))
    return hidden


def textbook_conv_next(operator, hidden, context, motions):
    """SEA-RAFT's blocks, each over the concatenated [hidden, motion, context], every layer written out."""
    for motion in motions:
        for block in operator.blocks:
            whole = torch.cat([hidden, motion, context], 1)
            parts = (block.depthwise, block.depthwise_context)
            weight, bias = (torch.cat([getattr(part, name) for part in parts]) for name in ("weight", "bias"))
            mixed = F.conv2d(whole, weight, bias, padding=3, groups=whole.shape[1]).movedim(1, -1)
            centred = mixed - mixed.mean(-1, keepdim=True)
            mixed = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
            mixed = (mixed * block.norm.weight + block.norm.bias) @ block.expand.weight.T + block.expand.bias
            mixed = mixed * (1 + torch.erf(mixed / math.sqrt(2))) / 2
            mixed = block.scale * (mixed @ block.contract.weight.T + block.contract.bias)
            hidden = F.conv2d(whole + mixed.movedim(-1, 1), block.out.weight, block.out.bias)
    return hidden


def carried_along(A, v, down, right):
    """s_p = A_p s_{p-1} + (1 - A_p) v_p pixel by pixel, p lying `down` rows and `right` columns after p - 1."""
    height, width = v.shape[2:]
    s = {}
    for row in range(height)[:: down or 1]:
        for column in range(width)[:: right or 1]:
            before = s.get((row - down, column - right))
            here, passing = v[:, :, row, column], A[:, :, row, column]
            s[row, column] = here if before is None else passing * before + (1 - passing) * here
    return torch.stack([torch.stack([s[row, column] for column in range(width)], -1) for row in range(height)], -2)


def textbook_routes(form, directions):
    right, left, down, up = (0, 1), (0, -1), (1, 0), (-1, 0)  # (rows, columns)
    if form == "chain":
        return (
            [(right, down), (right, up), (left, down), (left, up)] if directions == 4 else [(right, down), (left, up)]
        )
    return [(right,), (left,), (down,), (up,)][:: 4 // directions]


def textbook_conv_min_gru(
    operator,
    hidden,
    context,
    motions,
    *,
    cell="gru",
    form="mix",
    gate="sigmoid",
    directions=4,
    mixing="gate",
    reach=8.0,
    cap=1.0,
    scan=True,
):
    """The equations of ConvMinGRU's docstring, the scans pixel by pixel; reach is a matter of the first weights."""
    hidden, context = torch.tanh(hidden), torch.relu(context)
    routes = textbook_routes(form, directions)
    for motion in motions:
        maps = joined(operator.gates, torch.cat([hidden, motion], 1), context)
        *gates, c, a = maps.split(hidden.shape[1], 1)
        if cell == "gru":
            share = 1 / (1 + torch.exp(-gates[0]))
        else:
            forget, enter = (1 / (1 + torch.exp(-x)) for x in gates)
            share = enter / (forget + enter)
        A = cap * (1 / (1 + torch.exp(-a)) if gate == "sigmoid" else torch.exp(-torch.exp(-a)))
        v = torch.tanh(c) if form == "cand" else (1 - share) * hidden + share * torch.tanh(c)
        groups = []
        for group, route in zip(torch.arange(hidden.shape[1]).chunk(len(routes)), routes, strict=True):
            s = v[:, group]
            for down, right in route:
                s = carried_along(A[:, group], s, down, right)
            groups.append(s)
        s = torch.cat(groups, 1) if scan else A * hidden + (1 - A) * v
        carried = F.conv2d(s, operator.carried.weight, operator.carried.bias)
        if form == "cand":
            hidden = (1 - share) * hidden + share * torch.tanh(c + carried)
            continue
        mix = operator.mix_gate
        logits = operator.mix_bias if mixing == "add" else F.conv2d(torch.cat([v, s], 1), mix.weight, mix.bias)
        u = 1 / (1 + torch.exp(-logits))
        hidden = (1 - u) * v + u * torch.tanh(carried)
    return hidden


def textbook_conv_min_lstm(operator, hidden, context, motions, **options):
    return textbook_conv_min_gru(operator, hidden, context, motions, cell="lstm", **options)


def textbook_min_gru(operator, hidden, context, motions):
    """minGRU as published, with tanh: the gates see neither the hidden state nor a neighbour's."""
    hidden, context = torch.tanh(hidden), torch.relu(context)
    for motion in motions:
        z, c = joined(operator.cell.gates, motion, context).split(hidden.shape[1], 1)
        share = 1 / (1 + torch.exp(-z))
        hidden = (1 - share) * hidden + share * torch.tanh(c)
    return hidden


TEXTBOOK = {
    "conv_gru": textbook_gru,
    "seq_conv_gru": textbook_gru,
    "conv_min_gru": textbook_conv_min_gru,
    "conv_lstm": textbook_lstm,
    "conv_relu": textbook_conv_relu,
    "conv_next": textbook_conv_next,
    "min_gru": textbook_min_gru,
    "conv_min_lstm": textbook_conv_min_lstm,
}
"""Each is given the operator, what begin reads, the motions, and the variant's options by keyword."""
