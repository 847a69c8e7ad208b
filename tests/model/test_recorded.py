"""A recorded match gives what the match itself gives: here a graph is a function called on the graph's own tensors."""

import warnings

import pytest
import torch
from fake_cuda import CalledGraphs, Waits, fake_cuda
from media import noisy_frames
from torch.utils._pytree import tree_leaves

from flowgru.config import NetworkConfig
from flowgru.config.way import Way
from flowgru.data.formats.images import level_tensor
from flowgru.estimation.matching.matcher import PairMatcher
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.estimation.stream import StreamFrame, matched_flows
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.recorded import MAX_GRAPHS, RecordedMatches

WAY = Way(2, "zero", 1)


@pytest.fixture(autouse=True)
def pairs_before(monkeypatch):
    """The second pair is recorded, so that tests are short."""
    monkeypatch.setattr("flowgru.model.recorded.PAIRS_BEFORE", 2)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return FlowNetwork(NetworkConfig("compact", "conv_gru", confidence=True)).for_inference()


def flows(network, graphs, frames, way=WAY, **options):
    """The flows of a clip; `graphs` None computes each pair anew."""
    matcher = PairMatcher(network, MatchSettings(way, **{"confidence": True, **options}))
    matcher.refiner.recorded = None if graphs is None else RecordedMatches(network, graphs)
    return list(matched_flows((StreamFrame(level_tensor(frame)[None], 0) for frame in frames), matcher))


@pytest.mark.parametrize(
    ("way", "options", "num_recorded", "num_replayed"),
    [
        (WAY, {}, 1, 4),
        (WAY, {"backward": True, "warm_start": True}, 2, 8),
        (Way(1, "dis", 2, polish=True), {"precision": "bf16"}, 1, 4),
        (Way(1, "zero", 0), {"tiles": (1, 2)}, 1, 9),
        (WAY, {"backward": True, "confidence": False}, 1, 9),
    ],
)
def test_a_clip_has_the_same_bits_and_its_second_match_is_recorded(network, way, options, num_recorded, num_replayed):
    width = 264 if "tiles" in options else 136
    frames = [frame // 4 for frame in noisy_frames(6, 128, width)]
    graphs = CalledGraphs()
    found, expected = (flows(network, each, frames, way, **options) for each in (graphs, None))
    assert (graphs.num_recorded, graphs.num_replayed) == (num_recorded, num_replayed)
    for pair, other in zip(found, expected, strict=True):
        torch.testing.assert_close(pair[2:5], other[2:5], rtol=0, atol=0)
        assert pair.num_refinements == other.num_refinements


def test_a_graph_reads_and_writes_its_own_tensors_and_gives_copies(network):
    graphs = CalledGraphs()
    matches = RecordedMatches(network, graphs)
    with torch.inference_mode():
        frames = [network.encode(level_tensor(frame)[None] / 255) for frame in noisy_frames(5, 128, 128)]
        found = [matches.match(*frames[place : place + 2], iterations=1, final_only=True) for place in range(4)]
        expected = [network.match(*frames[place : place + 2], iterations=1, final_only=True) for place in range(4)]
    assert graphs.num_replayed == 3
    places = {values.data_ptr() for each in found for values in tree_leaves(each) if isinstance(values, torch.Tensor)}
    assert len(places) == 4 * 4  # a flow, a coarse flow, how sure it is, and the mixture
    for each, other in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(each.flows, other.flows, strict=True))


def test_a_memory_over_time_goes_in_and_out():
    torch.manual_seed(0)
    network, graphs = FlowNetwork(NetworkConfig("compact", "min_gru", memory=True)).for_inference(), CalledGraphs()
    assert network.temporal_memory is not None
    torch.nn.init.normal_(network.temporal_memory.to_hidden.weight, std=0.3)
    matches, found, expected = RecordedMatches(network, graphs), None, None
    with torch.inference_mode():
        frames = [network.encode(level_tensor(frame)[None] / 255) for frame in noisy_frames(5, 128, 128)]
        for place in range(4):
            pair = frames[place : place + 2]
            found = matches.match(*pair, iterations=1, memory=found and found.memory)
            expected = network.match(*pair, iterations=1, memory=expected and expected.memory)
            assert torch.equal(found.flows[-1], expected.flows[-1])
            assert (
                found.memory is not None and expected.memory is not None and torch.equal(found.memory, expected.memory)
            )
    assert graphs.num_replayed == 3


