"""The law that is fitted to a learning curve is the one that made it."""

import json
import sys

import numpy as np
import pytest
from scipy import stats
from tables import rows_without_times


def test_a_power_law_is_found_again_and_foretells_ten_times_as_many_pairs(script):
    curve = script("learning_curve")
    pairs = [1000.0 * count for count in (2, 3, 5, 8, 13)]
    law = curve.fitted(pairs, [9.0 * count**-0.3 for count in pairs])
    assert law.exponent == pytest.approx(0.3) and law.half_width < 1e-6
    assert (law.predicted, law.lowest, law.highest) == pytest.approx((9.0 * 130_000**-0.3,) * 3)


def test_the_intervals_hold_the_truth_as_often_as_they_say(script):
    curve = script("learning_curve")
    draw, pairs = np.random.default_rng(0), np.geomspace(1e4, 1e5, 6)
    laws = [
        curve.fitted([*pairs], [*(2.0 * pairs**-0.2 * np.exp(0.05 * draw.standard_normal(6)))]) for _ in range(1000)
    ]
    for hits in (
        sum(abs(law.exponent - 0.2) < law.half_width for law in laws),
        sum(law.lowest < 2.0 * 1e6**-0.2 < law.highest for law in laws),
    ):
        assert stats.binomtest(hits, len(laws), 0.95).pvalue > 1e-3


def test_a_run_is_read_from_its_log(script, tmp_path, monkeypatch, capsys):
    lines = [
        {"step": step, "validation_epe_per_image": {"synthetic": {"6": (100 + 4 * step) ** -0.5}}}
        for step in (100, 200, 400)
    ]
    lines += [{"step": 300, "loss": 1.0}, {"step": 350, "validation_epe_per_image": {"synthetic": {"6": None}}}]
    lines += [{"step": 500, "validation_epe_per_image": {"synthetic": {"6": 9.0}}}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "config.yaml").write_text("batch_size: 4\n")
    words = [tmp_path, "--seen", 100, "--until", 400, "--threads", 1, "--json", tmp_path / "a.jsonl"]
    main = script("learning_curve").main
    monkeypatch.setattr(sys, "argv", ["learning_curve", *map(str, words)])
    main()
    (row,) = rows_without_times(tmp_path / "a.jsonl")
    assert (row["validations"], row["exponent"]) == (3, "0.500 ± 0.000")
    assert row["last"] == "0.024 px at 1,700"
    for until in ("200", "50"):
        monkeypatch.setattr(sys, "argv", ["learning_curve", str(tmp_path), "--until", until])
        with pytest.raises(SystemExit):
            main()
        assert "has been validated less than 3 times: a law needs 3 points" in capsys.readouterr().err
