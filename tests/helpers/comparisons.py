"""A comparison that is small enough to be run, and made-up folders for the report: no number in these was measured."""

import json
import math
import random
from pathlib import Path

from flowgru.comparison.measurements import Measurement, write_measurements
from flowgru.config import ComparisonConfig, HeldOutConfig, RowConfig, SyntheticSettings, TrainConfig

ROWS = (
    "conv_gru", "conv_gru_reset_after", "seq_conv_gru", "conv_lstm", "conv_lstm_peephole", "conv_lstm_coupled",
    "conv_min_gru", "conv_min_gru_cand", "conv_min_gru_no_scan", "min_gru", "conv_min_lstm", "conv_relu", "conv_next",
)  # fmt: skip
REGIMES = ("equal_width", "equal_parameters")
ITERATIONS = (1, 2, 4, 6, 8, 12, 16, 24, 32)
TRAINED = 6

TINY_ROWS = ("conv_gru", "conv_min_gru", "seq_conv_gru")

TINY = ComparisonConfig(
    rows=tuple(RowConfig(name, name) for name in TINY_ROWS),
    reference="conv_gru",
    seeds=(0, 1),
    training=TrainConfig(data=SyntheticSettings(height=128, width=128, num_textures=4), batch_size=1),
    test=HeldOutConfig(pairs=1, height=128, width=136),
    iterations=(1, 3),
)
"""The plan of a comparison, to be looked at."""

RECIPE = """
rows: [{name: conv_gru, operator: conv_gru}, {name: control, operator: conv_min_gru}]
reference: conv_gru
seeds: [0]
training:
  data: {height: 128, width: 128, photos: null, num_textures: 4}
  validation: {pairs: 1, height: 128, width: 128, iterations: [1]}
  steps: 2
  batch_size: 1
  iterations: 1
  workers: 0
  log_every: 1
  checkpoint_every: 1
test: {pairs: 1, height: 128, width: 136}
iterations: [1, 3]
"""
"""The recipe of a comparison that takes seconds."""


def words(folder: Path, *more: str) -> list[str]:
    """The command line of a comparison in `folder`, whose recipe lies beside it."""
    recipe = folder.parent / "recipe.yaml"
    if not recipe.exists():
        recipe.write_text(RECIPE)
    return ["compare", "--config", str(recipe), "--output", str(folder), "--device", "cpu", *more]


def write_comparison(
    folder: Path,
    rows: tuple[str, ...] = ROWS,
    regimes: tuple[str, ...] = REGIMES,
    seeds: tuple[int, ...] = (0, 1, 2),
    sets: tuple[str, ...] = ("synthetic", "streets", "rooms"),
    unmeasured: tuple[tuple[str, int | None], ...] = (),
    diverged: tuple[tuple[str, int], ...] = (),
) -> list[Measurement]:
    """Writes comparison.json and measurements.csv, but nothing for the rows and seeds in `unmeasured`, where the seed None
    stands for costs. The EPE of the rows and seeds in `diverged` is NaN after 12 refinements and more."""
    draw = random.Random(1)
    lines = []
    for regime in regimes:
        lines += [
            Measurement("equal_width", rows[0], None, "zero_epe_per_image", s, None, None, 15.3 + len(s)) for s in sets
        ]
        for index, row in enumerate(rows):
            cost = 1.0 + 0.1 * index + draw.random()
            for measure, value in (
                ("parameters", 1.2e6 + 4e4 * index), ("operator_parameters", 2e5 + 4e4 * index), ("hidden_size", 80.0),
                ("multiply_adds", 6e8 * cost), ("ms_per_step", 11.0 * cost), ("peak_mib", 300.0 + 20.0 * cost),
                ("ms_per_training_step", 1000.0 + 500.0 * cost),
            ):  # fmt: skip
                lines.append(Measurement(regime, row, None, measure, "", None, None, value))
            for number in ITERATIONS:
                lines.append(
                    Measurement(regime, row, None, "ms_per_pair", "", number, None, 40.0 + 12.0 * cost * number)
                )
            quality = 4.2 + draw.random() * 1.5
            growth = (-0.002, 0.0, 0.05)[index % 3]
            for seed in seeds:
                luck = draw.gauss(0.0, 0.08)
                for step in range(50, 1501, 50):
                    value = quality + 6 * math.exp(-step / 400) + draw.gauss(0.0, 0.15) + luck
                    lines.append(Measurement(regime, row, seed, "training_epe_per_image", "", None, step, value))
                    lines.append(Measurement(regime, row, seed, "training_loss", "", None, step, 3.1 * value))
                for place, data_set in enumerate(sets):
                    for number in ITERATIONS:
                        shape = 8 * math.exp(-number / 2.2) + max(0.0, growth * (number - TRAINED)) * quality
                        value = quality + 1.3 * place + shape + luck + draw.gauss(0.0, 0.03)
                        bad = (row, seed) in diverged and number >= 12
                        lines.append(
                            Measurement(
                                regime, row, seed, "epe_per_image", data_set, number, None, math.nan if bad else value
                            )
                        )
    lines = [line for line in lines if (line.row, line.seed) not in unmeasured]
    folder.mkdir(parents=True, exist_ok=True)
    write_measurements(folder / "measurements.csv", lines)
    described = {
        "operator": "conv_gru", "options": {"reset": "after"}, "hidden_size": 80, "parameters": 1234567,
        "operator_parameters": 234567,
    }  # fmt: skip
    about = {
        "config": {
            "rows": [{"name": row, "operator": "conv_gru", "options": {}} for row in rows],
            "reference": rows[0],
            "seeds": list(seeds),
            "training": {
                "steps": 1500,
                "batch_size": 6,
                "iterations": TRAINED,
                "no_grad_iterations": 8,
                "stage": None,
                "sets": [],
            },
            "minutes": None,
            "test": {"seed": 2000003, "pairs": 16, "height": 192, "width": 256},
            "iterations": list(ITERATIONS),
        },
        "rows": {regime: dict.fromkeys(rows, described) for regime in regimes},
        "machine": {"processor": "Some CPU, 2 cores", "torch": "2.11.0", "threads": 1},
        "command": "flowgru compare --config configs/compare.yaml --output runs/compare",
        "commit": "0123456789abcdef",
        "date": "2026-01-31",
    }
    (folder / "comparison.json").write_text(json.dumps(about), encoding="utf-8")
    return lines
