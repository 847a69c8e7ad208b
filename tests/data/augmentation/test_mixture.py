"""Mixed and augmented pairs are a pure function of seed and index, and damaged ones are named, never replaced."""

import functools
import warnings
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from flowgru.config import STAGES, AugmentationSettings, NetworkConfig, SyntheticSettings
from flowgru.data.augmentation.mixture import MixedPairs, MixturePart, open_stage
from flowgru.data.sample import FlowSample
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.errors import InputFileError, RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.training.losses import sequence_loss

DENSE = AugmentationSettings(64, 96, log2_scale=(-0.2, 0.6), eraser_sides=(10, 20))
SPARSE = replace(DENSE, sparse=True, stretching=0.0, vertical_flip=0.0, asymmetric=0.0)


@functools.cache
def generated(seed: int) -> list[FlowSample]:
    pairs = SyntheticPairs(SyntheticSettings(height=80, width=112, num_textures=4, seed=seed))
    return [pairs[index] for index in range(8)]


class Stored(Dataset[FlowSample]):
    """A few generated pairs in memory, some of which cannot be read."""

    def __init__(self, length: int, damaged: tuple[int, ...] = (), seed: int = 0) -> None:
        self.pairs, self.length, self.damaged = generated(seed), length, damaged

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> FlowSample:
        if index in self.damaged:
            raise InputFileError(f"data/{index}.png is truncated: fetch it again")
        return self.pairs[index % len(self.pairs)]._replace(name=f"stored/{index}")


def mix_of(pairs: Dataset[FlowSample], augmentation: AugmentationSettings, **settings) -> MixedPairs:
    """A mixture of one part."""
    return MixedPairs([MixturePart(pairs, augmentation)], **settings)


def same(one: FlowSample, other: FlowSample) -> bool:
    """Whether two samples are the same to the last bit."""
    masks = [(one.valid, other.valid)]
    if one.occlusion is not None and other.occlusion is not None:
        masks.append((one.occlusion, other.occlusion))
    values = [*zip(one[:3], other[:3], strict=True), *masks]
    return one.name == other.name and all(torch.equal(a, b) for a, b in values)


def unbatched(samples: list[FlowSample]) -> list[FlowSample]:
    return samples


@pytest.fixture(scope="module")
def mixture() -> MixedPairs:
    return MixedPairs([MixturePart(Stored(5), DENSE, 2), MixturePart(Stored(3, seed=1), SPARSE)], seed=7)


def test_an_index_gives_the_same_bits_in_any_order_with_any_number_of_workers(mixture: MixedPairs) -> None:
    indices = list(range(40))
    in_order = [mixture[index] for index in indices]
    assert all(same(mixture[index], in_order[index]) for index in reversed(indices))
    steps = [indices[start : start + 4] for start in range(0, 40, 4)]
    for workers in (0, 2):
        loader = DataLoader(mixture, batch_sampler=steps, collate_fn=unbatched, num_workers=workers)
        loaded = [sample for batch in loader for sample in batch]
        assert all(same(one, other) for one, other in zip(loaded, in_order, strict=True)), workers


def test_the_number_of_threads_changes_nothing(mixture: MixedPairs) -> None:
    alone = [mixture[index] for index in range(6)]
    torch.set_num_threads(3)
    cv2.setNumThreads(3)
    assert all(same(mixture[index], alone[index]) for index in range(6))


def test_other_indices_and_seeds_change_a_pair_in_another_way() -> None:
    one_pair = Stored(1)
    samples = [mix_of(one_pair, DENSE, seed=seed)[index] for seed in (0, 1) for index in range(8)]
    for k, one in enumerate(samples):
        assert not any(torch.equal(one.first, other.first) for other in samples[k + 1 :])


def test_an_epoch_takes_every_pair_as_often_as_it_is_repeated(mixture: MixedPairs) -> None:
    assert len(mixture) == 13
    epochs = [[mixture.source(index) for index in range(13 * epoch, 13 * (epoch + 1))] for epoch in range(6)]
    for epoch in epochs:
        assert Counter(epoch) == {**{(0, inner): 2 for inner in range(5)}, **{(1, inner): 1 for inner in range(3)}}
    assert all(one != other for one, other in pairwise(epochs))
    names = [sample.name for sample in mixture]
    assert Counter(names) == Counter(f"stored/{inner}" for _, inner in epochs[0])
    with pytest.raises(IndexError):
        mixture[-1]


