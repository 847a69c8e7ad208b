# %% [markdown]
# # Training on pairs of your own
#
# This example lists pairs in a CSV file, adapts the default network to them, and measures held-out pairs before and
# after. Run it in the folder of the repository, after `pip install -e ".[train]"`: `python
# docs/examples/train_on_own_pairs.py`. It writes to `runs/train_on_own_pairs`. So that it takes seconds, it trains for
# a few steps on a few small pairs, which teaches a network nothing: for a real training, put in your own pairs, and
# larger numbers where a comment says so.

# %%
from pathlib import Path

import torch
from PIL import Image

from flowgru import estimate_pairs, load_model, read_flow, write_flow
from flowgru.config import (
    AugmentationSettings,
    NetworkConfig,
    OptimizerConfig,
    StageSet,
    StartShares,
    SyntheticSettings,
    TrainConfig,
    ValidationConfig,
)
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.training.run import train

OUTPUT = Path("runs/train_on_own_pairs")

# %% [markdown]
# ## Pairs and their list
#
# Generated pairs stand in for yours here. What is needed is two pictures and a flow file for each pair, and a CSV file
# that names them, with paths that are relative to it. Keep pairs of other clips for a second list: a network is to be
# measured on what it was not trained on.


# %%
def write_pairs(name: str, count: int, seed: int) -> Path:
    """Writes pairs and the list of them, and gives the path of the list."""
    folder = OUTPUT / name
    folder.mkdir(parents=True, exist_ok=True)
    pairs = SyntheticPairs(SyntheticSettings(height=128, width=160, seed=seed, photos=None, num_textures=4))
    lines = ["first,second,flow"]
    for number in range(count):
        pair = pairs[number]
        files = [f"{name}/{number}_{part}" for part in ("first.png", "second.png", "flow.flo")]
        for file, picture in zip(files, (pair.first, pair.second), strict=False):
            Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy()).save(OUTPUT / file)
        write_flow(OUTPUT / files[2], pair.flow, overwrite=True)
        lines.append(",".join(files))
    path = OUTPUT / f"{name}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


own, held_out = write_pairs("own", 3, seed=1), write_pairs("held_out", 1, seed=2)

# %% [markdown]
# ## Settings
#
# These are settings of [fine-tuning](../fine_tune.md), as Python. A YAML file with the same names does the same: `flowgru
# train --config configs/fine_tune.yaml --output runs/fine_tune`.

# %%
crop = AugmentationSettings(height=128, width=128, log2_scale=(0.0, 0.3))
config = TrainConfig(
    network=NetworkConfig("compact", "conv_min_gru", confidence=True, texture_floor=0.05, texture_gate=True),
    init_from="default",  # whose network this is
    starts=StartShares(zero=0.25, dis=0.75),
    hold=1,
    coarse_first=0.5,
    loss="mixture",
    optimizer=OptimizerConfig(learning_rate=5e-5),
    sets=(StageSet(str(own), crop),),  # and StageSet("synthetic", crop), so that the network keeps what it knew
    validation=ValidationConfig(sets=(str(held_out),), every=500, iterations=(6,), initial_flows=("dis",)),
    steps=2,  # 2000
    batch_size=1,  # 4
    iterations=2,  # 6
    workers=0,  # 2, where the machine has cores for it
    log_every=1,  # 100
)

# %% [markdown]
# ## Training
#
# The same call begins a run, and goes on with it where it stopped.

# %%
train(config, str(OUTPUT / "run"))

# %% [markdown]
# ## Before and after
#
# The mean end-point error of the held-out pairs, in pixels. On the command line: `flowgru evaluate
# runs/train_on_own_pairs/held_out.csv --model runs/train_on_own_pairs/run/model.safetensors`.


# %%
def mean_error(model_file: str) -> float:
    model, errors = load_model(model_file), []
    for line in held_out.read_text().splitlines()[1:]:
        first, second, flow = (OUTPUT / file for file in line.split(","))
        truth = torch.from_numpy(read_flow(flow).flow).permute(2, 0, 1)
        errors.append(float((estimate_pairs(first, second, model).cpu() - truth).norm(dim=0).mean()))
    return sum(errors) / len(errors)


for name in ("default", str(OUTPUT / "run/model.safetensors")):
    print(f"{name}: {mean_error(name):.3f} px")
