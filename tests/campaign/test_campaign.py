"""A short campaign: nothing that is tried may fall. `python -m tests.campaign --minutes 60` takes its time."""

import random
import subprocess
import sys

import pytest
from paths import ROOT

from tests.campaign.fuzzing import mutated


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_short_campaign_finds_nothing():
    command = [sys.executable, "-m", "tests.campaign", "--minutes", "3", "--seed", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]
    assert " inputs tried" in ended.stdout


def test_what_is_tried_is_a_function_of_seed_and_number():
    data = bytes(range(256)) * 4
    tried = [mutated(data, random.Random(f"7/{number}")) for number in range(200)]
    assert tried == [mutated(data, random.Random(f"7/{number}")) for number in range(200)]
    assert len({*tried}) > 190