def test_a_short_clip_records_nothing(network, monkeypatch):
    monkeypatch.setattr("flowgru.model.recorded.PAIRS_BEFORE", 4)
    for num_frames, expected in ((4, (0, 0)), (6, (1, 2))):
        graphs = CalledGraphs()
        flows(network, graphs, noisy_frames(num_frames, 128, 128))
        assert (graphs.num_recorded, graphs.num_replayed) == expected


def test_each_kind_of_pair_has_its_own_graph_and_only_the_latest_are_kept(network):
    graphs = CalledGraphs()
    matches = RecordedMatches(network, graphs)

    def match(width, **options):
        with torch.inference_mode():
            pair = [network.encode(torch.rand(1, 3, 128, width)) for _ in range(2)]
            found = matches.match(*pair, **{"iterations": 1, "hold": 0, **options})
            assert torch.equal(
                found.flows[-1], network.match(*pair, **{"iterations": 1, "hold": 0, **options}).flows[-1]
            )
        return graphs.num_recorded, graphs.num_replayed - graphs.num_recorded

    sizes = range(128, 128 + 8 * (MAX_GRAPHS + 1), 8)
    for width in sizes:
        match(width)
        match(width)
    assert match(sizes[-1]) == (MAX_GRAPHS + 1, 1)
    assert match(sizes[0]) == (MAX_GRAPHS + 1, 1)  # that of the first size was given back
    assert match(sizes[-1], iterations=2) == match(sizes[-1], hold=1) == (MAX_GRAPHS + 1, 1)
    assert match(132) == (MAX_GRAPHS + 1, 1)  # of the coarse size of 136, but of another padding


def test_only_a_gpu_records_and_only_matches_of_a_fixed_length(network, monkeypatch):
    assert PairMatcher(network, MatchSettings(WAY)).refiner.recorded is None
    monkeypatch.setattr(FlowNetwork, "device", torch.device("cuda"))
    assert PairMatcher(network, MatchSettings(WAY)).refiner.recorded is not None
    assert PairMatcher(network, MatchSettings(WAY, cuda_graph=False)).refiner.recorded is None
    assert PairMatcher(network, MatchSettings(WAY, stop_below=0.1)).refiner.recorded is None


@pytest.mark.parametrize("fault", ["refuses", "computes something else"])
def test_where_a_graph_cannot_be_used_a_line_says_so_once_and_the_flows_are_right(network, fault):
    class Faulty(CalledGraphs):
        def __call__(self, function, device):
            if fault == "refuses":
                raise RuntimeError("operation not permitted\nwhen stream is capturing")
            _, found = super().__call__(function, device)
            return lambda: found.flows[-1].add_(1), found

    frames = noisy_frames(6, 128, 128)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        found = flows(network, Faulty(), frames)
    (line,) = [str(each.message) for each in said]
    assert "--no-cuda-graph" in line and "\n" not in line
    for pair, other in zip(found, flows(network, None, frames), strict=True):
        assert torch.equal(pair.forward, other.forward)


def test_a_lack_of_memory_takes_the_graphs_first_and_says_nothing(network, monkeypatch):
    graphs, frames, match = CalledGraphs(), noisy_frames(6, 128, 128), FlowNetwork.match
    lacks, plans = [], []

    def lacking(self, first, second, **options):
        plans.append(options["plan"])
        if graphs.num_replayed == 2 and not lacks:
            lacks.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return match(self, first, second, **options)

    monkeypatch.setattr(FlowNetwork, "match", lacking)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = flows(network, graphs, frames)
    assert len(lacks) == 1 and len(found) == 5 and len(set(plans)) == 1 and graphs.num_recorded == 1


@pytest.mark.parametrize("preset", ["compact", "large"])
@pytest.mark.parametrize("precision", [None, torch.float16])
def test_a_match_has_nothing_for_which_a_gpu_is_waited(preset, precision):
    """A graph cannot hold what the CPU must read or send. Fake tensors have no values: whoever reads one fails."""
    with fake_cuda():
        network = FlowNetwork(NetworkConfig(preset, "conv_min_gru")).eval()
        autocast = torch.autocast("cuda", precision or torch.bfloat16, enabled=precision is not None)
        with torch.inference_mode(), autocast:
            first, second = (network.encode(torch.rand(1, 3, 128, 128)) for _ in range(2))
            start = torch.rand(1, 2, 16, 16)
            with torch.device("cpu"), Waits():  # what is made on the CPU and sent is seen
                found = network.match(first, second, iterations=2, hold=1, initial_coarse=start, final_only=True)
    assert found.flows[-1].device.type == "cuda"