def test_a_part_is_augmented_with_its_own_settings(mixture: MixedPairs) -> None:
    for index in range(13):
        part, _ = mixture.source(index)
        assert mixture[index].first.shape == (3, 64, 96)
        # Enlarged to 72 rows and more, sparse flow leaves gaps where dense flow has none.
        assert part == 1 or mixture[index].valid.all()
    assert not all(mixture[index].valid.all() for index in range(26) if mixture.source(index)[0] == 1)


def test_rafts_sintel_stage_weighs_its_sets_as_published() -> None:
    lengths = {"sintel_clean": 1041, "sintel_final": 1041, "kitti2015": 200, "hd1k": 1047, "things_clean": 40302}
    sets = [MixturePart(Stored(lengths[part.name]), part.augmentation, part.repeats) for part in STAGES["sintel"]]
    assert len(MixedPairs(sets)) == 100 * 1041 + 100 * 1041 + 200 * 200 + 5 * 1047 + 40302


def test_a_damaged_pair_is_named_once_and_has_no_valid_pixel() -> None:
    pairs = mix_of(Stored(100, damaged=(42,)), DENSE)
    index = next(index for index in range(100) if pairs.source(index) == (0, 42))
    with pytest.warns(RuntimeWarning, match=r"^data/42\.png is truncated: fetch it again; this pair is left out"):
        sample = pairs[index]
    assert sample.name == "damaged: data/42.png is truncated: fetch it again"
    assert sample.first.shape == (3, 64, 96) and not sample.valid.any() and sample.occlusion is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(pairs[index], sample)


@pytest.mark.filterwarnings("ignore:data/")
def test_more_damaged_pairs_than_the_share_stop_the_run() -> None:
    pairs = mix_of(Stored(200, damaged=(3, 50, 199)), DENSE)
    where = sorted(index for index in range(200) if pairs.source(index)[1] in (3, 50, 199))
    for index in (*where[:2], *where[:2], where[0] + 1):
        pairs[index]
    with pytest.raises(
        InputFileError, match=r"^3 of 200 pairs are damaged, the last of them: data/\d+\.png is truncated"
    ):
        pairs[where[2]]
    allowed = mix_of(Stored(200, damaged=(3, 50, 199)), DENSE, max_damaged=0.02)
    assert not any(allowed[index].valid.any() for index in where)


@pytest.mark.filterwarnings("ignore:data/")
def test_a_worker_stops_the_run_with_the_same_kind_of_error() -> None:
    pairs = mix_of(Stored(4, damaged=(0,)), DENSE)
    with pytest.raises(InputFileError, match=r"1 of 4 pairs are damaged, the last of them: data/0\.png"):
        list(DataLoader(pairs, batch_size=2, collate_fn=unbatched, num_workers=2))


@pytest.mark.filterwarnings("ignore:data/")
@pytest.mark.slow
def test_a_batch_with_a_damaged_pair_can_be_learned_from() -> None:
    damaged = mix_of(Stored(1, damaged=(0,)), DENSE, max_damaged=1.0)[0]
    samples = [damaged, mix_of(Stored(1), DENSE)[0]]
    network = FlowNetwork(NetworkConfig())
    first, second, flow, valid = (torch.stack(values) for values in list(zip(*samples, strict=True))[:4])
    loss = sequence_loss(network(first, second, iterations=1).flows, flow, valid)
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([], "must have some"),
        ([MixturePart(Stored(0), DENSE)], "must have some"),
        ([MixturePart(Stored(3), DENSE), MixturePart(Stored(3), replace(SPARSE, width=104))], "a batch needs one size"),
        ([MixturePart(SyntheticPairs(SyntheticSettings(num_textures=1)), DENSE)], "a shorter length"),
    ],
)
def test_parts_that_cannot_be_mixed_are_refused(parts: list[MixturePart], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        MixedPairs(parts)


def test_a_stage_opens_its_sets_below_the_data_root(data_root: Path) -> None:
    with pytest.raises(RequestError, match=r"unknown stage 'spring': known are chairs, things, sintel, kitti"):
        open_stage("spring", data_root)
    if not (data_root / "KITTI" / "training").is_dir():
        pytest.skip(f"KITTI is not below {data_root}")
    pairs = open_stage("kitti", data_root)
    for index in range(2):
        sample = pairs[index]
        assert sample.first.shape == sample.second.shape == (3, 288, 960)
        assert 0.03 < float(sample.valid.float().mean()) < 0.5
        assert sample.flow.isfinite().all() and float(sample.flow.abs().max()) > 10
