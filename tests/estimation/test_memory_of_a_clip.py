"""A network with a memory over time carries it from pair to pair of a clip, and not over a cut."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from estimates import SIZE
from media import noisy_frames

from flowgru import estimate_flow
from flowgru.config import NetworkConfig
from flowgru.config.way import Way
from flowgru.data.formats.images import to_tensor
from flowgru.data.sample import FlowSample
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.estimation.stream import StreamFrame, pair_flows
from flowgru.evaluation.evaluate import NetworkEstimator, evaluate
from flowgru.model.flow_network import FlowNetwork


@pytest.fixture(scope="module")
def network() -> FlowNetwork:
    torch.manual_seed(0)
    network = FlowNetwork(NetworkConfig("compact", "min_gru", memory=True)).for_inference()
    assert network.temporal_memory is not None
    torch.nn.init.normal_(network.temporal_memory.to_hidden.weight, std=0.3)
    return network


@pytest.fixture
def frames() -> list[torch.Tensor]:
    """Four frames of one scene."""
    return [to_tensor(frame // 4)[None] for frame in noisy_frames(4, *SIZE)]


def flows(network, frames, **options) -> list[torch.Tensor]:
    stream = (StreamFrame(frame, number) for number, frame in enumerate(frames))
    return [pair.forward for pair in pair_flows(stream, network, MatchSettings(Way(2), **options))]


@torch.inference_mode()
def in_steps(network, frames) -> list[torch.Tensor]:
    """The same by the network alone."""
    memory, found = None, []
    for first, second in pairwise(frames):
        prediction = network(first, second, iterations=2, memory=memory)
        memory = prediction.memory
        found.append(prediction.flows[-1][0])
    return found


def same(found, expected) -> bool:
    return all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, expected, strict=True))


def test_a_clip_carries_its_memory(network, frames):
    expected = in_steps(network, frames)
    assert same(flows(network, frames), expected)
    assert same([*estimate_flow([frame[0] for frame in frames], network, iterations=2)], expected)
    alone = [flows(network, pair)[0] for pair in pairwise(frames)]
    assert same(alone[:1], expected[:1]) and not any(
        same([a], [b]) for a, b in zip(alone[1:], expected[1:], strict=True)
    )


def test_it_is_not_carried_over_a_cut(network, frames):
    bright = [(frame + 0.5).clamp(0, 1) for frame in frames[:3]]
    found = flows(network, [*frames, *bright])
    assert same(found[:3], in_steps(network, frames)) and same(found[4:], in_steps(network, bright))
    warm = flows(network, [*frames, *bright], warm_start=True)
    again = flows(network, [*frames[-1:], *bright], warm_start=True)  # a cut, and nothing before it
    assert same(warm[4:], again[1:])


def test_a_start_is_kept_beside_it(network, frames):
    given = torch.randn(3, 2, *SIZE)
    found = [*estimate_flow([frame[0] for frame in frames], network, iterations=2, initial_flow=given)]
    memory = None
    with torch.inference_mode():
        for flow, (first, second), start in zip(found, pairwise(frames), given, strict=True):
            expected = network(first, second, iterations=2, memory=memory, initial_flow=start[None])
            memory = expected.memory
            assert same([flow], [expected.flows[-1][0]])


def test_the_way_back_has_none(network, frames):
    stream = [StreamFrame(frame, number) for number, frame in enumerate(frames)]
    pairs = list(pair_flows(stream, network, MatchSettings(Way(2), backward=True, warm_start=False)))
    assert same([pair.forward for pair in pairs], in_steps(network, frames))
    for pair, (first, second) in zip(pairs, pairwise(frames), strict=True):
        assert pair.backward is not None and same([pair.backward], flows(network, [second, first]))


def test_each_tile_has_its_own_and_other_tiles_begin_anew(network):
    frames = [to_tensor(frame // 4)[None] for frame in noisy_frames(3, 128, 264)]
    found, alone = flows(network, frames, tiles=(1, 2)), flows(network, frames[1:], tiles=(1, 2))
    assert not same(found[1:], alone)
    carried = PairMatcher(network, MatchSettings(Way(2), tiles=(1, 2))).match(frames[0], frames[1]).carried
    whole = PairMatcher(network, MatchSettings(Way(2))).match(frames[1], frames[2], carried).forward
    assert same([whole], flows(network, frames[1:]))


def test_a_memory_that_is_not_finite_is_not_carried(network, frames):
    frames[0] = torch.full_like(frames[0], torch.nan)
    assert same(flows(network, frames)[1:], in_steps(network, frames[1:]))


def test_pairs_of_a_data_set_that_follow_each_other_carry_it(network, frames):
    class Files:
        def __init__(self, first: int, second: int) -> None:
            self.first, self.second = first, second

    class Pairs:
        pairs = (Files(0, 1), Files(1, 2), Files(2, 3), Files(7, 8))

        def __len__(self) -> int:
            return len(self.pairs)

        def __getitem__(self, index: int) -> FlowSample:
            first, second = frames[index % 3][0], frames[index % 3 + 1][0]
            return FlowSample(
                first, second, torch.zeros(2, *SIZE), torch.ones(SIZE, dtype=torch.bool), None, str(index)
            )

    found = []
    evaluate(
        NetworkEstimator(network, MatchSettings(Way(2))),
        Pairs(),
        watch=lambda errors, sample, flow: found.append(flow[0]),
    )
    expected = in_steps(network, frames)
    assert same(found, [*expected, expected[0]])


@pytest.mark.parametrize("options", [(), ("--warm-start", "--backward")])
def test_a_stopped_estimation_goes_on_with_it(network, frames, tmp_path, monkeypatch, options):
    from flowgru.cli import main
    from flowgru.data.formats.flow_files import read_flow
    from flowgru.data.formats.images import to_levels, write_image

    monkeypatch.setattr("flowgru.estimation.clips.open_network", lambda settings: network)
    for number, frame in enumerate(frames):
        write_image(tmp_path / f"clip/{number}.png", to_levels(frame[0]))
    match, matched = PairMatcher.match, []

    def stopped(self, *given, **more):
        if len(matched) == 2:
            raise KeyboardInterrupt
        matched.append(1)
        return match(self, *given, **more)

    def run(name: str) -> int:
        words = ["--output", str(tmp_path / name), "--iterations", "2", "--device", "cpu", *options]
        return main(["estimate", str(tmp_path / "clip"), *words])

    assert run("whole") == 0
    monkeypatch.setattr(PairMatcher, "match", stopped)
    assert run("cut") == 130
    monkeypatch.setattr(PairMatcher, "match", match)
    assert run("cut") == 0
    files = sorted((tmp_path / "whole").glob("*.flo"))
    assert len(files) == 3 * (1 + ("--backward" in options))
    for path in files:
        np.testing.assert_allclose(read_flow(tmp_path / "cut" / path.name).flow, read_flow(path).flow, atol=1e-5)
