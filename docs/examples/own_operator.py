# %% [markdown]
# # An update operator of your own, compared with RAFT's
#
# The network refines a flow by an update operator, and everything else stays the same. This example writes an operator,
# checks its contract, trains it and RAFT's under one recipe, and prints both errors. Run it in the folder of the
# repository, after `pip install -e ".[train]"`: `python docs/examples/own_operator.py`. It writes to
# `runs/own_operator`. So that it takes seconds, it trains for a few steps, whose errors say nothing: a comparison needs
# thousands of steps and several seeds.

# %%
from pathlib import Path
from typing import NamedTuple

import torch

from flowgru import load_model
from flowgru.config import NetworkConfig, SyntheticSettings, TrainConfig, ValidationConfig
from flowgru.operators import UPDATE_OPERATORS
from flowgru.operators.base import SplitConv, UpdateOperator, squash
from flowgru.operators.contract import broken_contract
from flowgru.training.run import train
from flowgru.types import Features

OUTPUT = Path("runs/own_operator")

# %% [markdown]
# ## The operator
#
# The minimal gated unit (Zhou et al. 2016, arXiv 1603.09420) is a GRU whose one gate does the work of both. With x the
# motion features and the context, and W and U 3x3 convolutions:
#
#     f  = sigma(W [h, x])
#     h' = (1 - f) h + f tanh(U [f h, x])
#
# `begin` runs once for a pair of pictures: what the context adds to the gates is the same in every step, so it is
# computed there. `step` is one refinement. The loop never looks inside the state.


# %%
class MGUState(NamedTuple):
    """The hidden state, and the context's shares of the gate and of the candidate, which never change."""

    hidden: Features
    gate_term: Features
    candidate_term: Features


class ConvMGU(UpdateOperator[MGUState]):
    """The minimal gated unit with 3x3 convolutions."""

    def __init__(self, hidden_size: int, motion_size: int, context_size: int) -> None:
        super().__init__(hidden_size, motion_size, context_size)
        self.gate = SplitConv(hidden_size + motion_size, context_size, hidden_size, (3, 3))
        self.candidate = SplitConv(hidden_size + motion_size, context_size, hidden_size, (3, 3))

    def begin(self, hidden: Features, context: Features) -> MGUState:
        hidden, context = squash(hidden, context)
        return MGUState(hidden, self.gate.context(context), self.candidate.context(context))

    def step(self, motion: Features, state: MGUState) -> tuple[Features, MGUState]:
        hidden, gate_term, candidate_term = state
        gate = torch.sigmoid(self.gate(torch.cat([hidden, motion], dim=1), gate_term))
        candidate = torch.tanh(self.candidate(torch.cat([gate * hidden, motion], dim=1), candidate_term))
        hidden = torch.lerp(hidden, candidate, gate)
        return hidden, MGUState(hidden, gate_term, candidate_term)


# %% [markdown]
# `broken_contract` says what an operator does that it must not: shapes, values that are not finite, pictures of a batch
# that change each other, parameters without a gradient. It gives None where there is nothing to say.

# %%
assert broken_contract(ConvMGU(hidden_size=16, motion_size=8, context_size=8)) is None
UPDATE_OPERATORS["conv_mgu"] = ConvMGU

# %% [markdown]
# ## One recipe for both
#
# The same seed gives both networks the same pairs in the same order, and the same initial weights around the operator.


# %%
def recipe(operator: str, seed: int) -> TrainConfig:
    return TrainConfig(
        network=NetworkConfig(preset="compact", operator=operator),
        data=SyntheticSettings(height=128, width=128, photos=None, num_textures=4),
        validation=ValidationConfig(pairs=1, height=128, width=128, iterations=(4, 8)),
        seed=seed,
        steps=2,  # 10000
        batch_size=1,  # 8
        iterations=2,  # 6
        workers=0,  # 2, where the machine has cores for it
        log_every=1,  # 100
    )


for operator in ("conv_gru", "conv_mgu"):
    for seed in (0,):  # (0, 1, 2)
        folder = OUTPUT / f"{operator}_{seed}"
        train(recipe(operator, seed), str(folder))
        model = load_model(str(folder / "model.safetensors"))
        size = sum(parameter.numel() for parameter in model.operator.parameters())
        errors = {count: round(error, 3) for count, error in model.card["held_out_epe_per_image"]["synthetic"].items()}
        print(f"{operator}, seed {seed}: {size:,} parameters; px after refinements: {errors}")

# %% [markdown]
# ## The whole comparison
#
# To have networks of equal size, intervals over seeds, times and a report, make the operator a part of flowgru: a file
# in `flowgru/operators/`, a line in `UPDATE_OPERATORS` ("How to add" in ARCHITECTURE.md), and a row in a copy of
# `configs/compare.yaml`. Then `flowgru compare` does the rest ([how to read its report](../compare.md)).
