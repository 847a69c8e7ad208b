"""Training on clips, and what a memory needs, is refused in one line where it cannot be."""

from dataclasses import replace

import pytest

from flowgru.config import (
    AugmentationSettings,
    NetworkConfig,
    StageSet,
    StartShares,
    SyntheticSettings,
    TrainConfig,
)
from flowgru.errors import RequestError

CLIPS = TrainConfig(data=SyntheticSettings(clip_frames=4), batch_size=6)
MEMORY = NetworkConfig(memory=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stage": "chairs"}, "data.clip_frames is 4: it must be 2 where `stage` or `sets` is given"),
        (
            {"sets": (StageSet("mine.csv", AugmentationSettings(64, 64, (0.0, 0.0))),)},
            "data.clip_frames is 4: it must be 2 where `stage` or `sets` is given",
        ),
        ({"uses": 2}, "data.clip_frames is 4: it must be 2 where uses is 2"),
        ({"generate_on": "cuda", "workers": 0}, "data.clip_frames is 4: it must be 2 where generate_on is cuda"),
        ({"batch_size": 4}, "batch_size is 4: it must be a multiple of 3, the pairs of a clip of 4 frames"),
        (
            {"network": MEMORY, "data": SyntheticSettings()},
            "data.clip_frames is 2: it must be 3 or more with network.memory: a single pair has no past",
        ),
        ({"network": MEMORY, "no_grad_iterations": 2}, "no_grad_iterations is 2: it must be 0 with network.memory"),
    ],
)
def test_what_cannot_be_is_one_line(changes, said):
    with pytest.raises(RequestError) as caught:
        replace(CLIPS, **changes)
    assert str(caught.value) == said


def test_what_can_be_is_taken():
    assert CLIPS.pairs_in_clip == 3 and TrainConfig().pairs_in_clip == 1
    assert replace(CLIPS, network=MEMORY, hold=2, starts=StartShares(0.5, 0.5)).network.memory
    confidence = NetworkConfig(memory=True, confidence=True)
    assert TrainConfig(network=confidence, part="confidence", loss="mixture", init_from="model").pairs_in_clip == 1
