"""What the bundled weights promise: small, self-describing, still where nothing moves, stable when refined for longer."""

from typing import Any

import pytest
import torch
from paths import ROOT

from flowgru.config import SyntheticSettings
from flowgru.config.way import Way, resolve_way
from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.images import read_image, to_tensor
from flowgru.data.sets.opening import open_dataset
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import InputFileError
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.evaluation.evaluate import NetworkEstimator, evaluate
from flowgru.evaluation.validation import validate
from flowgru.model.weight_files.loading import DEFAULT_MODEL, load_model

# OpenCV's Farneback, mean over each set's pairs of the mean end-point error: what the default model must beat.
FARNEBACK = {"middlebury": 1.21, "sintel": 13.5, "kitti2012": 22.9, "chairs": 3.98}


@pytest.fixture(scope="module")
def network():
    return load_model("default", "cpu")


@pytest.mark.parametrize("page", ["docs/estimate.md", "docs/model_card.md"])
def test_the_pages_name_the_way_that_its_card_says(network, page):
    assert str(resolve_way(network.card)) in " ".join((ROOT / page).read_text("utf-8").split())


def held_out(height: int, width: int, **changes: Any) -> SyntheticPairs:
    settings = SyntheticSettings(height=height, width=width, seed=3_000_003, speed=(1.0, 60.0), **changes)
    return SyntheticPairs(settings, length=3)


@pytest.fixture(scope="module")
def pictures() -> list[torch.Tensor]:
    """The first pictures of three pairs, each [1, 3, 224, 512]."""
    return [pair.first[None] for pair in held_out(224, 512, num_textures=8)]


def mean_flow(network, first, second) -> float:
    with torch.inference_mode():
        return network(first, second, iterations=12, final_only=True).flows[-1].norm(dim=1).mean().item()


def test_the_file_is_at_most_6_megabytes():
    assert DEFAULT_MODEL.stat().st_size <= 6_000_000


def test_the_card_says_how_it_was_made(network):
    wanted = {
        "network",
        "iterations",
        "data",
        "steps",
        "seed",
        "hours",
        "command",
        "license",
        "epe_per_image",
        "candidates",
    }
    assert wanted <= network.card.keys()


def test_identical_frames_have_next_to_no_flow(network, pictures):
    lengths = [mean_flow(network, picture, picture) for picture in pictures]
    assert sum(lengths) / len(lengths) < 0.05


def test_noise_alone_has_little_flow(network, pictures):
    lengths = []
    for picture in pictures:
        first, second = ((picture + 2 / 255 * torch.randn(picture.shape)).clamp(0, 1) for _ in range(2))
        lengths.append(mean_flow(network, first, second))
    assert sum(lengths) / len(lengths) < 0.15


@pytest.mark.slow
def test_more_refinements_do_no_harm_at_full_size(network):
    errors = validate(network, held_out(440, 1024), (12, 24, 32), torch.device("cpu"))
    assert max(errors[24], errors[32]) <= 1.05 * errors[12]


def test_the_sample_clip_is_followed(network):
    from flowgru.commands.demo import SAMPLE

    first, second = (to_tensor(read_image(SAMPLE / "frames" / f"frame_000{number}.png"))[None] for number in (1, 2))
    truth = torch.from_numpy(read_flow(SAMPLE / "flow" / "frame_0001.png").flow).permute(2, 0, 1)
    with torch.inference_mode():
        flow = network(first, second, iterations=12, final_only=True).flows[-1][0]
    error, zero = (flow - truth).norm(dim=0).mean().item(), truth.norm(dim=0).mean().item()
    assert error < 0.25 * zero


@pytest.mark.slow
@pytest.mark.parametrize("name", FARNEBACK)
def test_real_pairs_are_matched_better_than_by_farneback(network, data_root, name, record_property):
    try:
        pairs = open_dataset(name, data_root)
    except InputFileError as error:
        pytest.skip(f"needs real pairs: {error}")
    found = evaluate(NetworkEstimator(network, MatchSettings(Way(24))), pairs).metrics["epe_per_image"]
    record_property("epe", found)
    assert found < FARNEBACK[name]
